-- _holds_tasks: does the worker hold a task at this moment?
-- Locks: none.  Cost: O(what it holds) through step_tasks_held_idx; asked only where suspects are.  Raises: nothing.
create function pgflow._holds_tasks(p_worker_id uuid) returns bool
language plpgsql stable
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
  return exists (select from pgflow.step_tasks t where t.last_worker_id = p_worker_id and t.status = 'started');
end
$fn$;
