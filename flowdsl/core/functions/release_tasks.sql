-- release_tasks: give claimed tasks back unfinished (a worker that stops): ready at once, no attempt used.
-- Locks: runs FOR NO KEY UPDATE by run_id; step_tasks under them.  Writes: step_tasks; NOTIFY.
-- Idempotent: yes; a second call is refused as lease_lost and changes nothing.  Raises: PF400.
create function pgflow.release_tasks(run_ids uuid[], step_slugs text[], task_indexes int[], fences bigint[])
returns setof pgflow.task_refusal
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
  v_lanes int[];
begin
  perform pgflow._check_batch('release_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences)]);
  perform pgflow._lock_runs(release_tasks.run_ids);

  -- refusals first: a released task does not keep its fence
  return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['started']);

  with released as (
    update pgflow.step_tasks t set
      status = 'queued', started_at = null, fence = 0, attempts_count = greatest(t.attempts_count - 1, 0),
      lane_id = g.lane_id, message_id = nextval('pgflow.message_ids')
    from pgflow._held(run_ids, step_slugs, task_indexes, fences) g
    where t.ctid = g.tid
    returning t.lane_id
  )
  select array_agg(distinct x.lane_id) into v_lanes from released x;
  perform pgflow._notify_ready(v_lanes);
end
$fn$;
