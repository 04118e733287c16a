-- _explain_steps: a row of explain_run for each open step of a run. A started step waits for its tasks: of what they wait for, the
-- first of lease, worker, no_worker, reserved, backoff, start_delay that any of them waits for stands for all.
-- Locks: none.  Raises: nothing.
create function pgflow._explain_steps(p_run_id uuid, p_now timestamptz)
returns table (step_slug text, status text, waits_for text, detail text, since timestamptz, until timestamptz)
language sql stable
set search_path = ''
as $fn$
  with counted as (
    select o.step_slug, o.waits_for, count(*) as n, min(o.reason) as reason,
      array_position(array['lease', 'worker', 'no_worker', 'reserved', 'backoff', 'start_delay'], o.waits_for) as place
    from pgflow._explain_open(p_run_id, p_now) o
    group by o.step_slug, o.waits_for
  )
  select st.step_slug, st.status,
    case when st.status = 'created' then 'dependency' else coalesce(c.waits_for, 'worker') end,
    case
      when st.status = 'created' and d.open = 0 then
        format('Step %L is ready, but nothing has started it: pgflow.start_ready_steps(run_id) does.', st.step_slug)
      when st.status = 'created' then
        format('Step %L waits for %s of the %s it depends on: %s.', st.step_slug, d.open, d.total, d.names)
      else format('Step %L has %s of %s tasks left%s.', st.step_slug, st.remaining_tasks, st.initial_tasks, ': ' || c.words) end,
    coalesce(st.started_at, st.created_at), null::timestamptz
  from pgflow.step_states st
  cross join lateral (
    select count(*) as total, count(*) filter (where o.status not in ('completed', 'skipped')) as open,
      string_agg(
        format('%L (%s)', o.step_slug, case
          when o.status = 'started' then format('%s of %s tasks left', o.remaining_tasks, o.initial_tasks)
          else 'not started' end),
        ', ' order by o.step_slug) filter (where o.status not in ('completed', 'skipped')) as names
    from pgflow.deps x
    join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = x.dep_slug
    where x.flow_slug = st.flow_slug and x.flow_version = st.flow_version and x.step_slug = st.step_slug
  ) d
  left join lateral (
    select (array_agg(x.waits_for order by x.place))[1] as waits_for,
      string_agg(x.n || ' ' || case x.waits_for
        when 'lease' then 'with a worker'
        when 'worker' then 'ready'
        when 'no_worker' then 'ready without a worker that could take them'
        when 'reserved' then 'reserved by a reader'
        when 'backoff' then 'between two attempts'
        else 'delayed until their start' end, ', ' order by x.place) as words
    from counted x where x.step_slug = st.step_slug
  ) c on true
  where st.run_id = p_run_id and st.status in ('created', 'started')
$fn$;
