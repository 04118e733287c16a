-- _advance_claim_floor: move a lane's claim floor up to its oldest ready task, in two steps.
-- A message id is drawn before its transaction commits, so the oldest task visible now is not yet a floor: an open
-- transaction may still bring an older one. Therefore it is only noted (next_floor), with the transaction id up to which
-- everybody may have drawn older ids (next_floor_xid). Once all those transactions have ended, every task older than the
-- note is visible; the floor becomes the note or the oldest task visible then, whichever is less. This needs that a
-- transaction has its id before it draws message ids, which every function of the core sees to by locking or writing a
-- row first, and that the sequence is not cached.
-- A reader's old snapshot does not hold up the floor; an open transaction that has written does.
-- Locks: lanes SKIP LOCKED.  Writes: lanes.  Idempotent: yes.  Raises: nothing.
create function pgflow._advance_claim_floor(p_lane_id int) returns void
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $fn$
begin
  update pgflow.lanes l set
    claim_floor = case
      when l.next_floor_xid <= o.xmin then greatest(l.claim_floor, least(l.next_floor, o.message_id))
      else l.claim_floor end,
    next_floor = case when l.next_floor_xid <= o.xmin or l.next_floor is null then o.message_id else l.next_floor end,
    next_floor_xid = case when l.next_floor_xid <= o.xmin or l.next_floor is null then o.xmax else l.next_floor_xid end
  from (
    select x.lane_id, pg_snapshot_xmin(n.snapshot) as xmin, pg_snapshot_xmax(n.snapshot) as xmax, (
      select t.message_id from pgflow.step_tasks t
      where t.lane_id = x.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= x.claim_floor
      order by t.message_id limit 1
    ) as message_id
    from pgflow.lanes x cross join pg_current_snapshot() n(snapshot)
    where x.lane_id = p_lane_id
    for update of x skip locked
  ) o
  where l.lane_id = o.lane_id;
end
$fn$;
