-- complete_and_claim_tasks: hand in outputs and lease the next tasks in one round trip and one commit.
-- Rows with refusal set are results that were not taken; the others are claimed tasks.
-- Completing comes first: it waits for runs; claiming waits for nobody, so two calls cannot deadlock.
-- Locks, writes, raises: as complete_tasks, then as claim_tasks.  Idempotent: the first half.
create function pgflow.complete_and_claim_tasks(
  worker_id uuid,
  max_tasks int,
  run_ids uuid[],
  step_slugs text[],
  task_indexes int[],
  fences bigint[],
  outputs jsonb[]
) returns setof pgflow.claimed_task
language plpgsql volatile
set search_path = ''
as $fn$
begin
  if greatest(cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences),
    cardinality(outputs)) > 0
  then
    return query
    select null::text, null::int, r.run_id, r.step_slug, r.task_index, null::int, null::int, r.fence, null::int,
      null::jsonb, null::jsonb, r.reason
    from pgflow.complete_tasks(run_ids, step_slugs, task_indexes, fences, outputs) r;
  end if;
  return query
  select * from pgflow.claim_tasks(complete_and_claim_tasks.worker_id, complete_and_claim_tasks.max_tasks);
end
$fn$;
