-- _definition_violations: part of check_invariants: steps, dependencies and lanes of a version belong together.
-- Locks: none.  Raises: nothing.
create function pgflow._definition_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  select 'deps_count_is_wrong', null::uuid, s.step_slug, null::int,
    format('step %L of flow %L version %s counts %s dependencies and has %s', s.step_slug, s.flow_slug, s.flow_version,
      s.deps_count, n.deps)
  from pgflow.steps s
  cross join lateral (
    select count(*) as deps from pgflow.deps d
    where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
  ) n
  where s.deps_count <> n.deps

  union all
  select 'map_has_no_source', null, s.step_slug, null,
    format('step %L of flow %L version %s is a %s step over %s', s.step_slug, s.flow_slug, s.flow_version, s.step_type,
      coalesce(quote_literal(s.map_over), 'nothing'))
  from pgflow.steps s
  where case
    when s.step_type = 'single' then s.map_over is not null
    when s.map_over = 'run' then false
    else not exists (
      select from pgflow.deps d
      where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
        and d.dep_slug = s.map_over) end

  union all
  select 'map_source_is_not_marked', null, s.step_slug, null,
    format('step %L of flow %L version %s has feeds_map %s', s.step_slug, s.flow_slug, s.flow_version, s.feeds_map)
  from pgflow.steps s
  where s.feeds_map <> exists (
    select from pgflow.steps m
    where m.flow_slug = s.flow_slug and m.flow_version = s.flow_version and m.map_over = s.step_slug)

  union all
  select 'step_is_in_a_foreign_lane', null, s.step_slug, null,
    format('step %L of flow %L version %s has lane %s, which is not one of that version', s.step_slug, s.flow_slug,
      s.flow_version, s.lane_id)
  from pgflow.steps s
  where not exists (
    select from pgflow.lanes l
    where l.lane_id = s.lane_id and l.flow_slug = s.flow_slug and l.flow_version = s.flow_version)
$fn$;
