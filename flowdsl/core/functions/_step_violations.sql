-- _step_violations: part of check_invariants: steps, what they depend on, and the counts of their tasks.
-- A dependency is done when it is completed or skipped. A skipped step counts no further, so remaining_deps of those is not looked at.
-- Locks: none.  Raises: nothing.
create function pgflow._step_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  with waiting as (
    select r.run_id, r.status as run_status, st.step_slug, st.status, st.skip_reason, st.remaining_deps,
      count(o.run_id) filter (where o.status not in ('completed', 'skipped')) as open,
      string_agg(format('%s (%s)', o.step_slug, o.status), ', ' order by o.step_slug)
        filter (where o.status not in ('completed', 'skipped')) as names
    from pgflow.runs r
    join pgflow.step_states st on st.run_id = r.run_id
    left join pgflow.deps d
      on d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = st.step_slug
    left join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = d.dep_slug
    group by r.run_id, r.status, st.run_id, st.step_slug
  )
  select 'remaining_deps_is_wrong', w.run_id, w.step_slug, null::int,
    format('the %s step counts %s remaining dependencies and has %s', w.status, w.remaining_deps, w.open)
  from waiting w
  where w.run_status = 'started' and w.status in ('created', 'started', 'completed') and w.remaining_deps <> w.open

  union all
  select 'ready_step_was_forgotten', w.run_id, w.step_slug, null,
    'the step is created and nothing that it depends on is open, so nothing will start it'
  from waiting w
  where w.run_status = 'started' and w.status = 'created' and w.open = 0

  union all
  select 'step_ran_ahead_of_its_dependencies', w.run_id, w.step_slug, null,
    format('the step is %s; not done: %s', w.status, w.names)
  from waiting w
  where w.open > 0 and (w.status in ('started', 'completed', 'failed') or w.skip_reason in ('condition_unmet', 'handler_failed'))

  union all
  select 'remaining_tasks_is_wrong', st.run_id, st.step_slug, null,
    format('the started step counts %s remaining tasks and has %s', coalesce(st.remaining_tasks::text, 'no'), n.remaining)
  from pgflow.step_states st
  cross join lateral (
    select count(*) filter (where t.status <> 'completed') as remaining
    from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug
  ) n
  where st.status = 'started' and (st.remaining_tasks is distinct from n.remaining or n.remaining = 0)

  union all
  select 'step_times_do_not_fit_its_status', st.run_id, st.step_slug, null,
    format('the step is %s; started_at %s, completed_at %s, failed_at %s, skipped_at %s, cancelled_at %s', st.status,
      coalesce(st.started_at::text, 'null'), coalesce(st.completed_at::text, 'null'), coalesce(st.failed_at::text, 'null'),
      coalesce(st.skipped_at::text, 'null'), coalesce(st.cancelled_at::text, 'null'))
  from pgflow.step_states st
  where (st.status = 'completed') <> (st.completed_at is not null)
    or (st.status = 'failed') <> (st.failed_at is not null)
    or (st.status = 'skipped') <> (st.skipped_at is not null)
    or (st.status = 'cancelled') <> (st.cancelled_at is not null)
    or (st.status = 'created' and st.started_at is not null)
    or (st.status in ('started', 'completed') and st.started_at is null)
$fn$;
