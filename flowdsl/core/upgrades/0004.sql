-- 0004: from version 3 to 4: how full pages are filled, when they are vacuumed, and keys of deps that no plan can mistake.
-- Pages that are full already stay as they are; new rows are stored the new way. Storage settings of your own are kept.
-- Locks: the tables it changes, held since lock.sql.  Rewrites: the indexes of deps, a small table.  Idempotent: yes.
do $do$
declare
  v_table record;
begin
  for v_table in
    select c.oid::regclass as name, n.fillfactor
    from (values ('runs', 45), ('step_states', 40), ('step_tasks', 50)) n(name, fillfactor)
    join pg_catalog.pg_class c on c.relname = n.name and c.relnamespace = 'pgflow'::regnamespace
    where c.reloptions = '{fillfactor=70}'  -- else somebody chose other settings, and they stay
  loop
    execute format('alter table %s set (fillfactor = %s, autovacuum_vacuum_scale_factor = 0.05, '
      'autovacuum_vacuum_threshold = 5000)', v_table.name, v_table.fillfactor);
  end loop;
end
$do$;
alter table pgflow.deps
  drop constraint deps_pkey,
  add constraint deps_pkey primary key (dep_slug, flow_slug, flow_version, step_slug);
drop index if exists pgflow.deps_by_step_idx;
create index deps_by_step_idx on pgflow.deps (step_slug, flow_slug, flow_version);
