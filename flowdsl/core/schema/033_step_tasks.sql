-- step_tasks: the units of work; a single step has one, a map step one per element.
-- A queued task is ready (visible_at null) or delayed (visible_at set: backoff, start delay). A task that becomes ready
-- gets a fresh message_id in the same transaction: claims follow message_id, and the claim floor relies on it.
create table pgflow.step_tasks (
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  task_index int not null default 0,
  message_id bigint not null default nextval('pgflow.message_ids'),
  status text not null default 'queued',
  attempts_count int not null default 0,
  error_message text,
  output jsonb,
  queued_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  last_worker_id uuid,
  requeued_count int not null default 0,          -- lost leases; apart from attempts
  last_requeued_at timestamptz,
  permanently_stalled_at timestamptz,
  lane_id int not null,                           -- filled by a trigger when an insert does not name it
  fence bigint not null default 0,                -- the number of the claim that holds, or last ended, this task
  visible_at timestamptz,
  input jsonb,                                    -- a map task's element, copied once when the map is sized
  skipped_at timestamptz,
  cancelled_at timestamptz,
  read_count int not null default 0,              -- how often read_with_poll reserved it
  constraint step_tasks_pkey primary key (run_id, step_slug, task_index),
  constraint task_status_is_known check (
    status in ('queued', 'started', 'completed', 'failed', 'skipped', 'cancelled')
  ),
  constraint task_counts_are_not_negative check (task_index >= 0 and attempts_count >= 0 and requeued_count >= 0),
  constraint task_output_only_when_ended check (output is null or status in ('completed', 'failed')),
  constraint only_a_queued_task_is_delayed check (visible_at is null or status = 'queued'),
  constraint task_has_at_most_one_end check (num_nonnulls(completed_at, failed_at, skipped_at, cancelled_at) <= 1),
  constraint task_times_are_in_order check (
    coalesce(started_at, queued_at) >= queued_at
    and coalesce(completed_at, failed_at, skipped_at, cancelled_at, started_at, queued_at) >= coalesce(started_at, queued_at)
  )
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
-- claim_tasks: the oldest ready tasks of a lane
create index step_tasks_ready_idx on pgflow.step_tasks (lane_id, message_id) where status = 'queued' and visible_at is null;
-- claim_tasks: delayed tasks that are due
create index step_tasks_delayed_idx on pgflow.step_tasks (lane_id, visible_at) where status = 'queued' and visible_at is not null;
-- start_tasks, set_vt_batch: reserved or delayed tasks by message; ready ones are found in step_tasks_ready_idx
create index step_tasks_delayed_message_idx on pgflow.step_tasks (message_id) where status = 'queued' and visible_at is not null;
-- claim_tasks: suspects, which were lost with two workers; few or none
create index step_tasks_suspect_idx on pgflow.step_tasks (lane_id, message_id)
  where status = 'queued' and visible_at is null and requeued_count >= 2;
-- recover_tasks, release_strays: what a worker holds
create index step_tasks_held_idx on pgflow.step_tasks (last_worker_id) where status = 'started';
