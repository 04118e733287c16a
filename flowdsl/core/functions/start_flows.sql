-- start_flows: start one run of the flow's current version per input, all or none; returns the run ids in input order.
-- run_ids: ids given by the caller, so that a call made twice starts once: an id that exists with the same flow and
-- input is returned as it is.
-- fingerprint: the shape the caller knows; refused when it is neither the current version's nor one whose callers that accepts.
-- Locks: runs (insert).  Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: with run_ids.
-- Cost: O(runs * steps + root map elements); three statements, whatever the number of runs.
-- Raises: PF400 arrays that do not fit, PF404 unknown flow, PF410 a run id is taken, PF414 another shape, PF416 retired, PF422 an input that is null, or no
-- array where a map runs over it.
create function pgflow.start_flows(flow_slug text, inputs jsonb[], run_ids uuid[] default null, fingerprint text default null)
returns setof uuid
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_memoize = off
set jit = off
as $fn$
#variable_conflict use_column
declare
  v_now timestamptz := pgflow._now();
  v_version int;
  v_made_at timestamptz[];
  v_steps int;
  v_sized_by_input bool;
  v_has_root_map bool;
  v_judged_roots text[];
  v_root_lanes int[];
  v_deadline int;
  v_is_retired bool;
  v_is_new bool;
  v_is_known bool;
  v_new uuid[];
  v_is_unchanged bool;
  v_is_awaited bool;
  v_given uuid[] := start_flows.run_ids;
  v_inputs jsonb[] := start_flows.inputs;
  v_id uuid;
  v_empty_run_ids uuid[];
  v_empty_slugs text[];
begin
  -- Few statements, each for all runs: a run that is started alone pays most for their beginnings (eleven statements took
  -- twice the time of these three).
  select f.current_version, array[f.created_at, fv.created_at], s.steps, s.sized_by_input, s.has_root_map, s.judged_roots,
    s.root_lanes, f.opt_deadline, f.retired_at is not null,
    -- A start that comes again is answered as before, whatever has become of the flow since.
    start_flows.run_ids is null or exists (
      select from unnest(start_flows.run_ids) g(run_id)
      where not exists (select from pgflow.runs r where r.run_id = g.run_id)),
    start_flows.fingerprint is null or coalesce(fv.fingerprint = start_flows.fingerprint, false) or exists (
      select from pgflow.flow_versions o
      where o.flow_slug = f.flow_slug and o.flow_version between coalesce(fv.accepts_from, fv.flow_version) and fv.flow_version
        and o.fingerprint = start_flows.fingerprint)
  into v_version, v_made_at, v_steps, v_sized_by_input, v_has_root_map, v_judged_roots, v_root_lanes, v_deadline, v_is_retired,
    v_is_new, v_is_known
  from pgflow.flows f
  left join pgflow.flow_versions fv on fv.flow_slug = f.flow_slug and fv.flow_version = f.current_version
  cross join lateral (
    select count(*) as steps, coalesce(bool_or(x.map_over = 'run'), false) as sized_by_input,
      coalesce(bool_or(x.step_type = 'map' and x.deps_count = 0 and not x.is_conditional), false) as has_root_map,
      array_agg(x.step_slug) filter (where x.deps_count = 0 and x.is_conditional) as judged_roots,
      array_agg(x.lane_id) filter (where x.deps_count = 0) as root_lanes
    from pgflow.steps x where x.flow_slug = f.flow_slug and x.flow_version = f.current_version
    offset 0
  ) s
  where f.flow_slug = start_flows.flow_slug;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', start_flows.flow_slug),
      'Compile it and apply the migration: pgflow compile, then alembic upgrade head.');
  end if;
  if v_is_retired and v_is_new then
    perform pgflow._refuse('PF416', format('flow %L is retired and starts no new runs', start_flows.flow_slug),
      'Open runs go on. To start it again, bring it back: pgflow compile, then alembic upgrade head.');
  end if;
  if v_is_new and not v_is_known then
    perform pgflow._refuse('PF414',
      format('flow %L is in the database, but its current version %s has another shape than in this program',
        start_flows.flow_slug, v_version),
      'Run: pgflow compile, then alembic upgrade head. If the database is ahead, update this program.');
  end if;
  if v_given is null then
    for v_i in 1..coalesce(cardinality(start_flows.inputs), 0) loop
      v_given[v_i] := pgflow._new_run_id();
    end loop;
    v_given := coalesce(v_given, '{}');
  end if;
  -- one input and one id need no look at all of them
  if v_sized_by_input or cardinality(v_given) <> 1 or v_given[1] is null or cardinality(v_inputs) is distinct from 1
    or v_inputs[1] is null
  then
    perform pgflow._check_start(start_flows.flow_slug, start_flows.inputs, v_given, v_sized_by_input);
  end if;

  with new_runs as (
    insert into pgflow.runs (run_id, flow_slug, flow_version, input, remaining_steps, started_at, deadline_at)
    select g.run_id, start_flows.flow_slug, v_version, g.input, v_steps, v_now, pgflow._visible_at(v_now, v_deadline)
    from unnest(v_given, v_inputs) g(run_id, input)
    order by g.run_id  -- two calls with the same ids wait for each other instead of deadlocking
    on conflict (run_id) do nothing
    returning run_id
  ),
  fresh as materialized (
    select g.run_id, g.input, g.i
    -- the inputs come from the arguments: no join with runs, which statistics could spoil
    from unnest(v_given, v_inputs) with ordinality g(run_id, input, i)
    -- not a join, which without hash joins would compare each with each, but a hashed subplan
    where (g.run_id in (select n.run_id from new_runs n)) is true
  ),
  -- tasks before states: PostgreSQL carries out the last of such parts first, and triggers on tasks may look at the states
  new_tasks as (
    insert into pgflow.step_tasks (run_id, step_slug, task_index, flow_slug, lane_id, queued_at, visible_at)
    select g.run_id, s.step_slug, 0, s.flow_slug, s.lane_id, v_now, pgflow._visible_at(v_now, s.opt_start_delay)
    from fresh g
    cross join pgflow.steps s
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0
      and s.step_type = 'single' and not s.is_conditional
    order by g.i, s.step_index
  ),
  new_states as (
    insert into pgflow.step_states (
      run_id, step_slug, flow_slug, flow_version, status, remaining_deps, initial_tasks, remaining_tasks, created_at,
      started_at, input_size
    )
    select
      g.run_id, s.step_slug, s.flow_slug, s.flow_version,
      case when n.starts then 'started' else 'created' end,
      s.deps_count,
      n.tasks,
      case when n.starts then n.tasks end,
      v_now,
      case when n.starts then v_now end,
      case when s.uses_run_input then pgflow._json_size(g.input) else 0 end
    from fresh g
    cross join pgflow.steps s
    cross join lateral (
      select s.deps_count = 0 and not s.is_conditional as starts,
        case
          when s.step_type = 'single' then 1
          -- no array: the flow has become another since the check of its inputs, and is refused below
          when s.map_over = 'run' then case when jsonb_typeof(g.input) = 'array' then jsonb_array_length(g.input) else 0 end
        end as tasks
    ) n
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version
    order by g.i, s.step_index
  )
  select coalesce(array_agg(n.run_id), '{}') into v_new from new_runs n;
  if cardinality(v_new) < cardinality(v_given) then
    perform pgflow._check_same_runs(start_flows.flow_slug, v_given, start_flows.inputs);
    v_inputs := array(
      select o.input from unnest(v_given, v_inputs) with ordinality o(id, input, i) where o.id = any (v_new) order by o.i);
    v_given := array(select o.id from unnest(v_given) with ordinality o(id, i) where o.id = any (v_new) order by o.i);
  end if;

  -- From here on drop_flow_version and delete_flow_and_data wait for us; one may have gone before, while the insert waited
  -- for it, and the flow or version may have been made anew since.
  select exists (
      select from pgflow.flows f
      left join pgflow.flow_versions fv on fv.flow_slug = f.flow_slug and fv.flow_version = f.current_version
      where f.flow_slug = start_flows.flow_slug and f.current_version = v_version
        and array[f.created_at, fv.created_at] = v_made_at and v_steps = (
        select count(*) from pgflow.steps s where s.flow_slug = f.flow_slug and s.flow_version = v_version)),
    exists (select from pgflow.lanes l where l.lane_id = any (v_root_lanes) and l.waiting)
  into v_is_unchanged, v_is_awaited;
  if not v_is_unchanged then
    perform pgflow._refuse('PF404', format('flow %L was changed by a migration at this moment', start_flows.flow_slug),
      'Start it again.');
  end if;

  if v_steps = 0 then
    update pgflow.runs r set status = 'completed', completed_at = v_now, deadline_at = null where r.run_id = any (v_given);
  end if;
  if v_has_root_map then
    insert into pgflow.step_tasks (run_id, step_slug, task_index, flow_slug, lane_id, queued_at, visible_at, input)
    select g.run_id, s.step_slug, (e.i - 1)::int, s.flow_slug, s.lane_id, v_now,
      pgflow._visible_at(v_now, s.opt_start_delay), e.element
    from unnest(v_given, v_inputs) with ordinality g(run_id, input, i)
    cross join pgflow.steps s
    cross join lateral jsonb_array_elements(g.input) with ordinality e(element, i)
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0
      and s.step_type = 'map' and not s.is_conditional
    order by g.i, s.step_index, e.i;

    -- empty root maps are done already
    with completed as (
      update pgflow.step_states st set status = 'completed', output = '[]', completed_at = v_now
      from (
        select o.tid
        from unnest(v_given, v_inputs) g(run_id, input)
        cross join pgflow.steps s
        cross join lateral (
          select x.ctid as tid from pgflow.step_states x
          where x.run_id = g.run_id and x.step_slug = s.step_slug
          offset 0
        ) o
        where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0
          and s.step_type = 'map' and not s.is_conditional and g.input = '[]'
      ) e
      where st.ctid = e.tid
      returning st.run_id, st.step_slug
    )
    select array_agg(c.run_id), array_agg(c.step_slug) into v_empty_run_ids, v_empty_slugs from completed c;
  end if;
  if v_empty_run_ids is not null or v_judged_roots is not null then
    perform pgflow._settle_steps(v_empty_run_ids, v_empty_slugs, v_now, j.run_ids, j.slugs)
    from (
      select array_agg(g.run_id) as run_ids, array_agg(s.slug) as slugs
      from unnest(v_given) g(run_id) cross join unnest(v_judged_roots) s(slug)
    ) j;
  end if;

  -- making the tasks of a map takes a while: a worker may have found the lane empty since that look
  if v_is_awaited or v_has_root_map then
    perform pgflow._notify_ready(v_root_lanes);
  end if;
  foreach v_id in array coalesce(start_flows.run_ids, v_given) loop
    return next v_id;
  end loop;
end
$fn$;
