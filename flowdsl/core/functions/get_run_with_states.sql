-- get_run_with_states: a run and its steps as {"run": {...}, "steps": [{...}, ...]}, the rows of runs and step_states as they
-- are, steps in the flow's order; null for an unknown run.
-- Locks: none.  Raises: nothing.
create function pgflow.get_run_with_states(run_id uuid) returns jsonb
language sql stable
set search_path = ''
set enable_seqscan = off
as $fn$
  select jsonb_build_object(
    'run', to_jsonb(r),
    'steps', coalesce((
      select jsonb_agg(to_jsonb(st) order by s.step_index, st.step_slug)
      from pgflow.step_states st
      left join pgflow.steps s
        on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
      where st.run_id = r.run_id
    ), '[]'))
  from pgflow.runs r where r.run_id = get_run_with_states.run_id
$fn$;
