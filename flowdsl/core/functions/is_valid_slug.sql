-- is_valid_slug: may this be the name of a flow or a step? 1-128 characters, [A-Za-z_][A-Za-z0-9_]*, not 'run'.
-- Locks: none.  Raises: nothing; null is not a valid slug.
create function pgflow.is_valid_slug(slug text) returns bool
language sql immutable parallel safe
set search_path = ''
as $fn$
  select coalesce(length(slug) <= 128 and slug ~ '^[A-Za-z_][A-Za-z0-9_]*$' and slug <> 'run', false)
$fn$;
