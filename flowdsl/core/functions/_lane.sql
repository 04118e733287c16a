-- _lane: the number of the lane of (flow, version, queue, priority); made when it does not exist.
-- p_queue and p_priority are the step's own, null for the flow's.
-- Locks: flows (key share, by the foreign key), lanes (insert).  Writes: lanes.  Idempotent: yes.  Raises: nothing.
create function pgflow._lane(p_flow_slug text, p_flow_version int, p_queue text, p_priority int) returns int
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_queue text;
  v_priority int;
  v_lane_id int;
begin
  select coalesce(p_queue, f.opt_queue, f.flow_slug), coalesce(p_priority, f.opt_priority)
  into v_queue, v_priority
  from pgflow.flows f where f.flow_slug = p_flow_slug;

  select l.lane_id into v_lane_id
  from pgflow.lanes l
  where l.flow_slug = p_flow_slug and l.flow_version = p_flow_version
    and l.queue_name = v_queue and l.priority = v_priority;
  if found then
    return v_lane_id;
  end if;

  insert into pgflow.lanes (flow_slug, flow_version, queue_name, priority)
  values (p_flow_slug, p_flow_version, v_queue, v_priority)
  on conflict on constraint lanes_are_unique do update set priority = excluded.priority
  returning lanes.lane_id into v_lane_id;
  return v_lane_id;
end
$fn$;
