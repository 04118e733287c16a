-- _lock_runs: take the lock of everything under these runs: their rows, each once, in the order of their ids.
-- Statements after this call see what others committed before. The look-up is written as everywhere on the hot path: see
-- "Plans" in core/README.md.
-- Locks: runs FOR NO KEY UPDATE by run_id.  Raises: nothing.
create function pgflow._lock_runs(p_run_ids uuid[]) returns void
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
  perform from (select distinct i.run_id from unnest(p_run_ids) i(run_id) order by i.run_id) g
  cross join lateral (select from pgflow.runs r where r.run_id = g.run_id offset 0 for no key update) locked;
end
$fn$;
