-- requeue_stalled_tasks: tasks that were started longer ago than their step's timeout and 30 seconds more go back to the
-- queue, at most max_tasks in one call; returns how many. No attempt is used. A task comes back three times; when it stalls
-- once more it has failed for good, and its step's when_exhausted decides. Workers of ours end attempts at the timeout, so
-- this is for workers without a lease, and for handlers that nobody can stop.
-- Locks: runs FOR NO KEY UPDATE by run_id as _lock_free_runs; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.
-- Cost: reads the tasks that are started at this moment, through step_tasks_held_idx.  Raises: nothing.
create function pgflow.requeue_stalled_tasks(max_tasks int default 1000) returns int
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
  v_max_requeues constant int := 3;
  v_candidates record;
begin
  select array_agg(h.run_id) as run_ids, array_agg(h.step_slug) as step_slugs,
    array_agg(h.task_index) as task_indexes, array_agg(h.fence) as fences
  into v_candidates
  from (
    select t.run_id, t.step_slug, t.task_index, t.fence
    from (
      select x.run_id, x.step_slug, x.task_index, x.fence, x.started_at
      from pgflow.step_tasks x
      where x.status = 'started'
      offset 0
    ) t
    cross join lateral (
      select x.flow_slug, x.flow_version
      from pgflow.step_states x
      where x.run_id = t.run_id and x.step_slug = t.step_slug
      offset 0
    ) st
    cross join lateral (
      select x.opt_timeout
      from pgflow.steps x
      where x.flow_slug = st.flow_slug and x.flow_version = st.flow_version and x.step_slug = t.step_slug
      offset 0
    ) s
    join pgflow.flows f on f.flow_slug = st.flow_slug
    where t.started_at < v_now - (coalesce(s.opt_timeout, f.opt_timeout) + 30) * interval '1 second'
    limit greatest(requeue_stalled_tasks.max_tasks, 0)
  ) h;
  if v_candidates.run_ids is null then
    return 0;
  end if;
  return pgflow._take_back(
    v_candidates.run_ids, v_candidates.step_slugs, v_candidates.task_indexes, v_candidates.fences, v_max_requeues,
    'stalled', 'Stalled', 'worker %s had not ended it 30 seconds after its timeout', v_now);
end
$fn$;
