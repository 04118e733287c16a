-- _step_input: the whole inputs of a step: an object of its completed dependencies' outputs by slug, without the one a map
-- runs over, and the run's input under 'run' when the handler takes it.
-- A body that is parsed once needs no search_path and can be inlined; a SET clause would be paid once per row.
-- Locks: none.  Raises: nothing.
create function pgflow._step_input(
  p_run_id uuid,
  p_flow_slug text,
  p_flow_version int,
  p_step_slug text,
  p_map_over text,
  p_uses_run_input bool
) returns jsonb
language sql stable
return
  coalesce((
    select jsonb_object_agg(d.dep_slug, st.output)
    from pgflow.deps d
    join pgflow.step_states st on st.run_id = p_run_id and st.step_slug = d.dep_slug and st.status = 'completed'
    where d.flow_slug = p_flow_slug and d.flow_version = p_flow_version and d.step_slug = p_step_slug
      and d.dep_slug is distinct from p_map_over
  ), '{}')
  || case
    when p_uses_run_input then (select jsonb_build_object('run', r.input) from pgflow.runs r where r.run_id = p_run_id)
    else '{}' end;
