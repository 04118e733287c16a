-- _create_flow_from_shape: create_flow and add_step for what a shape says; "options" of the flow and of steps
-- ("maxAttempts", "baseDelay", "timeout", "startDelay", "maxDelay", "retryOn", "queue", "priority"; of the flow also
-- "deadline") ride along. See _get_flow_shape for the rest.
-- Locks, writes: as create_flow and add_step.  Idempotent: yes.  Raises: PF400 no shape; as create_flow and add_step.
create function pgflow._create_flow_from_shape(p_flow_slug text, p_shape jsonb) returns void
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_options jsonb := p_shape -> 'options';
  v_step jsonb;
begin
  perform pgflow._check_shape(p_flow_slug, p_shape);
  perform pgflow.create_flow(
    p_flow_slug,
    max_attempts => (v_options ->> 'maxAttempts')::int,
    base_delay => (v_options ->> 'baseDelay')::int,
    timeout => (v_options ->> 'timeout')::int,
    max_delay => (v_options ->> 'maxDelay')::int,
    queue => v_options ->> 'queue',
    priority => (v_options ->> 'priority')::int,
    output_step => p_shape ->> 'outputStep',
    deadline => (v_options ->> 'deadline')::int,
    input_schema => p_shape -> 'inputSchema',
    output_schema => p_shape -> 'outputSchema');
  -- a loop, because a step's dependencies are there before it
  for v_step in select s.step from jsonb_array_elements(p_shape -> 'steps') with ordinality s(step, i) order by s.i loop
    v_options := v_step -> 'options';
    perform pgflow.add_step(
      p_flow_slug,
      v_step ->> 'slug',
      array(select jsonb_array_elements_text(coalesce(v_step -> 'dependencies', '[]'))),
      max_attempts => (v_options ->> 'maxAttempts')::int,
      base_delay => (v_options ->> 'baseDelay')::int,
      timeout => (v_options ->> 'timeout')::int,
      start_delay => (v_options ->> 'startDelay')::int,
      step_type => coalesce(v_step ->> 'stepType', 'single'),
      required_input_pattern => pgflow._shape_pattern(v_step -> 'requiredInputPattern'),
      forbidden_input_pattern => pgflow._shape_pattern(v_step -> 'forbiddenInputPattern'),
      when_unmet => coalesce(v_step ->> 'whenUnmet', 'skip'),
      when_exhausted => coalesce(v_step ->> 'whenExhausted', 'fail'),
      map_over => v_step ->> 'mapOver',
      uses_run_input => (v_step ->> 'usesRunInput')::bool,
      max_delay => (v_options ->> 'maxDelay')::int,
      retry_on => case when jsonb_typeof(v_options -> 'retryOn') = 'array'
        then array(select jsonb_array_elements_text(v_options -> 'retryOn')) end,
      queue => v_options ->> 'queue',
      priority => (v_options ->> 'priority')::int,
      input_predicate => (v_step ->> 'inputPredicate')::jsonpath,
      input_schema => v_step -> 'inputSchema',
      output_schema => v_step -> 'outputSchema');
  end loop;
end
$fn$;
