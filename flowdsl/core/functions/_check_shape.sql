-- _check_shape: refuse what is no shape of a flow; add_step checks what is in the steps.
-- Locks: none.  Raises: PF400.
create function pgflow._check_shape(p_flow_slug text, p_shape jsonb) returns void
language plpgsql immutable
set search_path = ''
as $fn$
begin
  if p_shape -> 'steps' is null or jsonb_typeof(p_shape -> 'steps') <> 'array' or exists (
    select from jsonb_array_elements(p_shape -> 'steps') s
    where coalesce(jsonb_typeof(s -> 'slug'), '') <> 'string'
      or coalesce(jsonb_typeof(s -> 'dependencies'), 'array') <> 'array'
  ) then
    perform pgflow._refuse('PF400', format('flow %L: this is not the shape of a flow', p_flow_slug),
      'A shape is {"steps": [{"slug": "...", "stepType": "single", "dependencies": [], ...}, ...]}.');
  end if;
end
$fn$;
