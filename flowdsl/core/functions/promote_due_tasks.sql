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
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_promoted int;
  v_lanes int[];
begin
  with due as (
    select d.tid
    -- in no order, so that one lane with more due tasks than fit does not hold up the others for ever
    from (select x.lane_id from pgflow.lanes x order by random()) l
    cross join lateral (
      select t.ctid as tid
      from pgflow.step_tasks t
      where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is not null and t.visible_at <= v_now
      order by t.visible_at
      limit greatest(promote_due_tasks.max_tasks, 0)
      -- the row lock also gives this transaction its id before it draws message ids: the claim floor relies on that
      for update skip locked
    ) d
    limit greatest(promote_due_tasks.max_tasks, 0)
  ),
  promoted as (
    update pgflow.step_tasks t set visible_at = null, message_id = nextval('pgflow.message_ids')
    from due d where t.ctid = d.tid
    returning t.lane_id
  )
  select count(*), array_agg(distinct p.lane_id) into v_promoted, v_lanes from promoted p;
  perform pgflow._notify_ready(v_lanes);
  return v_promoted;
end
$fn$;
