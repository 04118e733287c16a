-- _fill_task_lane: trigger on step_tasks for inserts that do not name a lane: it is the step's.
-- A message_id given by hand may lie below the lane's claim floor; then the floor is lowered, or the task would wait for ever.
-- The core's own inserts name the lane, so the trigger costs them one null test.
-- Locks: the lane's row where the floor is lowered.  Writes: the new row, lanes.  Raises: nothing.
create function pgflow._fill_task_lane() returns trigger
language plpgsql volatile
set search_path = ''
as $fn$
begin
  select s.lane_id into new.lane_id
  from pgflow.step_states st
  join pgflow.steps s on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  where st.run_id = new.run_id and st.step_slug = new.step_slug;
  update pgflow.lanes l set claim_floor = new.message_id, next_floor = null, next_floor_xid = null
  where l.lane_id = new.lane_id and l.claim_floor > new.message_id;
  return new;
end
$fn$;
create trigger fill_task_lane before insert on pgflow.step_tasks
for each row when (new.lane_id is null) execute function pgflow._fill_task_lane();
