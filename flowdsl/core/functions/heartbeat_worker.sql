-- heartbeat_worker: renew the worker's leases and the lanes it serves; true when it is asked to drain (deprecated).
-- Locks: the worker's row.  Writes: workers.  Idempotent: yes.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow.heartbeat_worker(worker_id uuid) returns bool
language plpgsql volatile
set search_path = ''
set enable_seqscan = off
as $fn$
declare
  v_deprecated bool;
begin
  update pgflow.workers w set
    last_heartbeat_at = pgflow._now(),
    lane_ids = array(
      select distinct l.lane_id from unnest(w.flow_slugs, w.fingerprints) s(flow_slug, fingerprint)
      join pgflow.flow_versions v on v.flow_slug = s.flow_slug and v.fingerprint = s.fingerprint
      join pgflow.lanes l on l.flow_slug = v.flow_slug
        and l.flow_version between coalesce(v.serves_from, v.flow_version) and v.flow_version
      where w.queues is null or l.queue_name = any (w.queues)
      order by l.lane_id)
  where w.worker_id = heartbeat_worker.worker_id and w.stopped_at is null
  returning w.deprecated_at is not null into v_deprecated;
  if not found then
    perform pgflow._worker_lanes(heartbeat_worker.worker_id);
  end if;
  return v_deprecated;
end
$fn$;
