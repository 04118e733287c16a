-- _describe_steps: the steps of a run as a JSON array in the flow's order, each with its dependencies and task counts.
-- "retrying" counts queued tasks that have an attempt behind them.
-- Locks: none.  Raises: nothing.
create function pgflow._describe_steps(p_run_id uuid, p_with_values bool) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object(
    'step_slug', st.step_slug, 'step_index', s.step_index, 'step_type', s.step_type, 'status', st.status,
    'deps', coalesce((
      select jsonb_agg(d.dep_slug order by d.dep_slug) from pgflow.deps d
      where d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = st.step_slug), '[]'),
    'initial_tasks', st.initial_tasks, 'remaining_tasks', st.remaining_tasks,
    'tasks', jsonb_build_object(
      'queued', n.queued, 'started', n.started, 'completed', n.completed, 'failed', n.failed, 'skipped', n.skipped,
      'cancelled', n.cancelled, 'retrying', n.retrying),
    'error_message', st.error_message, 'skip_reason', st.skip_reason, 'created_at', st.created_at,
    'started_at', st.started_at,
    'ended_at', coalesce(st.completed_at, st.failed_at, st.skipped_at, st.cancelled_at),
    'output', case when p_with_values then st.output end
  ) order by s.step_index, st.step_slug), '[]')
  from pgflow.step_states st
  left join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  cross join lateral (
    select
      count(*) filter (where t.status = 'queued') as queued,
      count(*) filter (where t.status = 'started') as started,
      count(*) filter (where t.status = 'completed') as completed,
      count(*) filter (where t.status = 'failed') as failed,
      count(*) filter (where t.status = 'skipped') as skipped,
      count(*) filter (where t.status = 'cancelled') as cancelled,
      count(*) filter (where t.status = 'queued' and t.attempts_count > 0) as retrying
    from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug
  ) n
  where st.run_id = p_run_id
$fn$;
