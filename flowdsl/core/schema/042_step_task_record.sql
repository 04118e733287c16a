-- step_task_record: a started task as a foreign worker gets it from start_tasks.
-- input: {} for a root step, {"<dep slug>": output} for a dependent one, the element for a map task; flow_input: the run's input.
create type pgflow.step_task_record as (
  flow_slug text,
  run_id uuid,
  step_slug text,
  input jsonb,
  msg_id bigint,
  task_index int,
  flow_input jsonb,
  fence bigint
);
