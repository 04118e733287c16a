-- lost_tasks: which of these claims are not current any more, and why: run_ended, or lease_lost (recovered, requeued, skipped,
-- retried). A worker asks with each heartbeat and cancels the handlers of those.
-- Locks: none.  Cost: one look-up by key per claim.  Raises: PF400 arrays of different length.
create function pgflow.lost_tasks(run_ids uuid[], step_slugs text[], task_indexes int[], fences bigint[])
returns setof pgflow.task_refusal
language plpgsql stable
set search_path = ''
as $fn$
begin
  perform pgflow._check_batch('lost_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences)]);
  return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['started']);
end
$fn$;
