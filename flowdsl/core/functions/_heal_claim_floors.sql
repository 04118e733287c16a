-- _heal_claim_floors: lower a lane's claim floor to a ready task below it. The core never makes one; a hand-written
-- insert that names an old message_id does, and would wait for ever. It also forgets a note whose transaction id is from
-- another cluster (dump and restore) and would hold up the floor.
-- Locks: lanes SKIP LOCKED.  Writes: lanes.  Idempotent: yes.  Raises: nothing.
create function pgflow._heal_claim_floors() returns void
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
  update pgflow.lanes l set
    claim_floor = coalesce(o.message_id, l.claim_floor), next_floor = null, next_floor_xid = null
  from (
    select x.lane_id, (
      select t.message_id from pgflow.step_tasks t
      where t.lane_id = x.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id < x.claim_floor
      order by t.message_id limit 1
    ) as message_id
    from pgflow.lanes x
    for update of x skip locked
  ) o
  where l.lane_id = o.lane_id and (
    o.message_id is not null or l.next_floor_xid > pg_current_xact_id());
end
$fn$;
