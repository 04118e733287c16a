-- _fail_unmet_steps: fail ready steps whose condition is unmet and whose when_unmet is fail, and their runs.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._fail_unmet_steps(p_run_ids uuid[], p_step_slugs text[], p_now timestamptz) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  with failed as (
    update pgflow.step_states st set
      status = 'failed', error_message = 'Condition not met', failed_at = greatest(p_now, st.created_at)
    from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
    where st.run_id = any (p_run_ids) and st.run_id = g.run_id and st.step_slug = g.step_slug and st.status = 'created'
    returning st.flow_slug, st.run_id, st.step_slug, st.error_message, st.failed_at
  )
  -- no attempt was made, but this is where one looks for the reason of a failure
  insert into pgflow.task_attempts (
    flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, started_at, ended_at
  )
  select f.flow_slug, f.run_id, f.step_slug, 0, 0, 'failed', 'ConditionNotMet', f.error_message, 0, f.failed_at, f.failed_at
  from failed f;
  perform pgflow._end_runs(p_run_ids, 'failed', null, p_now);
end
$fn$;
