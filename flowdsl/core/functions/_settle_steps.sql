-- _settle_steps: what follows from steps that have just completed or been skipped: dependents count down, maps over them
-- are sized, conditions of ready steps are judged, ready steps start with their tasks, skipped steps and empty maps settle
-- in the next round, runs count down and complete. A step whose whole inputs are beyond 100 MB fails with its run: a
-- claim could not build them.
-- p_ready_…: further steps that are created and ready, to be judged and started (root steps, steps of a retried run).
-- The caller holds the runs' locks (or has just inserted the runs) and has stored the steps' outputs.
-- Locks: step_states, step_tasks under the runs' locks.  Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.
-- Cost: linear in the edges out of the steps and in the tasks created; one round per level of skipped steps and empty maps.
-- Raises: nothing.
create function pgflow._settle_steps(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_now timestamptz,
  p_ready_run_ids uuid[] default null,
  p_ready_step_slugs text[] default null
) returns void
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
declare
  v_run_ids uuid[] := p_run_ids;
  v_slugs text[] := p_step_slugs;
  v_judge_run_ids uuid[] := p_ready_run_ids;
  v_judge_slugs text[] := p_ready_step_slugs;
  v_judged record;
  v_passed_run_ids uuid[];
  v_passed_slugs text[];
  v_lanes int[];
  v_max_input_size constant bigint := 100000000;
  v_too_large uuid[];
  v_ready_lanes int[] := '{}';
begin
  -- one round per level: a chain of skipped steps or empty maps may be as long as the flow
  loop
    v_passed_run_ids := null;
    v_passed_slugs := null;
    if v_judge_run_ids is not null then
      select * into v_judged from pgflow._judge_steps(v_judge_run_ids, v_judge_slugs, p_now);
      v_passed_run_ids := v_judged.passed_run_ids;
      v_passed_slugs := v_judged.passed_slugs;
      v_run_ids := v_run_ids || v_judged.skipped_run_ids;
      v_slugs := v_slugs || v_judged.skipped_slugs;
    end if;
    exit when v_run_ids is null and v_passed_run_ids is null;

    with done as (
      select d.run_id, d.step_slug, st.flow_slug, st.flow_version, st.output
      from unnest(v_run_ids, v_slugs) d(run_id, step_slug)
      cross join lateral (
        select x.flow_slug, x.flow_version, x.output
        from pgflow.step_states x
        where x.run_id = d.run_id and x.step_slug = d.step_slug
        offset 0
      ) st
    ),
    met as (
      select done.run_id, d.step_slug, count(*)::int as n,
        -- a skipped step has no output: a map over it has no tasks
        max(case
          when s.step_type = 'single' then 1
          when s.map_over = done.step_slug then coalesce(jsonb_array_length(done.output), 0) end) as size,
        sum(case when s.map_over = done.step_slug then 0 else coalesce(pgflow._json_size(done.output), 0) end) as bytes,
        bool_or(s.is_conditional) as must_judge
      from done
      cross join lateral (
        select x.step_slug
        from pgflow.deps x
        where x.flow_slug = done.flow_slug and x.flow_version = done.flow_version and x.dep_slug = done.step_slug
        offset 0
      ) d
      cross join lateral (
        select x.step_type, x.map_over, x.is_conditional
        from pgflow.steps x
        where x.flow_slug = done.flow_slug and x.flow_version = done.flow_version and x.step_slug = d.step_slug
        offset 0
      ) s
      group by done.run_id, d.step_slug
      union all
      -- ready before this round, and judged
      select p.run_id, p.step_slug, 0, 1, 0, false
      from unnest(v_passed_run_ids, v_passed_slugs) p(run_id, step_slug)
    ),
    located as (
      select met.*, o.tid
      from met
      cross join lateral (
        select x.ctid as tid, x.status
        from pgflow.step_states x
        where x.run_id = met.run_id and x.step_slug = met.step_slug
        offset 0
      ) o
      where o.status = 'created'
    ),
    advanced as (
      update pgflow.step_states st set
        remaining_deps = st.remaining_deps - m.n,
        initial_tasks = coalesce(st.initial_tasks, m.size),
        input_size = st.input_size + m.bytes,
        status = case
          when st.remaining_deps > m.n or m.must_judge then st.status
          when st.input_size + m.bytes > v_max_input_size then 'failed'
          when coalesce(st.initial_tasks, m.size) = 0 then 'completed'
          else 'started' end,
        remaining_tasks = case
          when st.remaining_deps = m.n and not m.must_judge then coalesce(st.initial_tasks, m.size) end,
        output = case
          when st.remaining_deps = m.n and not m.must_judge and coalesce(st.initial_tasks, m.size) = 0
            and st.input_size + m.bytes <= v_max_input_size then '[]'::jsonb end,
        started_at = case when st.remaining_deps = m.n and not m.must_judge then greatest(p_now, st.created_at) end,
        completed_at = case
          when st.remaining_deps = m.n and not m.must_judge and coalesce(st.initial_tasks, m.size) = 0
            and st.input_size + m.bytes <= v_max_input_size then greatest(p_now, st.created_at) end,
        failed_at = case
          when st.remaining_deps = m.n and not m.must_judge and st.input_size + m.bytes > v_max_input_size
            then greatest(p_now, st.created_at) end
      from located m
      where st.ctid = m.tid
      returning st.run_id, st.step_slug, st.flow_slug, st.flow_version, st.status,
        m.must_judge and st.remaining_deps = 0 as must_judge
    ),
    created as (
      insert into pgflow.step_tasks (run_id, step_slug, task_index, flow_slug, lane_id, queued_at, visible_at, input)
      select a.run_id, a.step_slug, e.i, a.flow_slug, s.lane_id, p_now, pgflow._visible_at(p_now, s.opt_start_delay),
        e.element
      from advanced a
      cross join lateral (
        select x.step_type, x.map_over, x.lane_id, x.opt_start_delay
        from pgflow.steps x
        where x.flow_slug = a.flow_slug and x.flow_version = a.flow_version and x.step_slug = a.step_slug
        offset 0
      ) s
      cross join lateral (
        select 0 as i, null::jsonb as element where s.step_type = 'single'
        union all
        select (x.i - 1)::int, x.element
        from jsonb_array_elements(
          case when s.step_type = 'single' then null
          when s.map_over = 'run' then (select r.input from pgflow.runs r where r.run_id = a.run_id)
          else (
            select o.output from pgflow.step_states o where o.run_id = a.run_id and o.step_slug = s.map_over
          ) end
        ) with ordinality x(element, i)
      ) e
      where a.status = 'started'
      returning lane_id
    ),
    counted as (
      select d.run_id, d.n, o.tid
      from (select done.run_id, count(*)::int as n from done group by done.run_id) d
      cross join lateral (
        select x.ctid as tid, x.status from pgflow.runs x where x.run_id = d.run_id offset 0
      ) o
      where o.status = 'started'
    ),
    counted_down as (
      update pgflow.runs r set
        remaining_steps = r.remaining_steps - c.n,
        status = case when r.remaining_steps = c.n then 'completed' else r.status end,
        completed_at = case when r.remaining_steps = c.n then greatest(p_now, r.started_at) end,
        deadline_at = case when r.remaining_steps > c.n then r.deadline_at end,
        output = case
          when r.remaining_steps > c.n then null
          -- the output step's output, or an object of the completed leaf steps' outputs; null when there is none
          when exists (
            select from pgflow.flow_versions fv
            where fv.flow_slug = r.flow_slug and fv.flow_version = r.flow_version and fv.output_step is not null
          ) then (
            select st.output from pgflow.flow_versions fv
            join pgflow.step_states st on st.run_id = r.run_id and st.step_slug = fv.output_step
            where fv.flow_slug = r.flow_slug and fv.flow_version = r.flow_version
          )
          else (
            select jsonb_object_agg(st.step_slug, st.output)
            from pgflow.step_states st
            where st.run_id = r.run_id and st.status = 'completed' and not exists (
              select from pgflow.deps d
              where d.flow_slug = r.flow_slug and d.flow_version = r.flow_version and d.dep_slug = st.step_slug)
          ) end
      from counted c
      where r.ctid = c.tid
      returning r.run_id, r.status, r.watched
    ),
    announced as (
      select count(pg_notify('pgflow_runs', c.run_id::text)) as n
      from counted_down c where c.watched and c.status = 'completed'
    )
    select
      (select array_agg(a.run_id) from advanced a where a.status = 'completed'),
      (select array_agg(a.step_slug) from advanced a where a.status = 'completed'),
      (select array_agg(a.run_id) from advanced a where a.must_judge),
      (select array_agg(a.step_slug) from advanced a where a.must_judge),
      (select array_agg(distinct c.lane_id) from created c),
      (select array_agg(distinct a.run_id) from advanced a where a.status = 'failed'),
      announced.n
    into v_run_ids, v_slugs, v_judge_run_ids, v_judge_slugs, v_lanes, v_too_large
    from announced;
    if v_too_large is not null then
      perform pgflow._fail_large_inputs(v_too_large, p_now);
    end if;
    v_ready_lanes := v_ready_lanes || v_lanes;
  end loop;
  if cardinality(v_ready_lanes) > 0 then
    perform pgflow._notify_ready(v_ready_lanes);
  end if;
end
$fn$;
