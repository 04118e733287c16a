-- start_tasks: phase two of a foreign worker: those of these messages of the flow that are still queued, in open runs
-- and started steps, become started by this worker and are returned with their inputs (see step_task_record); the others
-- are left out. A task is returned to one caller, once, and what is returned is what was updated.
-- A message that is left out may be asked for again: a claim that just missed it may keep its row until it commits.
-- Run and step are looked at, not locked: whatever ends a run or a step updates its queued tasks in the same transaction,
-- so of the two that update the task's row, the second sees that the first was there.
-- With a lease (register_worker) the tasks come back like claimed ones; without, by requeue_stalled_tasks.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED; it waits for nobody.  Writes: step_tasks.  Idempotent: no; a second call with
-- the same messages returns nothing.
-- Cost: linear in the messages and in what is returned: a map task carries its element, so no array is taken apart.
-- Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid)
returns setof pgflow.step_task_record
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_memoize = off
set enable_sort = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_fence bigint;
begin
  if not pgflow._may_start_tasks(start_tasks.worker_id, v_now) or coalesce(cardinality(start_tasks.msg_ids), 0) = 0 then
    return;
  end if;
  v_fence := nextval('pgflow.fences');
  return query
  -- offset 0 keeps each look-up one of its own, by its whole key, whatever the planner believes of the tables
  with given as (
    select distinct m.message_id from unnest(start_tasks.msg_ids) m(message_id)
  ),
  found as (
    -- ready ones, through step_tasks_ready_idx
    select t.tid
    from given g
    cross join pgflow.lanes l
    cross join lateral (
      select x.ctid as tid
      from pgflow.step_tasks x
      where x.lane_id = l.lane_id and x.message_id = g.message_id and x.status = 'queued' and x.visible_at is null
      offset 0
    ) t
    where l.flow_slug = start_tasks.flow_slug
    union all
    -- reserved ones, through step_tasks_delayed_message_idx
    select t.tid
    from given g
    cross join lateral (
      -- a range in the index's order, and no sorts: with an equality the index on visible_at, read whole, would do as well
      select x.ctid as tid, x.flow_slug
      from pgflow.step_tasks x
      where x.message_id >= g.message_id and x.message_id <= g.message_id and x.status = 'queued'
        and x.visible_at is not null
      order by x.message_id
      offset 0
    ) t
    where t.flow_slug = start_tasks.flow_slug
  ),
  picked as (
    select t.ctid as tid
    from found f
    join pgflow.step_tasks t on t.ctid = f.tid
    cross join lateral (
      select x.status from pgflow.runs x where x.run_id = t.run_id offset 0
    ) r
    cross join lateral (
      select x.status from pgflow.step_states x where x.run_id = t.run_id and x.step_slug = t.step_slug offset 0
    ) st
    where t.status = 'queued' and r.status = 'started' and st.status = 'started'
    for update of t skip locked
  ),
  started as (
    update pgflow.step_tasks t set
      status = 'started', attempts_count = t.attempts_count + 1, fence = v_fence, visible_at = null,
      last_worker_id = start_tasks.worker_id, started_at = greatest(v_now, t.queued_at)
    from picked p where t.ctid = p.tid
    returning t.flow_slug, t.run_id, t.step_slug, t.message_id, t.task_index, t.input
  )
  select
    c.flow_slug, c.run_id, c.step_slug,
    case when s.step_type = 'map' then c.input
    else coalesce((
      select jsonb_object_agg(d.dep_slug, o.output)
      from pgflow.deps d
      cross join lateral (
        select x.output, x.status from pgflow.step_states x
        where x.run_id = c.run_id and x.step_slug = d.dep_slug
        offset 0
      ) o
      where d.flow_slug = c.flow_slug and d.flow_version = r.flow_version and d.step_slug = c.step_slug
        and o.status = 'completed'
    ), '{}') end,
    c.message_id, c.task_index,
    case when s.step_type = 'single' and s.deps_count = 0 then r.input end,
    v_fence
  from started c
  cross join lateral (
    select x.input, x.flow_version from pgflow.runs x where x.run_id = c.run_id offset 0
  ) r
  cross join lateral (
    select x.step_type, x.deps_count
    from pgflow.steps x
    where x.flow_slug = c.flow_slug and x.flow_version = r.flow_version and x.step_slug = c.step_slug
    offset 0
  ) s
  order by c.message_id;
end
$fn$;
