-- drop_flow_version: undo create_flow for one version: its definition and its finished runs; the version before becomes
-- current; with the only version the flow itself goes.
-- Locks: the flow's row, then the table runs against writers and lockers.  Writes: flows, flow_versions, steps, deps, lanes, runs, step_states, step_tasks,
-- task_attempts.  Idempotent: yes, an unknown version is no error.  Raises: PF411 runs of the version are open.
create function pgflow.drop_flow_version(flow_slug text, version int) returns void
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_open bigint;
  v_before int;
begin
  perform 1 from pgflow.flows f where f.flow_slug = drop_flow_version.flow_slug for update;
  -- also waits for transactions that have started a run and are not committed yet
  lock table pgflow.runs in exclusive mode;
  select count(*) into v_open from pgflow.runs r
  where r.flow_slug = drop_flow_version.flow_slug and r.flow_version = drop_flow_version.version and r.status = 'started';
  if v_open > 0 then
    perform pgflow._refuse('PF411',
      format('flow %L version %s has %s', drop_flow_version.flow_slug, drop_flow_version.version,
        case v_open when 1 then '1 open run' else v_open || ' open runs' end),
      format('They could not go on without their definition. Wait until they have ended (pgflow runs --flow %s --status started), '
        'or cancel them (pgflow cancel RUN); then downgrade again.', drop_flow_version.flow_slug));
  end if;

  with gone as (
    delete from pgflow.runs r
    where r.flow_slug = drop_flow_version.flow_slug and r.flow_version = drop_flow_version.version
    returning r.run_id
  ),
  gone_states as (
    delete from pgflow.step_states st using gone g where st.run_id = g.run_id
  ),
  gone_tasks as (
    delete from pgflow.step_tasks t using gone g where t.run_id = g.run_id
  )
  delete from pgflow.task_attempts a using gone g where a.run_id = g.run_id;

  delete from pgflow.steps s
  where s.flow_slug = drop_flow_version.flow_slug and s.flow_version = drop_flow_version.version;
  delete from pgflow.lanes l
  where l.flow_slug = drop_flow_version.flow_slug and l.flow_version = drop_flow_version.version;
  delete from pgflow.flow_versions fv
  where fv.flow_slug = drop_flow_version.flow_slug and fv.flow_version = drop_flow_version.version;

  select max(fv.flow_version) into v_before
  from pgflow.flow_versions fv where fv.flow_slug = drop_flow_version.flow_slug;
  if v_before is null then
    delete from pgflow.flows f where f.flow_slug = drop_flow_version.flow_slug;
  else
    update pgflow.flows f set current_version = v_before where f.flow_slug = drop_flow_version.flow_slug;
  end if;
end
$fn$;
