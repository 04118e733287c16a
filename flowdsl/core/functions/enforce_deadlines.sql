-- enforce_deadlines: fail up to max_runs open runs that are past their deadline; returns how many.
-- Locks: runs FOR NO KEY UPDATE SKIP LOCKED; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: yes.
-- Cost: a range of runs_by_deadline_idx, which holds open runs only.  Raises: nothing.
create function pgflow.enforce_deadlines(max_runs int default 100) returns int
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
  v_run_ids uuid[];
begin
  select array_agg(o.run_id) into v_run_ids from (
    select r.run_id from pgflow.runs r
    where r.deadline_at is not null and r.deadline_at <= v_now and r.status = 'started'
    order by r.deadline_at
    limit greatest(enforce_deadlines.max_runs, 0)
    -- a run that somebody works on at this moment is looked at by the next sweep
    for no key update skip locked
  ) o;
  perform pgflow._end_runs(
    array[r.run_id], 'failed',
    format('deadline of %s UTC exceeded', to_char(r.deadline_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')), v_now)
  from pgflow.runs r where r.run_id = any (v_run_ids);
  return coalesce(cardinality(v_run_ids), 0);
end
$fn$;
