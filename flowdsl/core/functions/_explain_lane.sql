-- _explain_lane: what a ready task of this lane waits for: worker (its turn, live workers serve the lane) or no_worker, and
-- the end of the sentence that says so. A worker without a shape (a foreign one) serves the queue it is registered for; one
-- without a lease lives until it stops.
-- Locks: none.  Cost: reads the workers, and at most 1000 ready tasks of the lane.  Raises: nothing.
create function pgflow._explain_lane(p_lane_id int, p_now timestamptz, out waits_for text, out reason text) returns record
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_lane pgflow.lanes;
  v_workers record;
  v_ready bigint;
begin
  select l.* into v_lane from pgflow.lanes l where l.lane_id = p_lane_id;
  select
    count(*) as known,
    count(*) filter (where w.is_live) as live,
    count(*) filter (where w.is_live and w.fits_version) as of_version,
    count(*) filter (where w.is_live and w.fits_version and w.fits_queue) as of_queue,
    count(*) filter (where w.is_live and w.fits_version and w.fits_queue and w.deprecated_at is null) as serving,
    max(w.last_heartbeat_at) as last_seen_at
  into v_workers
  from (
    select w.deprecated_at, w.last_heartbeat_at,
      w.stopped_at is null and (
        w.lease_seconds is null or w.last_heartbeat_at + w.lease_seconds * interval '1 second' >= p_now) as is_live,
      w.flow_slugs = '{}' or exists (
        select from unnest(w.flow_slugs, w.fingerprints) s(flow_slug, fingerprint)
        join pgflow.flow_versions v on v.flow_slug = s.flow_slug and v.fingerprint = s.fingerprint
        where v.flow_slug = v_lane.flow_slug
          and v_lane.flow_version between coalesce(v.serves_from, v.flow_version) and v.flow_version) as fits_version,
      w.flow_slugs = '{}' or w.queues is null or v_lane.queue_name = any (w.queues) as fits_queue
    from pgflow.workers w
    where v_lane.flow_slug = any (w.flow_slugs) or (w.flow_slugs = '{}' and w.queue_name = v_lane.queue_name)
  ) w;

  waits_for := case when v_workers.serving > 0 then 'worker' else 'no_worker' end;
  if v_workers.serving > 0 then
    select count(*) into v_ready
    from (
      select from pgflow.step_tasks t
      where t.lane_id = p_lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= v_lane.claim_floor
      order by t.message_id limit 1000
    ) r;
    reason := format('waits for its turn in queue %L, where %s %s ready and %s live %s', v_lane.queue_name,
      case when v_ready = 1000 then '1000 or more tasks' when v_ready = 1 then '1 task' else v_ready || ' tasks' end,
      case when v_ready = 1 then 'is' else 'are' end, v_workers.serving,
      case when v_workers.serving = 1 then 'worker takes them' else 'workers take them' end);
  else
    reason := case
      when v_workers.known = 0 then format('waits for a worker: none was ever registered for flow %L', v_lane.flow_slug)
      when v_workers.live = 0 then format('waits for a worker: all of flow %L (%s) have stopped or let their lease run out, the last one was seen at %s',
        v_lane.flow_slug, v_workers.known, pgflow._explain_moment(v_workers.last_seen_at))
      when v_workers.of_version = 0 then format('waits for a worker of version %s of flow %L: all live ones (%s) have only other versions',
        v_lane.flow_version, v_lane.flow_slug, v_workers.live)
      when v_workers.of_queue = 0 then format('waits for a worker of queue %L: all live ones of flow %L (%s) serve only other queues',
        v_lane.queue_name, v_lane.flow_slug, v_workers.of_version)
      else format('waits for a worker: all live ones of flow %L (%s) were asked to drain and take nothing new',
        v_lane.flow_slug, v_workers.of_queue) end;
  end if;
end
$fn$;
