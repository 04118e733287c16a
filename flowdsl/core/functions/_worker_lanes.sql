-- _worker_lanes: the lanes that a live worker serves; none while it is deprecated.
-- Locks: none.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow._worker_lanes(p_worker_id uuid) returns int[]
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_worker record;
begin
  select w.lane_ids, w.stopped_at, w.deprecated_at into v_worker
  from pgflow.workers w where w.worker_id = p_worker_id;
  if not found then
    perform pgflow._refuse('PF406', format('worker %s does not exist', p_worker_id), 'Call register_worker first.');
  elsif v_worker.stopped_at is not null then
    perform pgflow._refuse('PF412', format('worker %s has stopped', p_worker_id),
      'Call register_worker with a new worker_id.');
  end if;
  return case when v_worker.deprecated_at is null then v_worker.lane_ids else '{}' end;
end
$fn$;
