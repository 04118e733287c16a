-- fail_task: fail the current attempt of one task; returns the task's row, as it is then (no row for an unknown task).
-- fence: the claim this failure belongs to; null: whichever is current. A duplicate or late call changes nothing.
-- Locks, writes: as fail_tasks, which it wraps.  Idempotent: yes.
-- Raises: PF413 the fence is not the current claim's.
create function pgflow.fail_task(
  run_id uuid,
  step_slug text,
  task_index int,
  error_message text,
  fence bigint default null
) returns setof pgflow.step_tasks
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_refusal pgflow.task_refusal;
begin
  select r.* into v_refusal
  from pgflow.step_tasks t
  cross join lateral pgflow.fail_tasks(
    array[t.run_id], array[t.step_slug], array[t.task_index], array[coalesce(fail_task.fence, t.fence)],
    array[jsonb_build_object('message', coalesce(fail_task.error_message, ''))]) r
  where t.run_id = fail_task.run_id and t.step_slug = fail_task.step_slug and t.task_index = fail_task.task_index
    -- what was ended by hand still has started tasks: they stay as they are
    and (t.status <> 'started' or exists (
      select from pgflow.runs r join pgflow.step_states st on st.run_id = r.run_id
      where r.run_id = t.run_id and r.status = 'started' and st.step_slug = t.step_slug and st.status = 'started'));
  perform pgflow._refuse_stale(v_refusal, fail_task.fence);
  return query
  select t.* from pgflow.step_tasks t
  where t.run_id = fail_task.run_id and t.step_slug = fail_task.step_slug and t.task_index = fail_task.task_index;
end
$fn$;
