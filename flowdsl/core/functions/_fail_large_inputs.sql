-- _fail_large_inputs: record why steps of these runs failed before their first task, and end the runs.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._fail_large_inputs(p_run_ids uuid[], p_now timestamptz) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  with failed as (
    update pgflow.step_states st set error_message = format(
      'the inputs of step %s come to %s MB, more than a task can be given (100 MB): keep large values elsewhere and pass references',
      st.step_slug, st.input_size / 1000000)
    where st.run_id = any (p_run_ids) and st.status = 'failed' and st.error_message is null
    returning st.flow_slug, st.run_id, st.step_slug, st.error_message, st.started_at, st.failed_at
  )
  insert into pgflow.task_attempts (
    flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, started_at, ended_at
  )
  select f.flow_slug, f.run_id, f.step_slug, 0, 0, 'failed', 'InputTooLarge', f.error_message, 0, f.started_at, f.failed_at
  from failed f;
  perform pgflow._end_runs(p_run_ids, 'failed', null, p_now);
end
$fn$;
