-- _size_violations: part of check_invariants: how many tasks a step has: one, or one per element of what a map runs over. A map
-- over a skipped step has none; over an open one its size is not known yet.
-- Locks: none.  Raises: nothing.
create function pgflow._size_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  with sized as (
    select st.run_id, st.step_slug, st.status, st.initial_tasks, case
      when s.step_type = 'single' then 1
      when s.map_over = 'run' then case when jsonb_typeof(r.input) = 'array' then jsonb_array_length(r.input) end
      when o.status = 'skipped' then 0
      when o.status = 'completed' and jsonb_typeof(o.output) = 'array' then jsonb_array_length(o.output) end as size
    from pgflow.runs r
    join pgflow.step_states st on st.run_id = r.run_id
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    left join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = s.map_over
    where st.status in ('created', 'started', 'completed')
  ),
  counted as (
    select st.run_id, st.step_slug, st.status, st.initial_tasks, count(t.run_id) as tasks, min(t.task_index) as first,
      max(t.task_index) as last
    from pgflow.step_states st
    left join pgflow.step_tasks t on t.run_id = st.run_id and t.step_slug = st.step_slug
    group by st.run_id, st.step_slug
  )
  select 'initial_tasks_is_wrong', z.run_id, z.step_slug, null::int,
    format('the %s step has the size %s and should have %s', z.status, coalesce(z.initial_tasks::text, 'null'),
      coalesce(z.size::text, 'null'))
  from sized z
  where z.initial_tasks is distinct from z.size

  union all
  select 'number_of_tasks_is_wrong', c.run_id, c.step_slug, null,
    format('the %s step has %s tasks and the size %s', c.status, c.tasks, coalesce(c.initial_tasks::text, 'null'))
  from counted c
  where c.status in ('started', 'completed') and c.initial_tasks is distinct from c.tasks

  union all
  select 'created_step_has_tasks', c.run_id, c.step_slug, null, format('the step is created and has %s tasks', c.tasks)
  from counted c
  where c.status = 'created' and c.tasks > 0

  union all
  select 'task_indexes_have_gaps', c.run_id, c.step_slug, null, format('the %s tasks go from %s to %s', c.tasks, c.first, c.last)
  from counted c
  where c.tasks > 0 and (c.first <> 0 or c.last <> c.tasks - 1)

  union all
  select 'map_task_has_another_element', t.run_id, t.step_slug, t.task_index,
    format('the %s task was not made of element %s of what it runs over', t.status, t.task_index)
  from (
    select r.run_id, st.step_slug, case when s.map_over = 'run' then r.input else o.output end as source
    from pgflow.runs r
    join pgflow.step_states st on st.run_id = r.run_id and st.status = 'started'
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    left join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = s.map_over
    where s.step_type = 'map'
  ) m
  -- taken apart once per step, not once per task
  cross join lateral jsonb_array_elements(case when jsonb_typeof(m.source) = 'array' then m.source end)
    with ordinality e(element, i)
  join pgflow.step_tasks t on t.run_id = m.run_id and t.step_slug = m.step_slug and t.task_index = e.i - 1
  where t.status in ('queued', 'started') and t.input is distinct from e.element
$fn$;
