-- _check_step: refuse a step whose parts do not fit; returns what a map runs over (null for a single step).
-- Locks: none.  Raises: PF400.
create function pgflow._check_step(
  p_what text,
  p_deps text[],
  p_step_type text,
  p_when_unmet text,
  p_when_exhausted text,
  p_map_over text,
  p_required_input_pattern jsonb,
  p_forbidden_input_pattern jsonb
) returns text
language plpgsql immutable
set search_path = ''
as $fn$
declare
  v_map_over text := p_map_over;
begin
  if p_step_type is null or p_step_type not in ('single', 'map') then
    perform pgflow._refuse('PF400', format('%s: step_type must be single or map, not %L', p_what, p_step_type),
      'A single step has one task, a map one per element of what it runs over.');
  end if;
  if p_when_unmet is null or p_when_unmet not in ('fail', 'skip', 'skip-cascade') then
    perform pgflow._refuse('PF400',
      format('%s: when_unmet must be fail, skip or skip-cascade, not %L', p_what, p_when_unmet),
      'It says what follows when the step''s condition is not met.');
  end if;
  if p_when_exhausted is null or p_when_exhausted not in ('fail', 'skip', 'skip-cascade') then
    perform pgflow._refuse('PF400',
      format('%s: when_exhausted must be fail, skip or skip-cascade, not %L', p_what, p_when_exhausted),
      'It says what follows when a task has no attempts left.');
  end if;
  if jsonb_typeof(p_required_input_pattern) <> 'object' or jsonb_typeof(p_forbidden_input_pattern) <> 'object' then
    perform pgflow._refuse('PF400', format('%s: a pattern must be a JSON object, not %s', p_what,
      coalesce(nullif(jsonb_typeof(p_required_input_pattern), 'object'), jsonb_typeof(p_forbidden_input_pattern))),
      'The input of the step is matched with it by containment: {"run": {...}, "<dependency>": {...}}.');
  end if;
  if cardinality(p_deps) > (select count(distinct dep) from unnest(p_deps) dep where dep is not null) then
    perform pgflow._refuse('PF400', format('%s: deps_slugs has a null or the same step twice', p_what),
      'Name each dependency once.');
  end if;
  if p_step_type = 'single' then
    if p_map_over is not null then
      perform pgflow._refuse('PF400', format('%s: only a map has map_over', p_what),
      'Leave map_over out, or make it a map: step_type => ''map''.');
    end if;
    return null;
  end if;
  if v_map_over is null then
    if cardinality(p_deps) > 1 then
      perform pgflow._refuse('PF400',
        format('%s: a map has one array source, but there are %s dependencies', p_what, cardinality(p_deps)),
        'Name the one it runs over in map_over; the others are given whole to every task.');
    end if;
    v_map_over := coalesce(p_deps[1], 'run');
  elsif v_map_over <> 'run' and not v_map_over = any (p_deps) then
    perform pgflow._refuse('PF400', format('%s: map_over %L is not among its dependencies', p_what, v_map_over),
      'Name one of deps_slugs, or run for the run''s input.');
  end if;
  return v_map_over;
end
$fn$;
