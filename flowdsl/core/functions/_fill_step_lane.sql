-- _fill_step_lane: trigger on steps: the lane follows from queue and priority; a root map written by hand runs over the
-- run's input.
-- Locks: as _lane.  Writes: the new row.  Raises: nothing.
create function pgflow._fill_step_lane() returns trigger
language plpgsql volatile
set search_path = ''
as $fn$
begin
  new.lane_id := pgflow._lane(new.flow_slug, new.flow_version, new.opt_queue, new.opt_priority);
  if new.step_type = 'map' and new.map_over is null and new.deps_count = 0 then
    new.map_over := 'run';
    new.uses_run_input := false;
  end if;
  return new;
end
$fn$;
create trigger fill_step_lane before insert or update of opt_queue, opt_priority on pgflow.steps
for each row execute function pgflow._fill_step_lane();
