-- runs: one execution of one version of a flow. The row is the lock of everything under it (see core/README.md).
-- No foreign keys on runtime tables: each would cost a look-up per row on the hot path, and only functions write here.
-- fillfactor: see core/README.md, "Storage".
create table pgflow.runs (
  run_id uuid not null default pgflow._new_run_id(),
  flow_slug text not null,
  status text not null default 'started',
  input jsonb not null,
  output jsonb,
  remaining_steps int not null default 0,
  started_at timestamptz not null default now(),
  completed_at timestamptz,
  failed_at timestamptz,
  flow_version int not null default 1,
  cancelled_at timestamptz,
  watched bool not null default false,            -- someone waits for a NOTIFY at its end
  deadline_at timestamptz,                        -- when an open run is failed; null without a deadline, and once ended
  end_reason text,                                -- why it was cancelled, or failed as a whole; null when a step failed it
  retried_count int not null default 0,           -- how often retry_run took it up again
  constraint runs_pkey primary key (run_id),
  constraint run_status_is_known check (status in ('started', 'completed', 'failed', 'cancelled')),
  constraint run_remaining_steps_are_not_negative check (remaining_steps >= 0),
  constraint run_has_at_most_one_end check (num_nonnulls(completed_at, failed_at, cancelled_at) <= 1),
  constraint run_output_only_when_completed check (output is null or status = 'completed'),
  constraint run_ends_after_its_start check (coalesce(completed_at, failed_at, cancelled_at, started_at) >= started_at)
) with (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
-- listings; started_at never changes, so updates of a run stay HOT
create index runs_by_flow_idx on pgflow.runs (flow_slug, started_at);
-- enforce_deadlines: open runs that are overdue. No status in the predicate: it would cost every run's end its HOT update.
create index runs_by_deadline_idx on pgflow.runs (deadline_at) where deadline_at is not null;
