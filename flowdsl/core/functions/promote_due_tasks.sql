-- promote_due_tasks: the timers: at most max_tasks delayed tasks that are due (backoff, start delay, a reservation that
-- was not used) become ready, with fresh message ids, and the workers that sleep are woken. Claims promote what they are
-- about to take anyhow; this is for lanes that nobody looks at. Returns how many.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED; it waits for nobody.  Writes: step_tasks; NOTIFY.  Idempotent: yes.
-- Cost: a probe of step_tasks_delayed_idx per lane, and O(max_tasks).  Raises: nothing.
create function pgflow.promote_due_tasks(max_tasks int default 1000) returns int
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
  v_lane_id int;
  v_left int := greatest(max_tasks, 0);
  v_got int;
  v_promoted int := 0;
  v_lanes int[];
begin
  -- a loop, because each lane is a range of its own in the index; in no order, so that one lane with more due tasks than
  -- fit does not hold up the others for ever
  for v_lane_id in select l.lane_id from pgflow.lanes l order by random() loop
    exit when v_left <= 0;
    v_got := pgflow._promote_due_tasks(v_lane_id, v_now, v_left);
    if v_got > 0 then
      v_left := v_left - v_got;
      v_promoted := v_promoted + v_got;
      v_lanes := v_lanes || v_lane_id;
    end if;
  end loop;
  perform pgflow._notify_ready(v_lanes);
  return v_promoted;
end
$fn$;
