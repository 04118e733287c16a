-- recover_tasks: take back up to max_tasks tasks from workers whose lease ran out, or who stopped without giving them
-- back; returns how many. Ready at once, no attempt used; the third worker lost under the same task fails it for good
-- (a poison task), and its step's when_exhausted decides. Any worker may call it at any time; calls do not wait for each other.
-- It also moves tasks that came into a lane while a change of options abandoned it.
-- Locks: workers FOR UPDATE SKIP LOCKED, then runs FOR NO KEY UPDATE by run_id as _lock_free_runs; step_states, step_tasks
-- under them; abandoned tasks SKIP LOCKED.
-- Writes: runs, step_states, step_tasks, task_attempts, lanes; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow.recover_tasks(max_tasks int default 1000) returns int
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
  v_max_losses constant int := 3;
  v_workers uuid[];
  v_candidates record;
  v_locked uuid[];
  v_taken record;
begin
  select array_agg(lost.worker_id) into v_workers from (
    select w.worker_id from pgflow.workers w
    where (w.stopped_at is not null or w.last_heartbeat_at + w.lease_seconds * interval '1 second' < v_now)
      -- not a join, which may read what all workers have held since the oldest snapshot
      and pgflow._holds_tasks(w.worker_id)
    order by w.worker_id
    limit 100
    for update of w skip locked
  ) lost;
  if v_workers is null then
    perform pgflow._move_abandoned_tasks();
    return 0;
  end if;

  select array_agg(h.run_id) as run_ids, array_agg(h.step_slug) as step_slugs,
    array_agg(h.task_index) as task_indexes, array_agg(h.fence) as fences
  into v_candidates
  from (
    select t.run_id, t.step_slug, t.task_index, t.fence
    from pgflow.step_tasks t
    where t.last_worker_id = any (v_workers) and t.status = 'started'
    limit recover_tasks.max_tasks
  ) h;
  v_locked := pgflow._lock_free_runs(v_candidates.run_ids);

  with held as (
    -- as they are now that the runs are locked
    select h.*, h.requeued_count + 1 >= v_max_losses as poison
    from pgflow._held(
      v_candidates.run_ids, v_candidates.step_slugs, v_candidates.task_indexes, v_candidates.fences) h
    where h.run_id = any (v_locked)
  ),
  taken as (
    update pgflow.step_tasks t set
      status = case when h.poison then 'failed' else 'queued' end,
      started_at = case when h.poison then t.started_at end,
      fence = 0,
      lane_id = h.lane_id,
      attempts_count = case when h.poison then t.attempts_count else greatest(t.attempts_count - 1, 0) end,
      requeued_count = t.requeued_count + 1,
      last_requeued_at = v_now,
      message_id = nextval('pgflow.message_ids'),
      failed_at = case when h.poison then greatest(v_now, t.started_at) end,
      permanently_stalled_at = case when h.poison then v_now end,
      error_message = case when h.poison then format('lost with its worker %s times', t.requeued_count + 1)
        else t.error_message end
    from held h
    where t.ctid = h.tid
    returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.lane_id, t.error_message, h.poison, h.attempts_count,
      h.fence, h.last_worker_id, h.started_at
  ),
  recorded as (
    insert into pgflow.task_attempts (
      flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, worker_id,
      started_at, ended_at
    )
    select x.flow_slug, x.run_id, x.step_slug, x.task_index, x.attempts_count, 'lost', 'LeaseLost',
      format('worker %s stopped or let its lease run out', x.last_worker_id), x.fence, x.last_worker_id, x.started_at,
      greatest(v_now, x.started_at)
    from taken x
  )
  select count(*)::int as recovered, array_agg(distinct x.lane_id) filter (where not x.poison) as lanes,
    array_agg(x.run_id order by x.task_index) filter (where x.poison) as run_ids,
    array_agg(x.step_slug order by x.task_index) filter (where x.poison) as step_slugs,
    array_agg(x.error_message order by x.task_index) filter (where x.poison) as messages
  into v_taken
  from taken x;

  if v_taken.run_ids is not null then
    perform pgflow._exhaust_steps(v_taken.run_ids, v_taken.step_slugs, v_taken.messages, v_now);
  end if;
  -- last: it locks lanes and tasks, and whoever does must not wait for a run any more
  perform pgflow._move_abandoned_tasks();
  perform pgflow._notify_ready(v_taken.lanes);
  return v_taken.recovered;
end
$fn$;
