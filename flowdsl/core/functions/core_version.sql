-- core_version: the schema version of the installed core; packages refuse another one than their own.
-- Locks: none.  Raises: nothing.
create function pgflow.core_version() returns int
language sql immutable parallel safe
set search_path = ''
as $fn$
  select 4
$fn$;
