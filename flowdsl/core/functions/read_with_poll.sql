-- read_with_poll: phase one of a foreign worker: reserve up to qty ready tasks of a queue for vt seconds, highest
-- priority first, oldest first within a lane; start_tasks is phase two. Nobody else is given them until vt has passed; a
-- reader that dies costs that wait and no attempt, and the task comes back under a fresh message id. vt 0 only looks.
-- With nothing ready it looks again every poll_interval_ms until max_poll_seconds are over; 0: one look.
-- Each look is a statement with a snapshot of its own, so it must run in READ COMMITTED. While it polls it holds no locks,
-- but the caller's snapshot stays open: a minute is already a long poll.
-- Locks, writes: as _reserve_tasks.  Idempotent: no; an answer that got lost is read again when vt has passed.
-- Raises: PF400 a bound out of its range.
create function pgflow.read_with_poll(
  queue_name text,
  vt int,
  qty int,
  max_poll_seconds int default 5,
  poll_interval_ms int default 100
) returns setof pgflow.message_record
language plpgsql volatile
set search_path = ''
as $fn$
declare
  -- the wall clock, even where a test froze the core's
  v_until timestamptz := clock_timestamp() + coalesce(max_poll_seconds, 0) * interval '1 second';
  v_left float8;
begin
  if vt is null or vt < 0 then
    perform pgflow._refuse('PF400', format('read_with_poll: vt must be 0 or more seconds, not %s', coalesce(vt::text, 'null')),
      'Give how long the messages are reserved; 0 only looks.');
  elsif qty is null or qty < 0 then
    perform pgflow._refuse('PF400', format('read_with_poll: qty must be 0 or more, not %s', coalesce(qty::text, 'null')),
      'Give how many messages to read at most.');
  elsif qty = 0 then
    return;
  end if;
  loop
    return query select * from pgflow._reserve_tasks(read_with_poll.queue_name, read_with_poll.vt, read_with_poll.qty);
    if found then
      return;
    end if;
    v_left := extract(epoch from v_until - clock_timestamp());
    exit when v_left <= 0;
    perform pg_sleep(least(greatest(coalesce(poll_interval_ms, 100), 1) / 1000.0, v_left));
  end loop;
  -- only now, because a lane locked while polling would be locked for seconds: the next start sends a NOTIFY
  update pgflow.lanes l set waiting = true
  from (
    select x.lane_id from pgflow.lanes x
    where x.queue_name = read_with_poll.queue_name and not x.waiting
    for update skip locked
  ) q
  where l.lane_id = q.lane_id;
end
$fn$;
