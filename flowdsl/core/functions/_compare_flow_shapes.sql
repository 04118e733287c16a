-- _compare_flow_shapes: in what a local shape differs from the one in the database, as sentences that name step and
-- property; empty when they agree. Steps are found by slug; their order counts. Options do not count.
-- Properties that the contract's shapes have no word for (mapOver, usesRunInput, inputPredicate, outputStep, inputSchema, outputSchema) count only
-- where the local shape names them.
-- Locks: none.  Raises: as _step_shape.
create function pgflow._compare_flow_shapes(p_local jsonb, p_db jsonb) returns text[]
language plpgsql immutable
set search_path = ''
as $fn$
declare
  v_differences text[];
  v_local text[] := array(select s ->> 'slug' from jsonb_array_elements(p_local -> 'steps') s);
  v_db text[] := array(select s ->> 'slug' from jsonb_array_elements(p_db -> 'steps') s);
begin
  select coalesce(array_agg(x.sentence order by x.place, x.i, x.j), '{}') into v_differences
  from (
    select 1 as place, s.i, 0 as j, format('Step ''%s'' is missing in the database', s.step ->> 'slug') as sentence
    from jsonb_array_elements(p_local -> 'steps') with ordinality s(step, i)
    where not (s.step ->> 'slug') = any (v_db)
    union all
    select 2, s.i, 0, format('Step ''%s'' is only in the database', s.step ->> 'slug')
    from jsonb_array_elements(p_db -> 'steps') with ordinality s(step, i)
    where not (s.step ->> 'slug') = any (v_local)
    union all
    select 3, l.i, k.j, format('Step ''%s'': %s %s: %s vs %s', l.step ->> 'slug', k.property,
      case k.property when 'dependencies' then 'differ' else 'differs' end, n.local -> k.property, n.db -> k.property)
    from jsonb_array_elements(p_local -> 'steps') with ordinality l(step, i)
    join jsonb_array_elements(p_db -> 'steps') d(step) on d.step ->> 'slug' = l.step ->> 'slug'
    cross join lateral (
      select pgflow._step_shape(l.step) as local, pgflow._step_shape(d.step) as db
    ) n
    cross join (values
      (1, 'stepType', true), (2, 'dependencies', true), (3, 'whenUnmet', true), (4, 'whenExhausted', true),
      (5, 'requiredInputPattern', true), (6, 'forbiddenInputPattern', true), (7, 'mapOver', false),
      (8, 'usesRunInput', false), (9, 'inputPredicate', false), (10, 'inputSchema', false),
      (11, 'outputSchema', false)
    ) k(j, property, always)
    where (k.always or l.step ? k.property) and n.local -> k.property is distinct from n.db -> k.property
    union all
    select 4, k.j, 0, format('Flow: %s differs: %s vs %s', k.property, p_local -> k.property, coalesce(p_db -> k.property, 'null'))
    from (values (1, 'inputSchema'), (2, 'outputSchema')) k(j, property)
    where p_local ? k.property and p_local -> k.property is distinct from p_db -> k.property
  ) x;
  if v_local operator(pg_catalog.<>) v_db and v_local operator(pg_catalog.@>) v_db and v_db operator(pg_catalog.@>) v_local
  then
    v_differences := v_differences || format('Flow: order of steps differs: %s vs %s', to_jsonb(v_local), to_jsonb(v_db));
  end if;
  if p_local ? 'outputStep' and coalesce(p_local -> 'outputStep', 'null') <> coalesce(p_db -> 'outputStep', 'null') then
    v_differences := v_differences
      || format('Flow: outputStep differs: %s vs %s', p_local -> 'outputStep', coalesce(p_db -> 'outputStep', 'null'));
  end if;
  return v_differences;
end
$fn$;
