-- _fill_step_lane: trigger on steps: the lane follows from queue and priority.
-- Locks: as _lane.  Writes: the new row.  Raises: nothing.
create function pgflow._fill_step_lane() returns trigger
language plpgsql volatile
set search_path = ''
as $fn$
begin
  new.lane_id := pgflow._lane(new.flow_slug, new.flow_version, new.opt_queue, new.opt_priority);
  return new;
end
$fn$;
create trigger fill_step_lane before insert or update of opt_queue, opt_priority on pgflow.steps
for each row execute function pgflow._fill_step_lane();
