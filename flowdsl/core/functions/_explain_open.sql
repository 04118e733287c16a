-- _explain_open: the open tasks of a run, each with what it waits for, see explain_run.
-- A delayed task with an attempt behind it is in its backoff; one that was read and not started is reserved.
-- Locks: none.  Cost: linear in the run's tasks.  Raises: nothing.
create function pgflow._explain_open(p_run_id uuid, p_now timestamptz)
returns table (step_slug text, task_index int, status text, waits_for text, reason text)
language sql stable
set search_path = ''
as $fn$
  with open as (
    select t.*, t.status = 'queued' and coalesce(t.visible_at <= p_now, true) as is_ready
    from pgflow.step_tasks t
    where t.run_id = p_run_id and t.status in ('queued', 'started')
  ),
  ready_lanes as materialized (
    select o.lane_id, x.waits_for, x.reason
    from (select distinct lane_id from open where is_ready) o
    cross join lateral pgflow._explain_lane(o.lane_id, p_now) x
  )
  select o.step_slug, o.task_index, o.status,
    case
      when o.status = 'started' then 'lease'
      when o.is_ready then l.waits_for
      when o.attempts_count > 0 then 'backoff'
      when o.read_count > 0 then 'reserved'
      else 'start_delay' end,
    l.reason
  from open o
  left join ready_lanes l on l.lane_id = o.lane_id and o.is_ready
$fn$;
