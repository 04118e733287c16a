-- step_states: where each step of a run stands.
create table pgflow.step_states (
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  status text not null default 'created',
  remaining_tasks int,
  initial_tasks int,                              -- null until a map is sized
  remaining_deps int not null default 0,
  output jsonb,
  error_message text,
  skip_reason text,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  skipped_at timestamptz,
  flow_version int not null default 1,
  cancelled_at timestamptz,
  input_size bigint not null default 0,           -- about the bytes of its whole inputs so far; see _json_size
  constraint step_states_pkey primary key (run_id, step_slug),
  constraint step_state_status_is_known check (
    status in ('created', 'started', 'completed', 'failed', 'skipped', 'cancelled')
  ),
  constraint step_state_counts_are_not_negative check (
    remaining_deps >= 0 and coalesce(remaining_tasks, 0) >= 0 and coalesce(initial_tasks, 0) >= 0
  ),
  constraint completed_step_has_no_remaining_tasks check (status <> 'completed' or remaining_tasks = 0),
  constraint remaining_tasks_is_null_before_the_start check (
    status not in ('created', 'skipped') or remaining_tasks is null
  ),
  constraint started_step_has_initial_tasks check (status <> 'started' or initial_tasks is not null),
  constraint step_output_only_when_completed check (output is null or status = 'completed'),
  constraint skip_reason_matches_status check ((status = 'skipped') = (skip_reason is not null)),
  constraint skip_reason_is_known check (skip_reason in ('condition_unmet', 'handler_failed', 'dependency_skipped')),
  constraint step_has_at_most_one_end check (num_nonnulls(completed_at, failed_at, skipped_at, cancelled_at) <= 1),
  constraint step_times_are_in_order check (
    coalesce(started_at, created_at) >= created_at
    and coalesce(completed_at, failed_at, skipped_at, cancelled_at, started_at, created_at) >= coalesce(started_at, created_at)
  )
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
