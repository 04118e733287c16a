-- _isolate_worker: reserve a worker that holds nothing for one suspect; false when it holds something.
-- Locks: the worker's row, SKIP LOCKED.  Writes: workers.  Idempotent: yes.  Raises: nothing.
create function pgflow._isolate_worker(p_worker_id uuid) returns bool
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
begin
  if pgflow._holds_tasks(p_worker_id) then
    return false;
  end if;
  update pgflow.workers w set isolating = true
  where w.worker_id = (
    select x.worker_id from pgflow.workers x where x.worker_id = p_worker_id for update skip locked);
  return found;
end
$fn$;
