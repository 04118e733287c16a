-- _get_flow_shape: the shape of a flow's current version as JSON: {"steps": [...]} in step order; an unknown flow has no
-- steps. What a contract shape has no word for is there only when it is not what its absence means: "mapOver",
-- "usesRunInput", "inputPredicate" and "options" of a step, "outputStep" and "options" of the flow, "inputSchema" and
-- "outputSchema" of both; so
-- _create_flow_from_shape makes the same flow of it.
-- Locks: none.  Raises: nothing.
create function pgflow._get_flow_shape(p_flow_slug text) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select jsonb_build_object('steps', coalesce((
    select jsonb_agg(
      jsonb_build_object(
        'slug', s.step_slug, 'stepType', s.step_type, 'dependencies', to_jsonb(d.slugs),
        'whenUnmet', s.when_unmet, 'whenExhausted', s.when_exhausted,
        'requiredInputPattern', pgflow._pattern_shape(s.required_input_pattern),
        'forbiddenInputPattern', pgflow._pattern_shape(s.forbidden_input_pattern))
      || jsonb_strip_nulls(jsonb_build_object(
        -- as add_step fills them in when they are not given
        'mapOver', case when s.map_over <> case
          when cardinality(d.slugs) > 1 then '' else coalesce(d.slugs[1], 'run') end then s.map_over end,
        'usesRunInput', nullif(s.uses_run_input, s.map_over is distinct from 'run'),
        'inputPredicate', s.input_predicate::text,
        'options', nullif(jsonb_strip_nulls(jsonb_build_object(
          'maxAttempts', s.opt_max_attempts, 'baseDelay', s.opt_base_delay, 'timeout', s.opt_timeout,
          'startDelay', s.opt_start_delay, 'maxDelay', s.opt_max_delay, 'retryOn', to_jsonb(s.opt_retry_on),
          'queue', s.opt_queue, 'priority', s.opt_priority)), '{}')))
      || pgflow._schemas_shape(s.input_schema, s.output_schema)
      order by s.step_index)
    from pgflow.flows f
    join pgflow.steps s on s.flow_slug = f.flow_slug and s.flow_version = f.current_version
    cross join lateral (
      select array(
        select x.dep_slug from pgflow.deps x
        where x.flow_slug = s.flow_slug and x.flow_version = s.flow_version and x.step_slug = s.step_slug
        order by x.dep_slug collate "C") as slugs
    ) d
    where f.flow_slug = p_flow_slug
  ), '[]'))
  || coalesce((
    select jsonb_strip_nulls(jsonb_build_object(
      'outputStep', v.output_step,
      'options', nullif(jsonb_strip_nulls(jsonb_build_object(
        'maxAttempts', nullif(f.opt_max_attempts, 3), 'baseDelay', nullif(f.opt_base_delay, 5),
        'timeout', nullif(f.opt_timeout, 60), 'maxDelay', nullif(f.opt_max_delay, 3600),
        'queue', f.opt_queue, 'priority', nullif(f.opt_priority, 0), 'deadline', f.opt_deadline)), '{}')))
      || pgflow._schemas_shape(v.input_schema, v.output_schema)
    from pgflow.flows f
    left join pgflow.flow_versions v on v.flow_slug = f.flow_slug and v.flow_version = f.current_version
    where f.flow_slug = p_flow_slug
  ), '{}')
$fn$;
