-- _verdicts: of these steps, those that are ready in an open run, and whether their conditions are met.
-- Judged is the run's input for a root step, else {"run": the run's input, "<slug>": output of each completed dependency}.
-- Met: it contains the required pattern, does not contain the forbidden one, and the predicate is true of it.
-- Locks: none.  Raises: nothing.
create function pgflow._verdicts(p_run_ids uuid[], p_step_slugs text[])
returns table (run_id uuid, step_slug text, is_met bool, when_unmet text, initial_tasks int)
language plpgsql stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_memoize = off
set jit = off
as $fn$
begin
  return query
  select g.run_id, g.step_slug,
    (s.required_input_pattern is null or j.judged @> s.required_input_pattern)
      and (s.forbidden_input_pattern is null or not j.judged @> s.forbidden_input_pattern)
      -- a predicate that is neither true nor false of this input (a missing key, say) is not met
      and (s.input_predicate is null or coalesce(j.judged @@ s.input_predicate, false)),
    s.when_unmet, coalesce(st.initial_tasks, case when s.step_type = 'single' then 1 end)
  from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
  cross join lateral (
    select x.status, x.remaining_deps, x.initial_tasks, x.flow_slug, x.flow_version
    from pgflow.step_states x
    where x.run_id = g.run_id and x.step_slug = g.step_slug
    offset 0
  ) st
  cross join lateral (select x.status, x.input from pgflow.runs x where x.run_id = g.run_id offset 0) r
  cross join lateral (
    select x.deps_count, x.forbidden_input_pattern, x.input_predicate, x.is_conditional, x.required_input_pattern, x.step_type, x.when_unmet
    from pgflow.steps x
    where x.flow_slug = st.flow_slug and x.flow_version = st.flow_version and x.step_slug = g.step_slug
    offset 0
  ) s
  cross join lateral (
    select case
      when not s.is_conditional then null
      when s.deps_count = 0 then r.input
      else jsonb_build_object('run', r.input) || coalesce((
        select jsonb_object_agg(d.dep_slug, o.output)
        from pgflow.deps d
        cross join lateral (
          select x.output, x.status from pgflow.step_states x
          where x.run_id = g.run_id and x.step_slug = d.dep_slug
          offset 0
        ) o
        where d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = g.step_slug
          and o.status = 'completed'
      ), '{}') end as judged
  ) j
  where st.status = 'created' and st.remaining_deps = 0 and r.status = 'started';
end
$fn$;
