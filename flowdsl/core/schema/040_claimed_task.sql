-- claimed_task: one leased task, or (refusal set) one result that was not taken.
-- input: {"run": …, "<dep slug>": …}, sent with the first task of each step in a batch only, null with the others.
-- element: the map element; SQL null for a single step. timeout: seconds.
create type pgflow.claimed_task as (
  flow_slug text,
  flow_version int,
  run_id uuid,
  step_slug text,
  task_index int,
  attempt int,
  max_attempts int,
  fence bigint,
  timeout int,
  input jsonb,
  element jsonb,
  refusal text
);
