-- _reserve_tasks: one look of read_with_poll: ready tasks of the queue's lanes become delayed until vt seconds from now,
-- so that neither claims nor other readers see them. Their message ids stay: start_tasks finds them by those.
-- Suspects (see claim_tasks) are given too: a queue that only foreign workers serve has nobody else for them.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED by message_id, lanes SKIP LOCKED; it waits for nobody.
-- Writes: step_tasks, lanes.  Cost: O(p_qty * log n) through step_tasks_ready_idx, from each lane's claim floor on, and
-- at most max(p_qty, 100) promotions a lane.  Raises: nothing.
create function pgflow._reserve_tasks(p_queue_name text, p_vt int, p_qty int) returns setof pgflow.message_record
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
  v_now timestamptz := pgflow._now();
  v_lane record;
  v_left int := p_qty;
  v_got int;
  v_batch int;
begin
  -- a loop, because each lane has a floor of its own and the first ones usually fill the batch
  for v_lane in
    select l.lane_id, l.claim_floor, l.waiting
    from pgflow.lanes l where l.queue_name = p_queue_name
    order by l.priority desc, random()
  loop
    exit when v_left <= 0;
    v_got := 0;
    -- promotions as in claim_tasks; but what is only looked at stays ready, and a second look would give it once more
    if p_vt <= 0 then
      perform pgflow._promote_due_tasks(v_lane.lane_id, v_now, greatest(v_left, 100));
    end if;
    for v_look in 1..2 loop
      return query
      with picked as (
        select t.ctid as tid
        from pgflow.step_tasks t
        where t.lane_id = v_lane.lane_id and t.status = 'queued' and t.visible_at is null
          and t.message_id >= v_lane.claim_floor
        order by t.message_id
        limit v_left
        for update skip locked
      ),
      reserved as (
        update pgflow.step_tasks t set
          visible_at = case when p_vt > 0 then v_now + p_vt * interval '1 second' end, read_count = t.read_count + 1
        from picked p where t.ctid = p.tid
        returning t.*
      )
      select r.message_id, r.read_count, r.queued_at, coalesce(r.visible_at, v_now), jsonb_build_object(
        'flow_slug', r.flow_slug, 'run_id', r.run_id, 'step_slug', r.step_slug, 'task_index', r.task_index)
      from reserved r
      order by r.message_id;
      get diagnostics v_batch = row_count;
      v_got := v_got + v_batch;
      v_left := v_left - v_batch;
      exit when v_left <= 0 or v_look = 2 or p_vt <= 0
        or pgflow._promote_due_tasks(v_lane.lane_id, v_now, greatest(v_left, 100)) = 0;
    end loop;
    if v_left <= 0 and random() < 0.02 then
      perform pgflow._promote_due_tasks(v_lane.lane_id, v_now, 100);
    end if;

    if v_lane.waiting and v_got > 0 then
      update pgflow.lanes l set waiting = false
      where l.lane_id = (select x.lane_id from pgflow.lanes x where x.lane_id = v_lane.lane_id for update skip locked);
    end if;
    -- as in claim_tasks
    if random() * 500 < v_got then
      perform pgflow._advance_claim_floor(v_lane.lane_id);
    end if;
  end loop;
end
$fn$;
