-- _fail_type_violations: of these steps that have just completed, fail those that a map runs over and whose output is no
-- array: task (keeping the output), step and run. Returns the steps that go on: those of the other runs.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.  Writes: runs, step_states, step_tasks,
-- task_attempts.  Raises: nothing.
create function pgflow._fail_type_violations(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_now timestamptz,
  out run_ids uuid[],
  out step_slugs text[]
) returns record
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_failed uuid[];
begin
  with violating as (
    select st.run_id, st.step_slug, st.output,
      format('[TYPE_VIOLATION] a map runs over step %s, so its output must be an array, but it is %s', st.step_slug,
        coalesce(jsonb_typeof(st.output), 'null')) as message
    from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
    join pgflow.step_states st
      on st.run_id = any (p_run_ids) and st.run_id = g.run_id and st.step_slug = g.step_slug
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    where s.feeds_map and s.step_type = 'single' and jsonb_typeof(st.output) is distinct from 'array'
  ),
  failed_tasks as (
    update pgflow.step_tasks t
    set status = 'failed', completed_at = null, failed_at = t.completed_at, error_message = v.message
    from violating v where t.run_id = any (p_run_ids) and t.run_id = v.run_id and t.step_slug = v.step_slug
    returning t.*
  ),
  recorded as (
    insert into pgflow.task_attempts (
      flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, worker_id,
      started_at, ended_at
    )
    select t.flow_slug, t.run_id, t.step_slug, t.task_index, t.attempts_count, 'failed', 'TypeViolation',
      t.error_message, t.fence, t.last_worker_id, t.started_at, p_now
    from failed_tasks t
  ),
  failed_steps as (
    update pgflow.step_states st
    set status = 'failed', completed_at = null, failed_at = st.completed_at, output = null, error_message = v.message
    from violating v where st.run_id = any (p_run_ids) and st.run_id = v.run_id and st.step_slug = v.step_slug
    returning st.run_id
  )
  select array_agg(distinct f.run_id) into v_failed from failed_steps f;

  perform pgflow._end_runs(v_failed, 'failed', null, p_now);
  select array_agg(g.run_id), array_agg(g.step_slug)
  into _fail_type_violations.run_ids, _fail_type_violations.step_slugs
  from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
  where g.run_id <> all (v_failed);
end
$fn$;
