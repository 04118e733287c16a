-- _move_abandoned_tasks: tasks that wait in a lane which no step uses any more move to their step's lane.
-- Locks: step_tasks SKIP LOCKED.  Writes: step_tasks; NOTIFY.  Cost: two look-ups per lane without a step.  Idempotent: yes.
-- Raises: nothing.
create function pgflow._move_abandoned_tasks() returns void
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
begin
  perform pgflow._move_queued_tasks(a.flow_slug) from (
    select distinct l.flow_slug
    from (
      select x.lane_id, x.flow_slug, x.claim_floor from pgflow.lanes x
      where not exists (select from pgflow.steps s where s.lane_id = x.lane_id)
      offset 0
    ) l
    -- not exists(…), which may become a hashed subplan that reads the delayed tasks of all lanes
    where coalesce(
      (
        select true from pgflow.step_tasks t
        where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= l.claim_floor
        limit 1),
      (
        select true from pgflow.step_tasks t
        where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is not null
        limit 1),
      false)
  ) a;
end
$fn$;
