-- _run_violations: part of check_invariants: runs, and their steps as a whole.
-- A run of a version that is not there (any more) is left alone: nothing says which steps it should have.
-- Locks: none.  Raises: nothing.
create function pgflow._run_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  select 'run_lacks_a_step', r.run_id, s.step_slug, null::int,
    format('the %s run has no state for step %L of its version %s', r.status, s.step_slug, r.flow_version)
  from pgflow.runs r
  join pgflow.steps s on s.flow_slug = r.flow_slug and s.flow_version = r.flow_version
  where not exists (select from pgflow.step_states st where st.run_id = r.run_id and st.step_slug = s.step_slug)

  union all
  select 'step_state_without_run', st.run_id, st.step_slug, null, format('there is no run %s', st.run_id)
  from pgflow.step_states st
  where not exists (select from pgflow.runs r where r.run_id = st.run_id)

  union all
  select 'step_state_of_another_flow', r.run_id, st.step_slug, null,
    format('the run is one of flow %L version %s, the state one of flow %L version %s', r.flow_slug, r.flow_version,
      st.flow_slug, st.flow_version)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where (st.flow_slug, st.flow_version) is distinct from (r.flow_slug, r.flow_version)

  union all
  select 'run_has_a_step_too_many', r.run_id, st.step_slug, null,
    format('version %s of flow %L has no step %L', r.flow_version, r.flow_slug, st.step_slug)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where exists (select from pgflow.steps s where s.flow_slug = r.flow_slug and s.flow_version = r.flow_version)
    and not exists (
      select from pgflow.steps s
      where s.flow_slug = r.flow_slug and s.flow_version = r.flow_version and s.step_slug = st.step_slug)

  union all
  select 'remaining_steps_is_wrong', r.run_id, null, null,
    format('the %s run counts %s remaining steps and has %s', r.status, r.remaining_steps, n.remaining)
  from pgflow.runs r
  cross join lateral (
    select count(*) as remaining from pgflow.step_states st
    where st.run_id = r.run_id and st.status not in ('completed', 'skipped')
  ) n
  where r.status in ('started', 'completed') and r.remaining_steps <> n.remaining

  union all
  select 'run_is_not_completed', r.run_id, null, null, 'the run is open, but none of its steps is'
  from pgflow.runs r
  where r.status = 'started' and not exists (
    select from pgflow.step_states st where st.run_id = r.run_id and st.status in ('created', 'started'))

  union all
  select 'completed_run_has_an_unfinished_step', r.run_id, st.step_slug, null,
    format('the run is completed, the step is %s', st.status)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where r.status = 'completed' and st.status not in ('completed', 'skipped')

  union all
  select 'ended_run_has_an_open_step', r.run_id, st.step_slug, null,
    format('the run is %s, the step is %s', r.status, st.status)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where r.status in ('failed', 'cancelled') and st.status in ('created', 'started')

  union all
  select 'open_run_has_a_step_that_ended_it', r.run_id, st.step_slug, null, format('the run is open, the step is %s', st.status)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where r.status = 'started' and st.status in ('failed', 'cancelled')

  union all
  select 'failed_run_without_a_cause', r.run_id, null, null, 'the run is failed, none of its steps is, and end_reason is null'
  from pgflow.runs r
  where r.status = 'failed' and r.end_reason is null and not exists (
    select from pgflow.step_states st where st.run_id = r.run_id and st.status = 'failed')

  union all
  select 'end_reason_of_a_run_that_nothing_ended', r.run_id, null, null,
    format('the run is %s and has the end_reason %L', r.status, r.end_reason)
  from pgflow.runs r
  where r.status in ('started', 'completed') and r.end_reason is not null

  union all
  select 'run_times_do_not_fit_its_status', r.run_id, null, null,
    format('the run is %s; completed_at %s, failed_at %s, cancelled_at %s', r.status,
      coalesce(r.completed_at::text, 'null'), coalesce(r.failed_at::text, 'null'), coalesce(r.cancelled_at::text, 'null'))
  from pgflow.runs r
  where (r.status = 'completed') <> (r.completed_at is not null)
    or (r.status = 'failed') <> (r.failed_at is not null)
    or (r.status = 'cancelled') <> (r.cancelled_at is not null)

  union all
  select 'ended_run_has_a_deadline', r.run_id, null, null, format('the run is %s, its deadline %s', r.status, r.deadline_at)
  from pgflow.runs r
  where r.status <> 'started' and r.deadline_at is not null
$fn$;
