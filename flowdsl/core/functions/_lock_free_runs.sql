-- _lock_free_runs: as _lock_runs, for sweeps, which have time: runs that somebody keeps locked for longer than 3 seconds (a
-- client in a transaction that stays open, say) are left to a later sweep, so that they do not hold up all the others.
-- Returns the runs that are locked now.
-- Locks: runs FOR NO KEY UPDATE by run_id; after 3 seconds SKIP LOCKED.  Raises: nothing.
create function pgflow._lock_free_runs(p_run_ids uuid[]) returns uuid[]
language plpgsql volatile
set search_path = ''
set lock_timeout = '3s'
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
  begin
    perform pgflow._lock_runs(p_run_ids);
    return p_run_ids;
  exception when lock_not_available then
    null;  -- the locks it had got are gone with it
  end;
  return array(
    select locked.run_id
    from (select distinct i.run_id from unnest(p_run_ids) i(run_id)) g
    cross join lateral (
      select r.run_id from pgflow.runs r where r.run_id = g.run_id offset 0 for no key update skip locked
    ) locked);
end
$fn$;
