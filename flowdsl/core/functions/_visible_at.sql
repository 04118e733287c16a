-- _visible_at: when a task with this delay (seconds) is due; null when there is no delay, so that it is ready at once.
-- Stable, not immutable, like the addition in it: otherwise it could not be inlined.
-- Locks: none.  Raises: nothing.
create function pgflow._visible_at(p_now timestamptz, p_delay int) returns timestamptz
language sql stable parallel safe
return case when p_delay > 0 then p_now + p_delay * interval '1 second' end;
