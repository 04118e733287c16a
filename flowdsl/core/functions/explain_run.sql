-- explain_run: why a run does not move: a row for each of its open steps (task_index null) and open tasks, with what it waits
-- for and a sentence that says so. At most max_tasks task rows; the rows of the steps count all of them. An ended run: one row.
-- waits_for: dependency; lease (a worker has it: worker_id, until its lease ends); worker (its turn); no_worker (nobody serves
-- this flow, version or queue); backoff, start_delay, reserved (until then); run_ended, cancelled.
-- Locks: none.  Cost: linear in the run's tasks, plus the workers.  Raises: PF405 unknown run.
create function pgflow.explain_run(run_id uuid, max_tasks int default 1000) returns table (
  step_slug text,
  task_index int,
  status text,
  waits_for text,
  detail text,
  since timestamptz,
  until timestamptz,
  worker_id uuid
)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_now timestamptz := pgflow._now();
  v_run pgflow.runs;
  v_failed record;
begin
  select r.* into v_run from pgflow.runs r where r.run_id = explain_run.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(explain_run.run_id);
  end if;
  if v_run.status <> 'started' then
    select st.step_slug, st.error_message into v_failed
    from pgflow.step_states st
    where st.run_id = v_run.run_id and st.status = 'failed' and v_run.end_reason is null
    order by st.failed_at limit 1;
    return query
    select null::text, null::int, v_run.status, case v_run.status when 'cancelled' then 'cancelled' else 'run_ended' end,
      format('The run %s at %s%s%s.',
        case v_run.status when 'cancelled' then 'was cancelled' else v_run.status end,
        pgflow._explain_moment(e.ended_at), ' in step ' || quote_literal(v_failed.step_slug),
        ': ' || left(coalesce(v_run.end_reason, v_failed.error_message), 200)),
      e.ended_at, null::timestamptz, null::uuid
    from (select coalesce(v_run.completed_at, v_run.failed_at, v_run.cancelled_at) as ended_at) e;
    return;
  end if;
  return query
  select x.step_slug, x.task_index, x.status, x.waits_for, x.detail, x.since, x.until, x.worker_id
  from (
    select e.step_slug, null::int as task_index, e.status, e.waits_for, e.detail, e.since, e.until, null::uuid as worker_id
    from pgflow._explain_steps(v_run.run_id, v_now) e
    union all
    select t.* from pgflow._explain_tasks(v_run.run_id, explain_run.max_tasks, v_now) t
  ) x
  left join pgflow.steps s
    on s.flow_slug = v_run.flow_slug and s.flow_version = v_run.flow_version and s.step_slug = x.step_slug
  order by s.step_index, x.step_slug, x.task_index nulls first;
end
$fn$;
