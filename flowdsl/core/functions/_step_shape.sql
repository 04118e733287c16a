-- _step_shape: a step of a shape with everything spelt out that its absence stands for, so that two of them can be
-- compared key by key. Options are left out: they are no part of the shape.
-- Locks: none.  Raises: 42601 an inputPredicate that is no jsonpath.
create function pgflow._step_shape(p_step jsonb) returns jsonb
language sql immutable
set search_path = ''
as $fn$
  select jsonb_build_object(
    'stepType', s.step_type,
    'dependencies', to_jsonb(s.deps),
    'whenUnmet', coalesce(p_step ->> 'whenUnmet', 'skip'),
    'whenExhausted', coalesce(p_step ->> 'whenExhausted', 'fail'),
    'requiredInputPattern', pgflow._pattern_shape(pgflow._shape_pattern(p_step -> 'requiredInputPattern')),
    'forbiddenInputPattern', pgflow._pattern_shape(pgflow._shape_pattern(p_step -> 'forbiddenInputPattern')),
    'mapOver', s.map_over,
    'usesRunInput', coalesce((p_step ->> 'usesRunInput')::bool, s.map_over is distinct from 'run'),
    -- through the type, so that blanks and parentheses make no difference
    'inputPredicate', (p_step ->> 'inputPredicate')::jsonpath::text,
    'inputSchema', p_step -> 'inputSchema',
    'outputSchema', p_step -> 'outputSchema')
  from (
    select x.step_type, x.deps, case
      when x.step_type = 'map' then coalesce(
        p_step ->> 'mapOver', case when cardinality(x.deps) <= 1 then coalesce(x.deps[1], 'run') end) end as map_over
    from (
      select coalesce(p_step ->> 'stepType', 'single') as step_type, array(
        select d from jsonb_array_elements_text(coalesce(p_step -> 'dependencies', '[]')) d order by d collate "C"
      ) as deps
    ) x
  ) s
$fn$;
