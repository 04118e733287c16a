-- 0004: from version 3 to 4: how full pages are filled, when they are vacuumed, and keys of deps that no plan can mistake.
-- Pages that are full already stay as they are; new rows are stored the new way.
-- Locks: the tables it changes, held since lock.sql.  Rewrites: the indexes of deps, a small table.  Idempotent: yes.
alter table pgflow.runs
  set (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
alter table pgflow.step_states
  set (fillfactor = 35, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
alter table pgflow.step_tasks
  set (fillfactor = 30, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
alter table pgflow.deps
  drop constraint deps_pkey,
  add constraint deps_pkey primary key (dep_slug, flow_slug, flow_version, step_slug);
drop index if exists pgflow.deps_by_step_idx;
create index deps_by_step_idx on pgflow.deps (step_slug, flow_slug, flow_version);
