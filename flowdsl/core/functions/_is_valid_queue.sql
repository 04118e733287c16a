-- _is_valid_queue: may this be the name of a queue? 1-128 characters, not only blanks; null means "the default".
-- Locks: none.  Raises: nothing.
create function pgflow._is_valid_queue(p_queue text) returns bool
language sql immutable parallel safe
set search_path = ''
as $fn$
  select p_queue is null or (length(p_queue) between 1 and 128 and p_queue ~ '[^[:space:]]')
$fn$;
