-- _is_isolated: must a worker that is isolating get nothing? It holds a suspect; or it runs empty for one that still waits in
-- its lanes. If another has got that one meanwhile, it may go on.
-- Locks: none.  Cost: O(what it holds), and a look into step_tasks_suspect_idx per lane.  Raises: nothing.
create function pgflow._is_isolated(p_worker_id uuid, p_lane_ids int[]) returns bool
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
  if not pgflow._holds_tasks(p_worker_id) then
    return false;
  end if;
  return exists (
    select from pgflow.step_tasks t
    where t.last_worker_id = p_worker_id and t.status = 'started' and t.requeued_count >= 2
  ) or exists (
    select from pgflow.lanes l
    cross join lateral (
      select from pgflow.step_tasks t
      where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is null and t.requeued_count >= 2
        and t.message_id >= l.claim_floor
      offset 0
    ) suspect
    where l.lane_id = any (p_lane_ids));
end
$fn$;
