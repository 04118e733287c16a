-- cascade_resolve_conditions: skip or fail the ready steps of an open run whose conditions are unmet, and all that follows
-- from it; false when the run failed by it.
-- The engine does so by itself; this is for states written by hand.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow.cascade_resolve_conditions(run_id uuid) returns bool
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform 1 from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id for no key update;
  perform pgflow._settle_steps(null, null, pgflow._now(), array_agg(v.run_id), array_agg(v.step_slug))
  from pgflow._ready_verdicts(cascade_resolve_conditions.run_id) v where not v.is_met;
  return not exists (
    select from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id and r.status = 'failed');
end
$fn$;
