-- _isolate_worker: a worker has found a suspect in this lane; what is it to do?
-- alone: it holds nothing, and is reserved now: it takes the suspect and nothing else.
-- draining: it holds something, and is the one that runs empty: it claims nothing until it does.
-- no: another worker of the lane runs empty already, or is alone with a suspect: this one goes on with ordinary tasks.
-- Two that ask at the same moment may both run empty, which does no harm.
-- Locks: the worker's row, SKIP LOCKED.  Writes: workers.  Idempotent: yes.  Raises: nothing.
create function pgflow._isolate_worker(p_worker_id uuid, p_lane_id int) returns text
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_holds bool := pgflow._holds_tasks(p_worker_id);
begin
  if v_holds and exists (
    select from pgflow.workers w
    where w.isolating and w.worker_id <> p_worker_id and w.stopped_at is null and w.deprecated_at is null
      and w.last_heartbeat_at + w.lease_seconds * interval '1 second' >= pgflow._now() and p_lane_id = any (w.lane_ids)
  ) then
    return 'no';
  end if;
  update pgflow.workers w set isolating = true
  where w.worker_id = (
    select x.worker_id from pgflow.workers x where x.worker_id = p_worker_id for update skip locked);
  return case when not found then 'no' when v_holds then 'draining' else 'alone' end;
end
$fn$;
