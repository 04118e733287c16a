-- _skip_violations: part of check_invariants: steps were skipped for a reason that is true, together with what they take along,
-- and conditions were judged as they stand; see _verdicts.
-- Locks: none.  Raises: nothing.
create function pgflow._skip_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  with judged as (
    select st.run_id, st.step_slug, st.status, st.skip_reason, s.required_input_pattern, s.forbidden_input_pattern,
      s.input_predicate, case when s.deps_count = 0 then r.input else jsonb_build_object('run', r.input) || coalesce((
        select jsonb_object_agg(d.dep_slug, o.output)
        from pgflow.deps d
        join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = d.dep_slug and o.status = 'completed'
        where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
      ), '{}') end as value
    from pgflow.runs r
    join pgflow.step_states st on st.run_id = r.run_id
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    where s.is_conditional
      and (st.status in ('started', 'completed') or st.skip_reason in ('condition_unmet', 'handler_failed'))
  )
  select 'condition_was_misjudged', j.run_id, j.step_slug, null::int,
    format('the step is %s%s, but its condition says otherwise', j.status, ' (' || j.skip_reason || ')')
  from judged j
  where (j.skip_reason is distinct from 'condition_unmet') <> (
    (j.required_input_pattern is null or j.value @> j.required_input_pattern)
    and (j.forbidden_input_pattern is null or not j.value @> j.forbidden_input_pattern)
    and (j.input_predicate is null or coalesce(j.value @@ j.input_predicate, false)))

  union all
  select 'condition_unmet_without_a_condition', st.run_id, st.step_slug, null,
    'the step was skipped because of its condition, and has none'
  from pgflow.step_states st
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  where st.skip_reason = 'condition_unmet' and not s.is_conditional

  union all
  select 'handler_failed_without_a_failed_task', st.run_id, st.step_slug, null,
    'the step was skipped because of its handler, and no task of it failed'
  from pgflow.step_states st
  where st.skip_reason = 'handler_failed' and not exists (
    select from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug and t.status = 'failed')

  union all
  select 'dependency_skipped_without_one', st.run_id, st.step_slug, null,
    'the step was skipped because of a dependency, and none of its dependencies is'
  from pgflow.step_states st
  where st.skip_reason = 'dependency_skipped' and not exists (
    select from pgflow.deps d
    join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = d.dep_slug and o.status = 'skipped'
    where d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = st.step_slug)

  union all
  select 'cascade_left_a_step_out', st.run_id, st.step_slug, null,
    format('%s was skipped with all that depends on it, but this step is %s', o.step_slug, st.status)
  from pgflow.step_states o
  join pgflow.steps s
    on s.flow_slug = o.flow_slug and s.flow_version = o.flow_version and s.step_slug = o.step_slug
  join pgflow.deps d
    on d.flow_slug = o.flow_slug and d.flow_version = o.flow_version and d.dep_slug = o.step_slug
  join pgflow.step_states st on st.run_id = o.run_id and st.step_slug = d.step_slug
  where st.status <> 'skipped' and (
    o.skip_reason = 'dependency_skipped'
    or (o.skip_reason = 'condition_unmet' and s.when_unmet = 'skip-cascade')
    or (o.skip_reason = 'handler_failed' and s.when_exhausted = 'skip-cascade'))
$fn$;
