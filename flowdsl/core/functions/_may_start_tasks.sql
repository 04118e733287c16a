-- _may_start_tasks: false for a worker whose lease has run out: others would take its tasks away at once. A worker that
-- is asked to drain (deprecated) may: it starts what it has reserved before.
-- Locks: none.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow._may_start_tasks(p_worker_id uuid, p_now timestamptz) returns bool
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_worker pgflow.workers;
begin
  select w.* into v_worker from pgflow.workers w where w.worker_id = p_worker_id;
  if not found then
    perform pgflow._refuse('PF406', format('worker %s does not exist', p_worker_id),
      'Call register_worker, or insert a row into pgflow.workers, first.');
  elsif v_worker.stopped_at is not null then
    perform pgflow._refuse('PF412', format('worker %s has stopped', p_worker_id), 'Go on under a new worker_id.');
  end if;
  return coalesce(v_worker.last_heartbeat_at + v_worker.lease_seconds * interval '1 second' >= p_now, true);
end
$fn$;
