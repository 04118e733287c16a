-- _promote_due_tasks: delayed tasks of a lane that are due become ready, with fresh message ids, oldest due first.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED.  Writes: step_tasks.  Cost: O(p_limit) through step_tasks_delayed_idx.
-- Raises: nothing.
create function pgflow._promote_due_tasks(p_lane_id int, p_now timestamptz, p_limit int) returns void
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
end
$fn$;
