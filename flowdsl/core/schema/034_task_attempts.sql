-- task_attempts: what state cannot tell any more: attempts that failed, and leases that were lost. Append-only.
create table pgflow.task_attempts (
  attempt_id bigint generated always as identity,
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  task_index int not null,
  attempt int not null,                           -- from 1
  outcome text not null,
  error_class text not null,
  error_message text not null,
  traceback text not null default '',
  fence bigint not null,
  worker_id uuid,
  started_at timestamptz,
  ended_at timestamptz not null,
  constraint task_attempts_pkey primary key (attempt_id),
  constraint attempt_outcome_is_known check (outcome in ('failed', 'lost'))
);
create index task_attempts_by_task_idx on pgflow.task_attempts (run_id, step_slug, task_index);
