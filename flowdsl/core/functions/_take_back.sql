-- _take_back: take these claims away, those that are current: the tasks become ready at once, with no attempt used, or have
-- failed for good when they were taken back p_max_requeues times before; then their steps' when_exhausted decides. Returns
-- how many. For recover_tasks and requeue_stalled_tasks, which say what happened: p_what and p_class name it, p_why tells
-- of the worker (%s).
-- Locks: runs FOR NO KEY UPDATE by run_id as _lock_free_runs; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._take_back(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_task_indexes int[],
  p_fences bigint[],
  p_max_requeues int,
  p_what text,
  p_class text,
  p_why text,
  p_now timestamptz
) returns int
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
  v_locked uuid[];
  v_taken record;
begin
  v_locked := pgflow._lock_free_runs(p_run_ids);

  with held as (
    -- as they are now that the runs are locked
    select h.*, h.requeued_count >= p_max_requeues as poison
    from pgflow._held(p_run_ids, p_step_slugs, p_task_indexes, p_fences) h
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
      last_requeued_at = p_now,
      message_id = nextval('pgflow.message_ids'),
      failed_at = case when h.poison then greatest(p_now, t.started_at) end,
      permanently_stalled_at = case when h.poison then p_now end,
      error_message = case when h.poison then format('%s %s times', p_what, t.requeued_count + 1)
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
    select x.flow_slug, x.run_id, x.step_slug, x.task_index, x.attempts_count, 'lost', p_class,
      format(p_why, x.last_worker_id), x.fence, x.last_worker_id, x.started_at, greatest(p_now, x.started_at)
    from taken x
  )
  select count(*)::int as recovered, array_agg(distinct x.lane_id) filter (where not x.poison) as lanes,
    array_agg(x.run_id order by x.task_index) filter (where x.poison) as run_ids,
    array_agg(x.step_slug order by x.task_index) filter (where x.poison) as step_slugs,
    array_agg(x.error_message order by x.task_index) filter (where x.poison) as messages
  into v_taken
  from taken x;

  if v_taken.run_ids is not null then
    perform pgflow._exhaust_steps(v_taken.run_ids, v_taken.step_slugs, v_taken.messages, p_now);
  end if;
  perform pgflow._notify_ready(v_taken.lanes);
  return v_taken.recovered;
end
$fn$;
