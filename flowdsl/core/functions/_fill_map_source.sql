-- _fill_map_source: trigger on deps: a map written by hand runs over its first dependency. add_step names the source itself.
-- Locks: the steps' rows.  Writes: steps.  Raises: nothing.
create function pgflow._fill_map_source() returns trigger
language plpgsql volatile
set search_path = ''
as $fn$
begin
  update pgflow.steps s set map_over = new.dep_slug
  where s.flow_slug = new.flow_slug and s.flow_version = new.flow_version and s.step_slug = new.step_slug
    and s.step_type = 'map' and s.map_over is null;
  if found then
    update pgflow.steps s set feeds_map = true
    where s.flow_slug = new.flow_slug and s.flow_version = new.flow_version and s.step_slug = new.dep_slug;
  end if;
  return null;
end
$fn$;
create trigger fill_map_source after insert on pgflow.deps
for each row execute function pgflow._fill_map_source();
