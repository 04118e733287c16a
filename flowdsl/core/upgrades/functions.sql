-- functions: before the functions of the new version are created in place of the old ones: takes away those with a signature that is
-- no longer among them.
-- One whose name is gone altogether is only marked, since calls that began before the upgrade may still get to it; the next
-- upgrade takes it away. (One whose name stays would be a second function of that name.)
-- Locks: none but the catalogue's.  Idempotent: yes; a second time it takes the marked ones.
do $do$
declare
  v_functions constant text[] := array[/*functions*/];
  v_mark constant text := 'Gone: kept for calls that began before the upgrade of the core. The next upgrade drops it.';
  v_search_path constant text := current_setting('search_path');
  -- made in this very transaction, so that no call can have begun
  v_is_new constant bool := exists (
    select from pg_catalog.pg_namespace n where n.nspname = 'pgflow' and n.xmin = pg_current_xact_id()::xid);
  v_function record;
begin
  -- so that types are written in full, as in the list
  perform set_config('search_path', 'pg_catalog', true);
  for v_function in
    select p.oid::regprocedure as signature, obj_description(p.oid, 'pg_proc') as remark,
      exists (select from unnest(v_functions) f where starts_with(f, p.proname || '(')) as has_successor
    from pg_catalog.pg_proc p
    where p.pronamespace = 'pgflow'::regnamespace
      and format('%s(%s) %s', p.proname, pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid))
        <> all (v_functions)
  loop
    if v_function.has_successor or v_is_new or v_function.remark = v_mark then
      execute format('drop function %s', v_function.signature);
    else
      execute format('comment on function %s is %L', v_function.signature, v_mark);
    end if;
  end loop;
  perform set_config('search_path', v_search_path, true);
end
$do$;
