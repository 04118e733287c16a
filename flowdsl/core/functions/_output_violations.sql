-- _output_violations: part of check_invariants: a step's output is its tasks', a run's output is its steps'.
-- Locks: none.  Raises: nothing.
create function pgflow._output_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  select 'step_output_is_not_its_tasks', st.run_id, st.step_slug, null::int,
    format('the completed %s step has another output than its %s tasks', s.step_type, n.tasks)
  from pgflow.step_states st
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  cross join lateral (
    select count(*) as tasks, (array_agg(t.output))[1] as single,
      coalesce(jsonb_agg(t.output order by t.task_index), '[]') as map
    from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug
  ) n
  where st.status = 'completed' and st.output is distinct from case when s.step_type = 'map' then n.map else n.single end

  union all
  select 'map_source_is_not_an_array', st.run_id, st.step_slug, null,
    format('a map runs over the completed step, and its output is %s', coalesce(jsonb_typeof(st.output), 'null'))
  from pgflow.step_states st
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  where st.status = 'completed' and s.feeds_map and jsonb_typeof(st.output) is distinct from 'array'

  union all
  select 'run_output_is_not_its_steps', r.run_id, v.output_step, null,
    format('the completed run has another output than %s', coalesce('step ' || v.output_step, 'its leaf steps'))
  from pgflow.runs r
  left join pgflow.flow_versions v on v.flow_slug = r.flow_slug and v.flow_version = r.flow_version
  where r.status = 'completed'
    and exists (select from pgflow.steps s where s.flow_slug = r.flow_slug and s.flow_version = r.flow_version)
    and r.output is distinct from case
      when v.output_step is not null then (
        select st.output from pgflow.step_states st where st.run_id = r.run_id and st.step_slug = v.output_step)
      else (
        select jsonb_object_agg(st.step_slug, st.output)
        from pgflow.step_states st
        where st.run_id = r.run_id and st.status = 'completed' and not exists (
          select from pgflow.deps d
          where d.flow_slug = r.flow_slug and d.flow_version = r.flow_version and d.dep_slug = st.step_slug)
      ) end
$fn$;
