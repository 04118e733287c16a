-- _ready_verdicts: the ready steps of an open run, with the verdicts on their conditions.
-- Locks: none.  Raises: nothing.
create function pgflow._ready_verdicts(p_run_id uuid)
returns table (run_id uuid, step_slug text, is_met bool, when_unmet text, initial_tasks int)
language plpgsql stable
set search_path = ''
as $fn$
begin
  return query
  select v.* from pgflow._verdicts(
    array(select st.run_id from pgflow.step_states st where st.run_id = p_run_id order by st.step_slug),
    array(select st.step_slug from pgflow.step_states st where st.run_id = p_run_id order by st.step_slug)) v;
end
$fn$;
