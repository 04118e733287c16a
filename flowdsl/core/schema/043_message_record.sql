-- message_record: a message as a foreign worker reads it: one queued task by its message id.
-- message: {"flow_slug", "run_id", "step_slug", "task_index"}; vt: until when nobody else is given it.
create type pgflow.message_record as (
  msg_id bigint,
  read_ct int,
  enqueued_at timestamptz,
  vt timestamptz,
  message jsonb
);
