-- _promote_due_tasks: delayed tasks of a lane that are due become ready, with fresh message ids, oldest due first; returns how
-- many. Below an old snapshot it walks the dead entries of all that were promoted since, so it is not for every claim.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED.  Writes: step_tasks.  Cost: O(p_limit) through step_tasks_delayed_idx.
-- Raises: nothing.
create function pgflow._promote_due_tasks(p_lane_id int, p_now timestamptz, p_limit int) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_memoize = off
set enable_sort = off  -- what comes sorted is the lane's range of step_tasks_delayed_idx; the rest would read all delayed tasks
set jit = off
as $fn$
declare
  v_promoted int;
begin
  with due as (
    select t.ctid as tid
    from pgflow.step_tasks t
    where t.lane_id = p_lane_id and t.status = 'queued' and t.visible_at is not null and t.visible_at <= p_now
    order by t.visible_at
    limit p_limit
    -- the row lock also gives this transaction its id before it draws message ids: the claim floor relies on that
    for update skip locked
  )
  update pgflow.step_tasks t set visible_at = null, message_id = nextval('pgflow.message_ids')
  from due d where t.ctid = d.tid;
  get diagnostics v_promoted = row_count;
  return v_promoted;
end
$fn$;
