-- lock: before an upgrade changes anything: checks the version, then locks every table that it changes. New calls wait.
-- First what conflicts with maintenance only, which keeps vacuum out. Then everything: calls take the tables in several orders, so
-- once one table is locked the others must come within half of deadlock_timeout, else all are let go again and the calls get a
-- turn; so no call is part of a deadlock. Where calls come so thick that this does not succeed for 20 seconds, it waits longer, and
-- PostgreSQL may end single calls as deadlocked (40P01), which may be repeated.
-- Locks: the tables below ACCESS EXCLUSIVE.  Raises: 0A000 another version, 55P03 a table is in use for a minute.
do $do$
declare
  v_tables constant text[] := array[
    'runs', 'workers', 'step_states', 'step_tasks', 'flows', 'flow_versions', 'steps', 'deps'
  ];
  v_installed constant int := pgflow.core_version();
  v_lock_timeout constant text := current_setting('lock_timeout');
  v_patience interval := least(interval '300 ms', current_setting('deadlock_timeout')::interval / 2);
  v_polite_until constant timestamptz := clock_timestamp() + interval '20 seconds';
  v_end constant timestamptz := clock_timestamp() + interval '1 minute';
  v_until timestamptz;
  v_table text;
begin
  if v_installed not between /*from*/ and /*to*/ then
    raise exception using errcode = 'feature_not_supported',
      message = format('the SQL core in the database has version %s, this upgrade leads from version %s to %s',
        v_installed, /*from*/, /*to*/),
      hint = case when v_installed > /*to*/
        then 'The database is newer: there is nothing to do. Mark the revision as done with `alembic stamp`.'
        else 'Run the earlier upgrades first.' end;
  end if;
  perform set_config('lock_timeout', '60s', true);
  foreach v_table in array v_tables loop
    execute format('lock table pgflow.%I in share update exclusive mode', v_table);
  end loop;
  loop
    begin
      v_until := null;
      if clock_timestamp() > v_polite_until then
        v_patience := current_setting('deadlock_timeout')::interval * 5;
      end if;
      foreach v_table in array v_tables loop
        perform set_config('lock_timeout', case
          -- short, since calls that come meanwhile line up behind it and may hold other tables
          when v_until is null and clock_timestamp() < v_polite_until then '50ms'
          when v_until is null then '5s'
          else greatest(1, ceil(extract(epoch from v_until - clock_timestamp()) * 1000))::text end, true);
        execute format('lock table pgflow.%I in access exclusive mode', v_table);
        v_until := coalesce(v_until, clock_timestamp() + v_patience);
      end loop;
      exit;
    exception when lock_not_available or deadlock_detected then
      if clock_timestamp() > v_end then
        raise exception using errcode = 'lock_not_available',
          message = format('the table pgflow.%s is in use', v_table),
          detail = format('Transactions that keep it: %s.', (
            select string_agg(distinct format('pid %s', l.pid), ', ') from pg_catalog.pg_locks l
            where l.relation = to_regclass('pgflow.' || v_table) and l.granted and l.pid <> pg_backend_pid())),
          hint = 'Run the upgrade again when they have ended; pg_stat_activity tells what they do.';
      end if;
    end;
    perform pg_sleep(0.01 + 0.05 * random());
  end loop;
  perform set_config('lock_timeout', v_lock_timeout, true);
end
$do$;
