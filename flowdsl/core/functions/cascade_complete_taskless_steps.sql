-- cascade_complete_taskless_steps: complete the ready steps of an open run that have no tasks (empty maps) with [], and all
-- that follows from it; returns how many steps were completed or skipped.
-- The engine does so by itself; this is for states written by hand.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.  Writes: runs, step_states, step_tasks; NOTIFY.
-- Idempotent: yes.  Raises: nothing.
create function pgflow.cascade_complete_taskless_steps(run_id uuid) returns int
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_open bigint;
begin
  perform 1 from pgflow.runs r where r.run_id = cascade_complete_taskless_steps.run_id for no key update;
  select count(*) into v_open from pgflow.step_states st
  where st.run_id = cascade_complete_taskless_steps.run_id and st.status in ('created', 'started');
  perform pgflow._settle_steps(null, null, pgflow._now(), array_agg(v.run_id), array_agg(v.step_slug))
  from pgflow._ready_verdicts(cascade_complete_taskless_steps.run_id) v where v.is_met and v.initial_tasks = 0;
  return v_open - (
    select count(*) from pgflow.step_states st
    where st.run_id = cascade_complete_taskless_steps.run_id and st.status in ('created', 'started'));
end
$fn$;
