-- prune_data_older_than: delete runs that ended longer ago than retention_interval, with all of their rows, oldest
-- starts of a flow first, at most max_runs a call; and workers that stopped, or let their lease run out, that long ago
-- and hold no task. Never an open run. Returns the number of runs; call again while it returns max_runs.
-- Locks: workers, then runs, FOR UPDATE SKIP LOCKED: a run that retry_run takes up at this moment is left alone, and a
-- retry that comes later finds no run. Writes: workers, runs, step_states, step_tasks, task_attempts.  Idempotent: yes.
-- Cost: linear in the rows deleted, plus the runs of runs_by_flow_idx that are older but still needed.
-- Raises: PF400 an interval that is null or negative.
create function pgflow.prune_data_older_than(retention_interval interval, max_runs int default 1000) returns int
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
  v_before timestamptz := pgflow._now() - retention_interval;
  v_most int := greatest(max_runs, 0);
  v_run_ids uuid[];
begin
  if retention_interval is null or retention_interval < interval '0' then
    perform pgflow._refuse('PF400',
      format('prune_data_older_than: retention_interval must be 0 or more, not %s', coalesce(retention_interval::text, 'null')),
      'Give how long ended runs are kept, such as interval ''30 days''.');
  end if;

  delete from pgflow.workers w
  using (
    select x.worker_id from pgflow.workers x
    where (x.stopped_at < v_before or x.last_heartbeat_at + x.lease_seconds * interval '1 second' < v_before)
      and not pgflow._holds_tasks(x.worker_id)
    limit v_most
    for update of x skip locked
  ) gone
  where w.worker_id = gone.worker_id;

  select array_agg(ended.run_id) into v_run_ids
  from (
    select o.run_id
    from pgflow.flows f
    cross join lateral (
      select r.run_id
      from pgflow.runs r
      where r.flow_slug = f.flow_slug and r.started_at < v_before and r.status <> 'started'
        and coalesce(r.completed_at, r.failed_at, r.cancelled_at, r.started_at) < v_before
      order by r.started_at
      for update skip locked
    ) o
    limit v_most
  ) ended;
  if v_run_ids is null then
    return 0;
  end if;

  delete from pgflow.task_attempts a where a.run_id = any (v_run_ids);
  delete from pgflow.step_tasks t where t.run_id = any (v_run_ids);
  delete from pgflow.step_states st where st.run_id = any (v_run_ids);
  delete from pgflow.runs r where r.run_id = any (v_run_ids);
  return cardinality(v_run_ids);
end
$fn$;
