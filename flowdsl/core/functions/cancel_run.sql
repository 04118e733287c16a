-- cancel_run: end an open run as cancelled, with all of its open steps and tasks; returns the run's row.
-- It waits for no handler: workers learn of it with their next heartbeat or completion. An ended run is returned as it is.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.  Writes: runs, step_states, step_tasks; NOTIFY.
-- Idempotent: yes, the first reason stays.  Raises: PF405 unknown run.
create function pgflow.cancel_run(run_id uuid, reason text default null) returns setof pgflow.runs
language plpgsql volatile
set search_path = ''
set enable_seqscan = off
as $fn$
begin
  perform 1 from pgflow.runs r where r.run_id = cancel_run.run_id for no key update;
  if not found then
    perform pgflow._refuse_unknown_run(cancel_run.run_id);
  end if;
  -- ended runs have nothing open, so nothing happens to them
  perform pgflow._end_runs(array[r.run_id], 'cancelled', cancel_run.reason, pgflow._now())
  from pgflow.runs r where r.run_id = cancel_run.run_id and r.status = 'started';
  return query select r.* from pgflow.runs r where r.run_id = cancel_run.run_id;
end
$fn$;
