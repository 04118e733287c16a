-- _task_violations: part of check_invariants: tasks, and the rows that belong to them.
-- A retry after an error keeps the fence of the attempt that failed, a release or a recovery sets it to 0: so nothing is
-- said about the fence of a queued task.
-- Locks: none.  Raises: nothing.
create function pgflow._task_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  select 'task_without_step_state', t.run_id, t.step_slug, t.task_index, format('the %s task belongs to no step of a run', t.status)
  from pgflow.step_tasks t
  where not exists (
    select from pgflow.step_states st
    where st.run_id = t.run_id and st.step_slug = t.step_slug and st.flow_slug = t.flow_slug)

  union all
  select 'attempt_without_run', a.run_id, a.step_slug, a.task_index, format('attempt %s belongs to no run', a.attempt_id)
  from pgflow.task_attempts a
  where not exists (select from pgflow.runs r where r.run_id = a.run_id)

  union all
  select 'open_task_of_a_closed_step', t.run_id, t.step_slug, t.task_index,
    format('the task is %s, its step is %s', t.status, st.status)
  from pgflow.step_tasks t
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  where t.status in ('queued', 'started') and st.status <> 'started'

  union all
  select 'open_task_of_an_ended_run', t.run_id, t.step_slug, t.task_index, format('the task is %s, its run is %s', t.status, r.status)
  from pgflow.step_tasks t
  join pgflow.runs r on r.run_id = t.run_id
  where t.status in ('queued', 'started') and r.status <> 'started'

  union all
  select 'closed_task_of_an_open_step', t.run_id, t.step_slug, t.task_index,
    format('the step is started, its task is %s', t.status)
  from pgflow.step_tasks t
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  where t.status in ('failed', 'skipped', 'cancelled') and st.status = 'started'

  union all
  select 'completed_step_has_an_unfinished_task', t.run_id, t.step_slug, t.task_index,
    format('the step is completed, its task is %s', t.status)
  from pgflow.step_tasks t
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  where t.status <> 'completed' and st.status = 'completed'

  union all
  select 'task_times_do_not_fit_its_status', t.run_id, t.step_slug, t.task_index,
    format('the task is %s; started_at %s, completed_at %s, failed_at %s, skipped_at %s, cancelled_at %s', t.status,
      coalesce(t.started_at::text, 'null'), coalesce(t.completed_at::text, 'null'), coalesce(t.failed_at::text, 'null'),
      coalesce(t.skipped_at::text, 'null'), coalesce(t.cancelled_at::text, 'null'))
  from pgflow.step_tasks t
  where (t.status = 'completed') <> (t.completed_at is not null)
    or (t.status = 'failed') <> (t.failed_at is not null)
    or (t.status = 'skipped') <> (t.skipped_at is not null)
    or (t.status = 'cancelled') <> (t.cancelled_at is not null)
    or (t.status = 'queued' and t.started_at is not null)
    or (t.status in ('started', 'completed', 'failed') and t.started_at is null)

  union all
  select 'started_task_is_not_leased', t.run_id, t.step_slug, t.task_index,
    format('the task is started with attempt %s, fence %s and worker %s', t.attempts_count, t.fence,
      coalesce(t.last_worker_id::text, 'null'))
  from pgflow.step_tasks t
  where t.status = 'started' and (t.attempts_count = 0 or t.fence = 0 or t.last_worker_id is null)

  union all
  select 'started_task_of_an_unknown_worker', t.run_id, t.step_slug, t.task_index,
    format('there is no worker %s, so its lease never runs out', t.last_worker_id)
  from pgflow.step_tasks t
  where t.status = 'started' and t.last_worker_id is not null
    and not exists (select from pgflow.workers w where w.worker_id = t.last_worker_id)

  union all
  select 'open_task_stalled_for_good', t.run_id, t.step_slug, t.task_index,
    format('the task is %s, was requeued %s times, and stalled for good at %s', t.status, t.requeued_count,
      coalesce(t.permanently_stalled_at::text, 'no time'))
  from pgflow.step_tasks t
  where (t.permanently_stalled_at is not null and t.status <> 'failed')
    -- both sweeps end a task that was requeued three times with the next loss
    or (t.requeued_count > 3 and t.status in ('queued', 'started'))

  union all
  select 'task_is_in_a_foreign_lane', t.run_id, t.step_slug, t.task_index,
    format('lane %s is not one of flow %L version %s', t.lane_id, st.flow_slug, st.flow_version)
  from pgflow.step_tasks t
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  where not exists (
    select from pgflow.lanes l
    where l.lane_id = t.lane_id and l.flow_slug = st.flow_slug and l.flow_version = st.flow_version)

  union all
  select 'ready_task_below_the_claim_floor', t.run_id, t.step_slug, t.task_index,
    format('message %s is below %s, where claims of lane %s begin', t.message_id, l.claim_floor, l.lane_id)
  from pgflow.step_tasks t
  join pgflow.lanes l on l.lane_id = t.lane_id
  where t.status = 'queued' and t.visible_at is null and t.message_id < l.claim_floor
$fn$;
