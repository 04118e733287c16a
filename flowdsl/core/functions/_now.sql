-- _now: the database's clock, the only one the core reads. Tests set pgflow.now to freeze or move it.
-- Not now(): that is the transaction's start, and a long transaction would hand out shortened leases.
-- A body that is parsed once needs no search_path and can be inlined.
-- Locks: none.  Raises: nothing.
create function pgflow._now() returns timestamptz
language sql volatile parallel safe
return coalesce(nullif(current_setting('pgflow.now', true), '')::timestamptz, clock_timestamp());
