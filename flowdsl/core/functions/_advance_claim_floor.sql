-- _advance_claim_floor: move a lane's claim floor up to its oldest ready task, in two steps.
-- A message id is drawn before its transaction commits, so the oldest task visible now is not yet a floor: an open
-- transaction may still bring an older one. Therefore it is only noted (next_floor), together with a transaction id that
-- was given out after that look (next_floor_xid): whoever drew an older message id has a smaller one, for every function
-- of the core gets its transaction id, by locking or writing a row, before it draws message ids from the uncached
-- sequence. Once no transaction below the noted id is open, every task older than the note is visible; then the floor
-- becomes the note or the oldest task visible then, whichever is less.
-- With no task ready the next message id takes the place of the oldest task's.
-- A snapshot's own xmax will not do as that id: it is the last *completed* one plus one, and open ones may be beyond it.
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
set enable_material = off
set enable_memoize = off
set jit = off
as $fn$
declare
  v_next_id bigint;
  v_given_out bigint;
  v_current bigint;
begin
  update pgflow.lanes l set
    claim_floor = greatest(l.claim_floor, least(l.next_floor, o.message_id)), next_floor = null, next_floor_xid = null
  from (
    select x.lane_id, (
      select t.message_id from pgflow.step_tasks t
      where t.lane_id = x.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= x.claim_floor
      order by t.message_id limit 1
    ) as message_id
    from pgflow.lanes x
    where x.lane_id = p_lane_id and x.next_floor_xid <= pg_snapshot_xmin(pg_current_snapshot())
    for update of x skip locked
  ) o
  where l.lane_id = o.lane_id;

  select case when m.is_called then m.last_value + 1 else m.last_value end into v_next_id from pgflow.message_ids m;
  -- A subtransaction, because the transaction's own id is from before the look; the row tells the new one as its xmin.
  begin
    update pgflow.lanes l set next_floor = coalesce(o.message_id, v_next_id)
    from (
      select x.lane_id, (
        select t.message_id from pgflow.step_tasks t
        where t.lane_id = x.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= x.claim_floor
        order by t.message_id limit 1
      ) as message_id
      from pgflow.lanes x
      where x.lane_id = p_lane_id
        -- an id from the future is one of another cluster (dump and restore): it would hold up the floor
        and (x.next_floor is null or x.next_floor_xid > pg_snapshot_xmax(pg_current_snapshot()))
      for update of x skip locked
    ) o
    where l.lane_id = o.lane_id
    returning l.xmin::text::bigint into v_given_out;
  exception when lock_not_available then
    return;
  end;
  if v_given_out is null then
    return;
  end if;
  -- xmin has the lower 32 bits of the id, which was given out after the transaction's own and within 2^31 of it
  v_current := pg_current_xact_id()::text::bigint;
  update pgflow.lanes l set
    next_floor_xid = (v_current + (v_given_out - v_current % 4294967296 + 4294967296) % 4294967296)::text::xid8
  where l.lane_id = p_lane_id;
end
$fn$;
