-- _worker_lanes: the lanes that a live worker serves; none while it is deprecated, its lease has run out (others would take
-- the tasks away at once), or it holds a suspect alone or runs empty for one.
-- Locks: the worker's row, SKIP LOCKED, to end an isolation.  Writes: workers.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow._worker_lanes(p_worker_id uuid) returns int[]
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_worker record;
begin
  select w.lane_ids, w.stopped_at, w.deprecated_at, w.isolating,
    w.last_heartbeat_at + w.lease_seconds * interval '1 second' < pgflow._now() as is_expired
  into v_worker
  from pgflow.workers w where w.worker_id = p_worker_id;
  if not found then
    perform pgflow._refuse('PF406', format('worker %s does not exist', p_worker_id), 'Call register_worker first.');
  elsif v_worker.stopped_at is not null then
    perform pgflow._refuse('PF412', format('worker %s has stopped', p_worker_id),
      'Call register_worker with a new worker_id.');
  end if;
  if v_worker.deprecated_at is not null or v_worker.is_expired then
    return '{}';
  end if;
  if v_worker.isolating then
    if pgflow._is_isolated(p_worker_id, v_worker.lane_ids) then
      return '{}';
    end if;
    update pgflow.workers w set isolating = false
    where w.worker_id = (
      select x.worker_id from pgflow.workers x where x.worker_id = p_worker_id for update skip locked);
    if not found then
      return '{}';
    end if;
  end if;
  return v_worker.lane_ids;
end
$fn$;
