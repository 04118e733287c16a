-- _refusals: which of these claims were not taken, and why. Taken means: the task carries the claim's fence and has one of
-- the statuses that taking it leads to ('violated': failed for its output); so a result that arrives twice is no refusal.
-- Locks: none.  Raises: nothing.
create function pgflow._refusals(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_task_indexes int[],
  p_fences bigint[],
  p_taken_statuses text[]
) returns setof pgflow.task_refusal
language sql stable
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
  select g.run_id, g.step_slug, g.task_index, g.fence,
    case when r.status <> 'started' then 'run_ended' else 'lease_lost' end
  from unnest(p_run_ids, p_step_slugs, p_task_indexes, p_fences) g(run_id, step_slug, task_index, fence)
  left join lateral (select x.status from pgflow.runs x where x.run_id = g.run_id offset 0) r on true
  left join lateral (
    select x.status, x.fence, starts_with(x.error_message, '[TYPE_VIOLATION]') as is_violation
    from pgflow.step_tasks x
    where x.run_id = g.run_id and x.step_slug = g.step_slug and x.task_index = g.task_index
    offset 0
  ) t on true
  where (
    t.fence = g.fence
    and case when t.status = 'failed' and t.is_violation then 'violated' else t.status end = any (p_taken_statuses)
  ) is not true
$fn$;
