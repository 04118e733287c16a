-- _explain_tasks: a row of explain_run for each open task of a run, at most p_max_tasks, in the order of steps and elements.
-- Locks: none.  Raises: nothing.
create function pgflow._explain_tasks(p_run_id uuid, p_max_tasks int, p_now timestamptz)
returns table (
  step_slug text, task_index int, status text, waits_for text, detail text, since timestamptz, until timestamptz,
  worker_id uuid
)
language sql stable
set search_path = ''
as $fn$
  select t.step_slug, t.task_index, t.status, o.waits_for,
    format('%s %s.',
      case when s.step_type = 'map' then format('Task %s of step %L', t.task_index, t.step_slug)
        else format('The task of step %L', t.step_slug) end,
      case o.waits_for
        when 'lease' then format('is with worker %s%s since %s (attempt %s of %s)%s', t.last_worker_id,
          ' ' || quote_literal(nullif(w.function_name, '')), pgflow._explain_moment(t.started_at), t.attempts_count,
          coalesce(s.opt_max_attempts, f.opt_max_attempts),
          case
            when w.worker_id is null then format(
              '; that worker is not registered any more, so the task counts as stalled after %s', pgflow._explain_moment(x.stalls_at))
            when w.stopped_at is not null then format('; that worker stopped at %s, so it will be recovered', pgflow._explain_moment(w.stopped_at))
            when x.lease_ends_at is null then format('; it has no lease and counts as stalled after %s', pgflow._explain_moment(x.stalls_at))
            when x.lease_ends_at < p_now then format('; its lease ran out at %s, it will be recovered', pgflow._explain_moment(x.lease_ends_at))
            else format('; its lease is valid until %s', pgflow._explain_moment(x.lease_ends_at)) end)
        when 'backoff' then format('is tried again at %s: attempt %s of %s failed%s', pgflow._explain_moment(t.visible_at),
          t.attempts_count, coalesce(s.opt_max_attempts, f.opt_max_attempts), ' (' || left(t.error_message, 200) || ')')
        when 'reserved' then format('is reserved by a reader until %s', pgflow._explain_moment(t.visible_at))
        when 'start_delay' then format('is delayed until its start at %s', pgflow._explain_moment(t.visible_at))
        else o.reason end),
    case
      when t.status = 'started' then t.started_at
      when o.waits_for = 'backoff' then coalesce((
        select max(a.ended_at) from pgflow.task_attempts a
        where a.run_id = t.run_id and a.step_slug = t.step_slug and a.task_index = t.task_index
      ), t.queued_at)
      else greatest(t.queued_at, t.last_requeued_at) end,
    case when t.status = 'started' then coalesce(x.lease_ends_at, x.stalls_at) when t.visible_at > p_now then t.visible_at end,
    case when t.status = 'started' then t.last_worker_id end
  from (
    select y.*, z.step_index from pgflow._explain_open(p_run_id, p_now) y
    join pgflow.runs r on r.run_id = p_run_id
    left join pgflow.steps z
      on z.flow_slug = r.flow_slug and z.flow_version = r.flow_version and z.step_slug = y.step_slug
    order by z.step_index, y.step_slug, y.task_index
    limit greatest(p_max_tasks, 0)
  ) o
  join pgflow.step_tasks t on t.run_id = p_run_id and t.step_slug = o.step_slug and t.task_index = o.task_index
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  join pgflow.flows f on f.flow_slug = st.flow_slug
  left join pgflow.workers w on t.status = 'started' and w.worker_id = t.last_worker_id
  cross join lateral (
    select coalesce(w.stopped_at, w.last_heartbeat_at + w.lease_seconds * interval '1 second') as lease_ends_at,
      t.started_at + (coalesce(s.opt_timeout, f.opt_timeout) + 30) * interval '1 second' as stalls_at
  ) x
$fn$;
