-- start_tasks: phase two of a foreign worker: those of these messages of the flow that are still queued, in open runs
-- and started steps, become started by this worker and are returned with their inputs (see step_task_record); the others
-- are left out. A task is returned to one caller, once, and what is returned is what was updated.
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
  with found as (
    -- ready ones, through step_tasks_ready_idx
    select t.ctid as tid
    from pgflow.lanes l
    join pgflow.step_tasks t on t.lane_id = l.lane_id and t.message_id = any (start_tasks.msg_ids)
    where l.flow_slug = start_tasks.flow_slug and t.status = 'queued' and t.visible_at is null
    union all
    -- reserved ones, through step_tasks_delayed_message_idx
    select t.ctid
    from pgflow.step_tasks t
    where t.message_id = any (start_tasks.msg_ids) and t.status = 'queued' and t.visible_at is not null
      and t.flow_slug = start_tasks.flow_slug
  ),
  picked as (
    select t.ctid as tid
    from found f
    join pgflow.step_tasks t on t.ctid = f.tid
    join pgflow.runs r on r.run_id = t.run_id
    join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
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
      join pgflow.step_states o on o.run_id = c.run_id and o.step_slug = d.dep_slug and o.status = 'completed'
      where d.flow_slug = c.flow_slug and d.flow_version = r.flow_version and d.step_slug = c.step_slug
    ), '{}') end,
    c.message_id, c.task_index,
    case when s.step_type = 'single' and s.deps_count = 0 then r.input end,
    v_fence
  from started c
  join pgflow.runs r on r.run_id = c.run_id
  join pgflow.steps s
    on s.flow_slug = c.flow_slug and s.flow_version = r.flow_version and s.step_slug = c.step_slug
  order by c.message_id;
end
$fn$;
