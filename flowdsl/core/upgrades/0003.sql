-- 0003: from version 2 to 3: schemas of inputs and outputs, versions that serve earlier ones, retired flows.
-- Locks: the tables it changes, held since lock.sql.  Rewrites: nothing.  Idempotent: yes.
alter table pgflow.flows
  add column if not exists retired_at timestamptz;
alter table pgflow.flow_versions
  add column if not exists input_schema jsonb,
  add column if not exists output_schema jsonb,
  add column if not exists serves_from int
    constraint version_serves_itself_and_earlier_ones check (serves_from between 1 and flow_version),
  add column if not exists accepts_from int
    constraint version_accepts_itself_and_earlier_ones check (accepts_from between 1 and flow_version);
alter table pgflow.steps
  add column if not exists input_schema jsonb,
  add column if not exists output_schema jsonb;
