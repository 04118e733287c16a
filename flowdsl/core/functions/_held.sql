-- _held: of these claims, those that are current, each with its task's place (ctid), state and the options of its step.
-- The caller holds the runs' locks, so the places stay.
-- Locks: none.  Cost: look-ups by key, whatever the planner believes of the tables.  Raises: nothing.
create function pgflow._held(p_run_ids uuid[], p_step_slugs text[], p_task_indexes int[], p_fences bigint[])
returns table (
  i bigint, tid tid, flow_slug text, run_id uuid, step_slug text, task_index int, fence bigint, attempts_count int,
  requeued_count int, last_worker_id uuid, started_at timestamptz, lane_id int, max_attempts int, base_delay int,
  max_delay int, retry_on text[]
)
language plpgsql stable rows 10
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
begin
  return query
  select g.i, t.tid, st.flow_slug, g.run_id, g.step_slug, g.task_index, g.fence, t.attempts_count, t.requeued_count,
    t.last_worker_id, t.started_at, s.lane_id, coalesce(s.opt_max_attempts, f.opt_max_attempts),
    coalesce(s.opt_base_delay, f.opt_base_delay), coalesce(s.opt_max_delay, f.opt_max_delay), s.opt_retry_on
  from unnest(p_run_ids, p_step_slugs, p_task_indexes, p_fences) with ordinality
    g(run_id, step_slug, task_index, fence, i)
  cross join lateral (
    select x.ctid as tid, x.status, x.fence, x.attempts_count, x.requeued_count, x.last_worker_id, x.started_at
    from pgflow.step_tasks x
    where x.run_id = g.run_id and x.step_slug = g.step_slug and x.task_index = g.task_index
    offset 0
  ) t
  cross join lateral (
    select x.flow_slug, x.flow_version
    from pgflow.step_states x
    where x.run_id = g.run_id and x.step_slug = g.step_slug
    offset 0
  ) st
  cross join lateral (
    select x.lane_id, x.opt_base_delay, x.opt_max_attempts, x.opt_max_delay, x.opt_retry_on
    from pgflow.steps x
    where x.flow_slug = st.flow_slug and x.flow_version = st.flow_version and x.step_slug = g.step_slug
    offset 0
  ) s
  join pgflow.flows f on f.flow_slug = st.flow_slug
  where t.status = 'started' and t.fence = g.fence;
end
$fn$;
