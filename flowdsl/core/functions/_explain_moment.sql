-- _explain_moment: a time as it stands in sentences for people: 2026-11-21 12:00:00 UTC.
-- Locks: none.  Raises: nothing.
create function pgflow._explain_moment(p_at timestamptz) returns text
language sql stable parallel safe
return to_char(p_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"');
