-- add_step: add a step to a version of a flow (null: the current one); its dependencies must exist.
-- map_over: what a map runs over: one of deps_slugs, or 'run' for the run's input. Null: the only dependency, or the
-- run's input when there is none. uses_run_input: whether the handler is given the run's input whole; null: yes, unless
-- it maps over it. input_predicate: a condition beside the two patterns; see _verdicts for what they are matched with.
-- input_schema, output_schema: JSON Schemas of what the step is given whole, and of its whole output.
-- Locks: the flow's row.  Writes: steps, deps.  Idempotent: yes, the same step is returned unchanged.
-- Raises: PF400 bad slug, type, mode or option, PF404 unknown flow, PF407 unknown dependency, PF409 the step exists with
-- other dependencies or another type.
create function pgflow.add_step(
  flow_slug text,
  step_slug text,
  deps_slugs text[] default '{}',
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  start_delay int default null,
  step_type text default 'single',
  required_input_pattern jsonb default null,
  forbidden_input_pattern jsonb default null,
  when_unmet text default 'skip',
  when_exhausted text default 'fail',
  map_over text default null,
  uses_run_input bool default null,
  max_delay int default null,
  retry_on text[] default null,
  queue text default null,
  priority int default null,
  version int default null,
  input_predicate jsonpath default null,
  input_schema jsonb default null,
  output_schema jsonb default null
) returns pgflow.steps
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_name text := format('step %L of flow %L', add_step.step_slug, add_step.flow_slug);
  v_deps text[] := coalesce(add_step.deps_slugs, '{}');
  v_version int;
  v_map_over text;
  v_missing text;
  v_step pgflow.steps;
begin
  select coalesce(add_step.version, f.current_version) into v_version
  from pgflow.flows f where f.flow_slug = add_step.flow_slug and coalesce(add_step.version, 1) <= f.current_version
  for update;
  if not found then
    perform pgflow._refuse('PF404',
      format('flow %L does not exist%s', add_step.flow_slug, ' in version ' || add_step.version), 'Call create_flow first.');
  end if;
  perform pgflow._check_slug('step', add_step.step_slug);
  perform pgflow._check_options(
    v_name, add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay, add_step.max_delay,
    add_step.queue);
  v_map_over := pgflow._check_step(
    v_name, v_deps, add_step.step_type, add_step.when_unmet, add_step.when_exhausted, add_step.map_over,
    add_step.required_input_pattern, add_step.forbidden_input_pattern);

  select s.* into v_step from pgflow.steps s
  where s.flow_slug = add_step.flow_slug and s.flow_version = v_version and s.step_slug = add_step.step_slug;
  if found then
    if v_step.step_type <> add_step.step_type or v_step.map_over is distinct from v_map_over or v_deps operator(pg_catalog.<>) (
      select coalesce(array_agg(d.dep_slug order by array_position(v_deps, d.dep_slug)), '{}') from pgflow.deps d
      where d.flow_slug = add_step.flow_slug and d.flow_version = v_version and d.step_slug = add_step.step_slug
    ) then
      perform pgflow._refuse('PF409', format('%s exists already with other dependencies or another type', v_name),
        'A changed step belongs to a new version of the flow.');
    end if;
    return v_step;
  end if;

  select string_agg(quote_literal(dep), ', ') into v_missing
  from unnest(v_deps) dep
  where not exists (
    select from pgflow.steps s
    where s.flow_slug = add_step.flow_slug and s.flow_version = v_version and s.step_slug = dep);
  if v_missing is not null then
    perform pgflow._refuse('PF407', format('%s: there is no step %s to depend on', v_name, v_missing),
      'Add the steps in the order of their dependencies.');
  end if;

  insert into pgflow.steps as s (
    flow_slug, flow_version, step_slug, step_index, step_type, deps_count, opt_max_attempts, opt_base_delay, opt_timeout,
    opt_start_delay, required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted, map_over,
    uses_run_input, opt_max_delay, opt_retry_on, opt_queue, opt_priority, input_predicate, input_schema,
    output_schema
  )
  select
    add_step.flow_slug, v_version, add_step.step_slug, coalesce(max(o.step_index) + 1, 0), add_step.step_type,
    cardinality(v_deps), add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay,
    add_step.required_input_pattern, add_step.forbidden_input_pattern, add_step.when_unmet, add_step.when_exhausted,
    v_map_over, coalesce(add_step.uses_run_input, v_map_over is distinct from 'run'), add_step.max_delay, add_step.retry_on, add_step.queue,
    add_step.priority, add_step.input_predicate, add_step.input_schema, add_step.output_schema
  from pgflow.steps o where o.flow_slug = add_step.flow_slug and o.flow_version = v_version
  returning s.* into v_step;

  insert into pgflow.deps (flow_slug, flow_version, dep_slug, step_slug)
  select add_step.flow_slug, v_version, dep, add_step.step_slug from unnest(v_deps) dep;

  update pgflow.steps s set feeds_map = true
  where s.flow_slug = add_step.flow_slug and s.flow_version = v_version and s.step_slug = v_map_over and not s.feeds_map;
  return v_step;
end
$fn$;
