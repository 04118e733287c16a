-- _describe_tasks: the most telling tasks of a run as a JSON array: failed, started, retrying, then the newest.
-- element_hint: the beginning of a map task's element as text, for the telling ones.
-- Locks: none.  Raises: nothing.
create function pgflow._describe_tasks(p_run_id uuid, p_max_tasks int) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object(
    'step_slug', t.step_slug, 'task_index', t.task_index, 'status', t.status, 'attempts_count', t.attempts_count,
    'requeued_count', t.requeued_count, 'error_message', t.error_message, 'queued_at', t.queued_at,
    'started_at', t.started_at,
    'ended_at', coalesce(t.completed_at, t.failed_at, t.skipped_at, t.cancelled_at),
    'visible_at', t.visible_at, 'last_worker_id', t.last_worker_id,
    'element_hint', case when t.place < 4 then left(t.input::text, 200) end
  ) order by t.place, t.message_id desc), '[]')
  from (
    select x.*, case
      when x.status = 'failed' then 1
      when x.status = 'started' then 2
      when x.status = 'queued' and x.attempts_count > 0 then 3
      else 4 end as place
    from pgflow.step_tasks x where x.run_id = p_run_id
    order by place, x.message_id desc
    limit p_max_tasks
  ) t
$fn$;
