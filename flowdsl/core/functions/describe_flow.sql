-- describe_flow: what a caller has to know of a flow's version (null: the current one), as JSON: {"slug", "version", "fingerprint",
-- "isCurrent", "retiredAt", "inputSchema", "outputSchema", "outputStep", "steps": [{"slug", "stepType", "dependencies", "isConditional",
-- "whenUnmet", "whenExhausted", "inputSchema", "outputSchema"}]}, steps in their order; what is unknown is null.
-- Null for a flow or version that does not exist.
-- Locks: none.  Raises: nothing.
create function pgflow.describe_flow(flow_slug text, version int default null) returns jsonb
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
begin
  return (
    select jsonb_build_object(
      'slug', f.flow_slug, 'version', fv.flow_version, 'fingerprint', fv.fingerprint,
      'isCurrent', fv.flow_version = f.current_version, 'retiredAt', f.retired_at,
      'inputSchema', fv.input_schema, 'outputSchema', fv.output_schema, 'outputStep', fv.output_step,
      'steps', coalesce((
        select jsonb_agg(
          jsonb_build_object(
            'slug', s.step_slug, 'stepType', s.step_type, 'isConditional', s.is_conditional, 'whenUnmet', s.when_unmet,
            'whenExhausted', s.when_exhausted, 'inputSchema', s.input_schema, 'outputSchema', s.output_schema,
            'dependencies', to_jsonb(array(
              select d.dep_slug from pgflow.deps d
              where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
              order by d.dep_slug collate "C")))
          order by s.step_index)
        from pgflow.steps s where s.flow_slug = fv.flow_slug and s.flow_version = fv.flow_version
      ), '[]'))
    from pgflow.flows f
    join pgflow.flow_versions fv
      on fv.flow_slug = f.flow_slug and fv.flow_version = coalesce(describe_flow.version, f.current_version)
    where f.flow_slug = describe_flow.flow_slug);
end
$fn$;
