-- start_ready_steps: start the steps of an open run that are ready, have tasks, and whose conditions are met.
-- The engine does so by itself in the transaction that makes a step ready; this is for states written by hand.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.  Writes: runs, step_states, step_tasks; NOTIFY.
-- Idempotent: yes.  Raises: nothing.
create function pgflow.start_ready_steps(run_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform 1 from pgflow.runs r where r.run_id = start_ready_steps.run_id for no key update;
  perform pgflow._settle_steps(null, null, pgflow._now(), array_agg(v.run_id), array_agg(v.step_slug))
  from pgflow._ready_verdicts(start_ready_steps.run_id) v where v.is_met and v.initial_tasks > 0;
end
$fn$;
