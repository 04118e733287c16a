-- release_strays: give back what the worker holds under other fences than these: claims whose reply never reached it.
-- Returns how many.
-- Locks, writes: as release_tasks.  Idempotent: yes.  Raises: nothing.
create function pgflow.release_strays(worker_id uuid, fences bigint[]) returns int
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
  v_strays record;
begin
  select coalesce(array_agg(t.run_id), '{}') as run_ids, array_agg(t.step_slug) as step_slugs,
    array_agg(t.task_index) as task_indexes, array_agg(t.fence) as fences
  into v_strays
  from pgflow.step_tasks t
  where t.last_worker_id = release_strays.worker_id and t.status = 'started' and t.fence <> all (release_strays.fences);
  if v_strays.run_ids = '{}' then
    return 0;
  end if;
  return cardinality(v_strays.run_ids) - (
    select count(*) from pgflow.release_tasks(
      v_strays.run_ids, v_strays.step_slugs, v_strays.task_indexes, v_strays.fences));
end
$fn$;
