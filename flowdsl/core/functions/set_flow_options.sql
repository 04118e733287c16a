-- set_flow_options: replace a flow's options (null: the default); tasks that wait move to the new queue and priority.
-- A new deadline holds for runs that start from now on.
-- Locks: the flow's row, then step_tasks SKIP LOCKED.  Writes: flows, steps, lanes, step_tasks.  Idempotent: yes.
-- Raises: PF400 bad option, PF404 unknown flow.
create function pgflow.set_flow_options(
  flow_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  max_delay int default null,
  queue text default null,
  priority int default null,
  deadline int default null
) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_flow pgflow.flows;
begin
  perform pgflow._check_options(
    format('flow %L', set_flow_options.flow_slug), set_flow_options.max_attempts, set_flow_options.base_delay,
    set_flow_options.timeout, null, set_flow_options.max_delay, set_flow_options.queue,
    set_flow_options.deadline);
  update pgflow.flows f set
    opt_max_attempts = coalesce(set_flow_options.max_attempts, 3),
    opt_base_delay = coalesce(set_flow_options.base_delay, 5),
    opt_timeout = coalesce(set_flow_options.timeout, 60),
    opt_max_delay = coalesce(set_flow_options.max_delay, 3600),
    opt_queue = set_flow_options.queue,
    opt_priority = coalesce(set_flow_options.priority, 0),
    opt_deadline = set_flow_options.deadline
  where f.flow_slug = set_flow_options.flow_slug
  returning f.* into v_flow;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', set_flow_options.flow_slug),
      'Call create_flow first.');
  end if;
  -- the trigger on these columns finds the lane again
  update pgflow.steps s set opt_queue = s.opt_queue where s.flow_slug = set_flow_options.flow_slug;
  perform pgflow._move_queued_tasks(set_flow_options.flow_slug);
  return v_flow;
end
$fn$;
