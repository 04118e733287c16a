-- _run_output: the output step's output, or an object of the completed leaf steps' outputs by slug; null when there is none.
-- Locks: none.  Raises: nothing.
create function pgflow._run_output(p_run_id uuid, p_flow_slug text, p_flow_version int) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select case
    when v.output_step is not null then (
      select st.output from pgflow.step_states st where st.run_id = p_run_id and st.step_slug = v.output_step)
    else (
      select jsonb_object_agg(st.step_slug, st.output)
      from pgflow.step_states st
      where st.run_id = p_run_id and st.status = 'completed' and not exists (
        select from pgflow.deps d
        where d.flow_slug = p_flow_slug and d.flow_version = p_flow_version and d.dep_slug = st.step_slug)
    ) end
  from (
    select (
      select fv.output_step from pgflow.flow_versions fv
      where fv.flow_slug = p_flow_slug and fv.flow_version = p_flow_version
    ) as output_step
  ) v
$fn$;
