-- describe_run: everything about a run for people, as JSON: run, steps with their task counts, at most max_tasks tasks (failed
-- first, then started, then retrying, then the newest), the number of all tasks, and the recorded attempts, latest first.
-- with_values false: without input and outputs, for those who look often.
-- Locks: none.  Cost: linear in the run's tasks.  Raises: PF405 unknown run.
create function pgflow.describe_run(run_id uuid, max_tasks int default 200, with_values bool default true)
returns jsonb
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_run pgflow.runs;
begin
  select r.* into v_run from pgflow.runs r where r.run_id = describe_run.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(describe_run.run_id);
  end if;
  return jsonb_build_object(
    'run', jsonb_build_object(
      'run_id', v_run.run_id, 'flow_slug', v_run.flow_slug, 'flow_version', v_run.flow_version, 'status', v_run.status,
      'input', case when with_values then v_run.input end, 'output', case when with_values then v_run.output end, 'remaining_steps', v_run.remaining_steps,
      'started_at', v_run.started_at, 'ended_at', coalesce(v_run.completed_at, v_run.failed_at, v_run.cancelled_at),
      'end_reason', v_run.end_reason, 'deadline_at', v_run.deadline_at, 'retried_count', v_run.retried_count),
    'steps', pgflow._describe_steps(v_run.run_id, with_values),
    'tasks', pgflow._describe_tasks(v_run.run_id, describe_run.max_tasks),
    'tasks_total', (select count(*) from pgflow.step_tasks t where t.run_id = v_run.run_id),
    'attempts', coalesce((
      select jsonb_agg(to_jsonb(a) - 'attempt_id' - 'flow_slug' - 'run_id' order by a.attempt_id desc)
      from (
        select x.* from pgflow.task_attempts x where x.run_id = v_run.run_id
        order by x.attempt_id desc limit describe_run.max_tasks
      ) a
    ), '[]'));
end
$fn$;
