-- _move_queued_tasks: tasks of a flow that wait in another lane than their step's move there, with fresh message ids.
-- A task that a claim holds at this moment stays; a retry brings it to the new lane.
-- Locks: step_tasks SKIP LOCKED.  Writes: step_tasks; NOTIFY.  Cost: reads all waiting tasks of the flow: for migrations.
-- Raises: nothing.
create function pgflow._move_queued_tasks(p_flow_slug text) returns void
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_lanes int[];
begin
  with waiting as (
    select t.ctid as tid, s.lane_id
    from pgflow.lanes l
    join pgflow.step_tasks t on t.lane_id = l.lane_id and t.status = 'queued'
    join pgflow.steps s
      on s.flow_slug = l.flow_slug and s.flow_version = l.flow_version and s.step_slug = t.step_slug
    where l.flow_slug = p_flow_slug and s.lane_id <> l.lane_id
    for update of t skip locked
  ),
  moved as (
    update pgflow.step_tasks t set lane_id = w.lane_id, message_id = nextval('pgflow.message_ids')
    from waiting w where t.ctid = w.tid
    returning t.lane_id
  )
  select array_agg(distinct m.lane_id) into v_lanes from moved m;
  perform pgflow._notify_ready(v_lanes);
end
$fn$;
