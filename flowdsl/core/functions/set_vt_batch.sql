-- set_vt_batch: move when queued tasks of a queue become visible: message i at vt_offsets[i] seconds from now; 0 or less:
-- at once, with a fresh message id (a task that is ready already keeps its place). Returns the messages that moved, as
-- read_with_poll does; unknown, started and ended ones are left alone, and so is one that is being read or started at
-- this moment. Of a message named twice the last offset counts.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED; it waits for nobody.  Writes: step_tasks; NOTIFY.  Idempotent: yes.
-- Cost: linear in the messages.  Raises: PF400 arrays of different length, an offset that is null.
create function pgflow.set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets int[])
returns setof pgflow.message_record
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_memoize = off
set enable_sort = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
begin
  perform pgflow._check_batch('set_vt_batch', array[cardinality(msg_ids), cardinality(vt_offsets)]);
  if array_position(vt_offsets, null) is not null then
    perform pgflow._refuse('PF400', 'set_vt_batch got an offset that is null',
      'Give seconds from now; 0 makes a message visible at once.');
  end if;
  return query
  with given as (
    select distinct on (g.message_id) g.message_id, g.vt_offset
    from unnest(set_vt_batch.msg_ids, set_vt_batch.vt_offsets) with ordinality g(message_id, vt_offset, i)
    order by g.message_id, g.i desc
  ),
  -- offset 0 keeps each look-up one of its own: joined by lane first, it would read the lane whole
  found as (
    -- ready ones, through step_tasks_ready_idx
    select t.tid, g.vt_offset
    from pgflow.lanes l
    cross join given g
    cross join lateral (
      select x.ctid as tid
      from pgflow.step_tasks x
      where x.lane_id = l.lane_id and x.message_id = g.message_id and x.status = 'queued' and x.visible_at is null
      offset 0
    ) t
    where l.queue_name = set_vt_batch.queue_name
    union all
    -- reserved and delayed ones, through step_tasks_delayed_message_idx
    select t.tid, g.vt_offset
    from given g
    cross join lateral (
      -- a range in the index's order, and no sorts: with an equality the index on visible_at, read whole, would do as well
      select x.ctid as tid, x.lane_id
      from pgflow.step_tasks x
      where x.message_id >= g.message_id and x.message_id <= g.message_id and x.status = 'queued'
        and x.visible_at is not null
      order by x.message_id
      offset 0
    ) t
    join pgflow.lanes l on l.lane_id = t.lane_id
    where l.queue_name = set_vt_batch.queue_name
  ),
  picked as (
    select t.ctid as tid, f.vt_offset
    from found f
    join pgflow.step_tasks t on t.ctid = f.tid
    where t.status = 'queued'
    -- the row lock also gives this transaction its id before it draws message ids: the claim floor relies on that
    for update of t skip locked
  ),
  moved as (
    update pgflow.step_tasks t set
      visible_at = case when p.vt_offset > 0 then v_now + p.vt_offset * interval '1 second' end,
      message_id = case
        when p.vt_offset <= 0 and t.visible_at is not null then nextval('pgflow.message_ids') else t.message_id end
    from picked p where t.ctid = p.tid
    returning t.*
  )
  select m.message_id, m.read_count, m.queued_at, coalesce(m.visible_at, v_now), jsonb_build_object(
    'flow_slug', m.flow_slug, 'run_id', m.run_id, 'step_slug', m.step_slug, 'task_index', m.task_index)
  from moved m
  order by m.message_id;
  if 0 >= any (vt_offsets) then
    perform pgflow._notify_ready(array(
      select l.lane_id from pgflow.lanes l where l.queue_name = set_vt_batch.queue_name));
  end if;
end
$fn$;
