-- retry_run: take an ended run up again, in place; returns its row. What has completed or been skipped stays; failed and
-- cancelled steps go on, with all their attempts anew. from_step: that step and all that depends on it run again from
-- nothing, also in a run that completed; what a skip still cascades to is skipped again. The deadline, if any, begins anew. Recorded attempts stay.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: no; the second of two calls is refused.
-- Raises: PF405 unknown run, PF407 it has no such step, PF415 it is open, or has completed and no step is named.
create function pgflow.retry_run(run_id uuid, from_step text default null) returns setof pgflow.runs
language plpgsql volatile
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
#variable_conflict use_column
declare
  v_now timestamptz := pgflow._now();
  v_run pgflow.runs;
  v_again text[];
  v_lanes int[];
  v_skipped record;
begin
  select r.* into v_run from pgflow.runs r where r.run_id = retry_run.run_id for no key update;
  if not found then
    perform pgflow._refuse_unknown_run(retry_run.run_id);
  elsif v_run.status = 'started' then
    perform pgflow._refuse('PF415', format('run %s is still open', v_run.run_id),
      'Wait for its end, or cancel it first.');
  elsif v_run.status = 'completed' and retry_run.from_step is null then
    perform pgflow._refuse('PF415', format('run %s has completed', v_run.run_id),
      'Name the step to run again from: pgflow retry RUN --from STEP.');
  end if;
  if retry_run.from_step is not null then
    perform pgflow.step_output(v_run.run_id, retry_run.from_step);  -- refuses a step that the run does not have
    with recursive downstream as (
      select retry_run.from_step as step_slug
      union
      select d.step_slug
      from downstream w
      join pgflow.deps d
        on d.flow_slug = v_run.flow_slug and d.flow_version = v_run.flow_version and d.dep_slug = w.step_slug
    )
    select array_agg(w.step_slug) into v_again from downstream w;
  end if;

  update pgflow.runs r set
    status = 'started', output = null, completed_at = null, failed_at = null, cancelled_at = null, end_reason = null,
    retried_count = r.retried_count + 1,
    deadline_at = (select pgflow._visible_at(v_now, f.opt_deadline) from pgflow.flows f where f.flow_slug = r.flow_slug)
  where r.run_id = v_run.run_id;

  delete from pgflow.step_tasks t where t.run_id = v_run.run_id and t.step_slug = any (v_again);

  -- tasks that have not completed are tried again
  with requeued as (
    update pgflow.step_tasks t set
      status = 'queued', attempts_count = 0, requeued_count = 0, fence = 0, output = null, error_message = null,
      queued_at = v_now, started_at = null, failed_at = null, skipped_at = null, cancelled_at = null,
      permanently_stalled_at = null, visible_at = null, lane_id = s.lane_id, message_id = nextval('pgflow.message_ids')
    from pgflow.step_states st, pgflow.steps s
    where st.run_id = v_run.run_id and st.status in ('failed', 'cancelled')
      and s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
      and t.run_id = st.run_id and t.step_slug = st.step_slug and t.status <> 'completed'
    returning t.lane_id
  )
  select array_agg(distinct q.lane_id) into v_lanes from requeued q;

  update pgflow.step_states st set
    status = case when n.open > 0 then 'started' else 'created' end,
    remaining_tasks = nullif(n.open, 0)::int,
    started_at = case when n.open > 0 then st.started_at end,
    output = null, error_message = null, skip_reason = null,
    completed_at = null, failed_at = null, skipped_at = null, cancelled_at = null
  from (
    select o.step_slug, count(t.run_id) as open
    from pgflow.step_states o
    left join pgflow.step_tasks t
      on t.run_id = o.run_id and t.step_slug = o.step_slug and t.status = 'queued'
    where o.run_id = v_run.run_id and (o.status in ('failed', 'cancelled') or o.step_slug = any (v_again))
    group by o.step_slug
  ) n
  where st.run_id = v_run.run_id and st.step_slug = n.step_slug;

  -- counted anew from what is done
  update pgflow.step_states st set
    remaining_deps = n.open,
    initial_tasks = case
      when s.step_type = 'single' then 1
      when s.map_over = 'run' then jsonb_array_length(v_run.input)
      else n.size end,
    input_size = n.bytes + case when s.uses_run_input then pgflow._json_size(v_run.input) else 0 end
  from pgflow.steps s
  cross join lateral (
    select
      count(*) filter (where o.status not in ('completed', 'skipped'))::int as open,
      max(case when o.step_slug = s.map_over and o.status in ('completed', 'skipped')
        then coalesce(jsonb_array_length(o.output), 0) end) as size,
      coalesce(sum(pgflow._json_size(o.output)) filter (where o.step_slug is distinct from s.map_over), 0)::bigint as bytes
    from pgflow.deps d
    join pgflow.step_states o on o.run_id = v_run.run_id and o.step_slug = d.dep_slug
    where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
  ) n
  where st.run_id = v_run.run_id and st.status = 'created'
    and s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug;

  update pgflow.runs r set remaining_steps = (
    select count(*) from pgflow.step_states st where st.run_id = r.run_id and st.status not in ('completed', 'skipped'))
  where r.run_id = v_run.run_id;

  perform pgflow._notify_ready(v_lanes);
  -- steps that were reset although a dependency that stays skipped takes its dependents with it
  select s.run_ids, s.step_slugs into v_skipped
  from (
    select array_agg(distinct st.step_slug) as slugs
    from pgflow.step_states st
    join pgflow.deps d on d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = st.step_slug
    join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = d.dep_slug and o.status = 'skipped'
    join pgflow.steps os on os.flow_slug = o.flow_slug and os.flow_version = o.flow_version and os.step_slug = o.step_slug
    where st.run_id = v_run.run_id and st.status = 'created' and case o.skip_reason
      when 'condition_unmet' then os.when_unmet = 'skip-cascade'
      when 'handler_failed' then os.when_exhausted = 'skip-cascade'
      else true end
  ) b
  cross join lateral pgflow._skip_steps(
    array_fill(v_run.run_id, array[cardinality(b.slugs)]), b.slugs, 'dependency_skipped', null,
    array_fill(true, array[cardinality(b.slugs)]), v_now) s
  where b.slugs is not null;

  perform pgflow._settle_steps(
    v_skipped.run_ids, v_skipped.step_slugs, v_now, array_agg(st.run_id), array_agg(st.step_slug))
  from pgflow.step_states st
  where st.run_id = v_run.run_id and st.status = 'created' and st.remaining_deps = 0;
  return query select r.* from pgflow.runs r where r.run_id = v_run.run_id;
end
$fn$;
