-- run_outcome: where a run stands, its output when completed, the attempt that failed it when failed; and why, when it was
-- cancelled or failed as a whole (error_class DeadlineExceeded).
-- Locks: none.  Raises: PF405 unknown run.
create function pgflow.run_outcome(run_id uuid) returns table (
  status text,
  flow_slug text,
  output jsonb,
  failed_step text,
  task_index int,
  attempt int,
  error_class text,
  error_message text,
  traceback text
)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $fn$
#variable_conflict use_column
begin
  return query
  select r.status, r.flow_slug, r.output, a.step_slug, a.task_index, a.attempt,
    case when r.status = 'failed' and r.end_reason is not null then 'DeadlineExceeded' else a.error_class end,
    coalesce(r.end_reason, a.error_message), a.traceback
  from pgflow.runs r
  left join lateral (
    -- a failed step's last recorded attempt, of its failed task where it has one
    select x.step_slug, x.task_index, x.attempt, x.error_class, x.error_message, x.traceback
    from pgflow.step_states st
    join pgflow.task_attempts x on x.run_id = st.run_id and x.step_slug = st.step_slug
    left join pgflow.step_tasks t
      on t.run_id = x.run_id and t.step_slug = x.step_slug and t.task_index = x.task_index
    where st.run_id = r.run_id and st.status = 'failed' and (t.status = 'failed' or t.status is null)
    order by st.failed_at, x.step_slug, x.task_index, x.attempt_id desc limit 1
  ) a on r.status = 'failed' and r.end_reason is null
  where r.run_id = run_outcome.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(run_outcome.run_id);
  end if;
end
$fn$;
