-- _end_runs: end open runs as failed or cancelled; what is open in them ends with them, in this transaction.
-- p_reason: why, where it is the run as a whole that ends; null when the failed step tells.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._end_runs(p_run_ids uuid[], p_status text, p_reason text, p_now timestamptz) returns void
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
begin
  update pgflow.step_states st set
    status = 'cancelled', cancelled_at = greatest(p_now, coalesce(st.started_at, st.created_at))
  where st.run_id = any (p_run_ids) and st.status in ('created', 'started');

  update pgflow.step_tasks t set
    status = 'cancelled', cancelled_at = greatest(p_now, coalesce(t.started_at, t.queued_at)), visible_at = null
  where t.run_id = any (p_run_ids) and t.status in ('queued', 'started');

  perform pg_notify('pgflow_runs', r.run_id::text)
  from pgflow.runs r where r.run_id = any (p_run_ids) and r.status = 'started' and r.watched;
  update pgflow.runs r set
    status = p_status, end_reason = p_reason, deadline_at = null,
    failed_at = case when p_status = 'failed' then greatest(p_now, r.started_at) end,
    cancelled_at = case when p_status = 'cancelled' then greatest(p_now, r.started_at) end
  where r.run_id = any (p_run_ids) and r.status = 'started';
end
$fn$;
