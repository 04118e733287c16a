-- create_flow: define a flow, or its next version; null options are the defaults.
-- version null: the first version, or whatever exists. version n+1: the next version, which new runs get from now on.
-- deadline: seconds from a run's start after which it is failed; null: none.
-- serves_from: the oldest version whose runs workers of this one carry out too; accepts_from: the oldest one whose callers may start
-- this one and read its output; null: only itself.
-- input_schema, output_schema: JSON Schemas of a run's input and output.
-- fingerprint names the version's shape for workers; output_step is the step whose output is the run's.
-- Locks: the flow's row.  Writes: flows, flow_versions.  Idempotent: yes, what exists is returned unchanged.
-- Raises: PF400 bad slug, option or version, PF409 the version exists with another shape.
create function pgflow.create_flow(
  flow_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  max_delay int default null,
  queue text default null,
  priority int default null,
  version int default null,
  fingerprint text default null,
  output_step text default null,
  deadline int default null,
  input_schema jsonb default null,
  output_schema jsonb default null,
  serves_from int default null,
  accepts_from int default null
) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_flow pgflow.flows;
  v_known text;
  v_wrong text;
begin
  perform pgflow._check_slug('flow', create_flow.flow_slug);
  perform pgflow._check_options(
    format('flow %L', create_flow.flow_slug), create_flow.max_attempts, create_flow.base_delay, create_flow.timeout, null,
    create_flow.max_delay, create_flow.queue, create_flow.deadline);

  if create_flow.version < 1 then
    perform pgflow._refuse('PF400', format('flow %L: version must be at least 1, not %s', create_flow.flow_slug,
      create_flow.version), 'Versions count from 1; null is the current one.');
  end if;
  select format('flow %L version %s: %s must be from 1 to the version itself, not %s', create_flow.flow_slug,
    coalesce(create_flow.version, 1), g.name, g.since)
  into v_wrong
  from (values ('serves_from', create_flow.serves_from), ('accepts_from', create_flow.accepts_from)) g(name, since)
  where g.since not between 1 and coalesce(create_flow.version, 1);
  if v_wrong is not null then
    perform pgflow._refuse('PF400', v_wrong, 'Null is the version itself.');
  end if;
  insert into pgflow.flows as f (
    flow_slug, opt_max_attempts, opt_base_delay, opt_timeout, opt_max_delay, opt_queue, opt_priority,
    opt_deadline
  ) values (
    create_flow.flow_slug, coalesce(create_flow.max_attempts, 3), coalesce(create_flow.base_delay, 5),
    coalesce(create_flow.timeout, 60), coalesce(create_flow.max_delay, 3600), create_flow.queue,
    coalesce(create_flow.priority, 0), create_flow.deadline
  ) on conflict (flow_slug) do nothing;
  select f.* into v_flow from pgflow.flows f where f.flow_slug = create_flow.flow_slug for update;

  insert into pgflow.flow_versions (
    flow_slug, flow_version, fingerprint, output_step, input_schema, output_schema, serves_from,
    accepts_from
  ) values (
    create_flow.flow_slug, coalesce(create_flow.version, v_flow.current_version), create_flow.fingerprint,
    create_flow.output_step, create_flow.input_schema, create_flow.output_schema, create_flow.serves_from,
    create_flow.accepts_from)
  on conflict (flow_slug, flow_version) do nothing;
  if not found then
    select fv.fingerprint into v_known
    from pgflow.flow_versions fv
    where fv.flow_slug = create_flow.flow_slug
      and fv.flow_version = coalesce(create_flow.version, v_flow.current_version);
    if v_known is distinct from coalesce(create_flow.fingerprint, v_known) then
      perform pgflow._refuse('PF409',
        format('flow %L has version %s already, with another shape', create_flow.flow_slug,
          coalesce(create_flow.version, v_flow.current_version)),
        'Another migration defined this version. Compile again on top of it.');
    end if;
    return v_flow;
  end if;

  if create_flow.version > v_flow.current_version + 1 or create_flow.version < v_flow.current_version then
    perform pgflow._refuse('PF400',
      format('flow %L is at version %s and cannot get version %s', create_flow.flow_slug, v_flow.current_version,
        create_flow.version),
      format('The next version is %s.', v_flow.current_version + 1));
  end if;
  if create_flow.version > v_flow.current_version then
    update pgflow.flows f set current_version = create_flow.version
    where f.flow_slug = create_flow.flow_slug
    returning f.* into v_flow;
  end if;
  return v_flow;
end
$fn$;
