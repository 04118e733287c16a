-- task_refusal: a result that was not taken. reason: lease_lost (the claim is not current) or run_ended.
create type pgflow.task_refusal as (
  run_id uuid,
  step_slug text,
  task_index int,
  fence bigint,
  reason text
);
