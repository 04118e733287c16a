-- calculate_retry_delay: seconds until the next attempt, floor(base_delay * 2^attempts_count), at most 2^31 - 1.
-- Exact: cap and jitter belong to whoever schedules (fail_tasks).
-- Locks: none.  Raises: nothing.
create function pgflow.calculate_retry_delay(base_delay numeric, attempts_count int) returns int
language sql immutable strict parallel safe
set search_path = ''
as $fn$
  select case
    when base_delay <= 0 then 0
    -- 2^31 is beyond the limit for every base of a second or more; smaller bases need a few more doublings
    when attempts_count >= 62 then 2147483647
    else least(floor(base_delay * power(2::numeric, attempts_count)), 2147483647)::int
  end
$fn$;
