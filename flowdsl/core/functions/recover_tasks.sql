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
set enable_memoize = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_max_losses constant int := 3;
  v_workers uuid[];
  v_candidates record;
  v_recovered int;
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
    limit greatest(recover_tasks.max_tasks, 0)
  ) h;
  v_recovered := pgflow._take_back(
    v_candidates.run_ids, v_candidates.step_slugs, v_candidates.task_indexes, v_candidates.fences, v_max_losses - 1,
    'lost with its worker', 'LeaseLost', 'worker %s stopped or let its lease run out', v_now);
  -- last: it locks lanes and tasks, and whoever does must not wait for a run any more
  perform pgflow._move_abandoned_tasks();
  return v_recovered;
end
$fn$;
