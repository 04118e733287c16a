-- 0002: from version 1 to 2: deadlines, conditions, end reasons, reservations, workers without a lease.
-- Locks: the tables it changes, held since lock.sql.  Rewrites: steps (one small table).  Idempotent: yes.
alter table pgflow.flows
  add column if not exists opt_deadline int constraint flow_deadline_is_positive check (opt_deadline > 0);
alter table pgflow.steps
  add column if not exists input_predicate jsonpath,
  add column if not exists is_conditional bool not null generated always as (
    required_input_pattern is not null or forbidden_input_pattern is not null or input_predicate is not null
  ) stored,
  drop constraint if exists step_index_is_unique_in_a_flow,
  add constraint step_index_is_unique_in_a_flow unique (step_index, flow_slug, flow_version);
alter table pgflow.workers
  alter column lease_seconds drop default,
  alter column lease_seconds drop not null;
-- defaults that are constants: no row is touched
alter table pgflow.runs
  add column if not exists deadline_at timestamptz,
  add column if not exists end_reason text,
  add column if not exists retried_count int not null default 0;
alter table pgflow.step_tasks
  add column if not exists read_count int not null default 0;
create index if not exists runs_by_deadline_idx on pgflow.runs (deadline_at) where deadline_at is not null;
create index if not exists step_tasks_delayed_message_idx on pgflow.step_tasks (message_id)
  where status = 'queued' and visible_at is not null;
do $do$
begin
  if to_regtype('pgflow.step_task_record') is null then
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
  end if;
  if to_regtype('pgflow.message_record') is null then
    create type pgflow.message_record as (
      msg_id bigint,
      read_ct int,
      enqueued_at timestamptz,
      vt timestamptz,
      message jsonb
    );
  end if;
end
$do$;
