-- mark_worker_stopped: the worker has ended; what it still holds may be recovered at once.
-- Locks: the worker's row.  Writes: workers.  Idempotent: yes, the first time counts.  Raises: nothing.
create function pgflow.mark_worker_stopped(worker_id uuid) returns void
language plpgsql volatile
set search_path = ''
set enable_seqscan = off
as $fn$
begin
  update pgflow.workers w set stopped_at = pgflow._now()
  where w.worker_id = mark_worker_stopped.worker_id and w.stopped_at is null;
end
$fn$;
