-- set_step_options: replace a step's options (null: the flow's); tasks that wait move to the new queue and priority.
-- Locks: the flow's row, then the step's, then step_tasks SKIP LOCKED.  Writes: steps, lanes, step_tasks.  Idempotent: yes.
-- Raises: PF400 bad option, PF407 unknown step.
create function pgflow.set_step_options(
  flow_slug text,
  version int,
  step_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  start_delay int default null,
  max_delay int default null,
  retry_on text[] default null,
  queue text default null,
  priority int default null
) returns pgflow.steps
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_name text := format('step %L of flow %L', set_step_options.step_slug, set_step_options.flow_slug);
  v_step pgflow.steps;
begin
  perform pgflow._check_options(
    v_name, set_step_options.max_attempts, set_step_options.base_delay, set_step_options.timeout,
    set_step_options.start_delay, set_step_options.max_delay, set_step_options.queue);
  -- as whoever changes a flow: a change of the flow's options at the same time may make the same lane
  perform 1 from pgflow.flows f where f.flow_slug = set_step_options.flow_slug for no key update;
  update pgflow.steps s set
    opt_max_attempts = set_step_options.max_attempts,
    opt_base_delay = set_step_options.base_delay,
    opt_timeout = set_step_options.timeout,
    opt_start_delay = set_step_options.start_delay,
    opt_max_delay = set_step_options.max_delay,
    opt_retry_on = set_step_options.retry_on,
    opt_queue = set_step_options.queue,
    opt_priority = set_step_options.priority
  where s.flow_slug = set_step_options.flow_slug and s.flow_version = set_step_options.version
    and s.step_slug = set_step_options.step_slug
  returning s.* into v_step;
  if not found then
    perform pgflow._refuse('PF407', format('%s does not exist in version %s', v_name, set_step_options.version),
      'Call add_step first, or look the version up with: pgflow flows.');
  end if;
  perform pgflow._move_queued_tasks(set_step_options.flow_slug);
  return v_step;
end
$fn$;
