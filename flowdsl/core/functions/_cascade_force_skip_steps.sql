-- _cascade_force_skip_steps: skip an open step for this reason, and with reason dependency_skipped all that depends on it;
-- returns how many steps were skipped.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.  Writes: runs, step_states, step_tasks; NOTIFY.
-- Idempotent: yes.  Raises: nothing.
create function pgflow._cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text) returns int
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_skipped record;
begin
  perform 1 from pgflow.runs r
  where r.run_id = _cascade_force_skip_steps.run_id and r.status = 'started' for no key update;
  if not found then
    return 0;
  end if;
  select * into v_skipped from pgflow._skip_steps(
    array[_cascade_force_skip_steps.run_id], array[_cascade_force_skip_steps.step_slug],
    _cascade_force_skip_steps.skip_reason, null, array[true], pgflow._now());
  if v_skipped.run_ids is null then
    return 0;
  end if;
  perform pgflow._settle_steps(v_skipped.run_ids, v_skipped.step_slugs, pgflow._now());
  return cardinality(v_skipped.run_ids);
end
$fn$;
