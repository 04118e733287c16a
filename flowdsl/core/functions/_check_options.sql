-- _check_options: refuse options out of their bounds; null is always fine. p_what names the flow or step.
-- Locks: none.  Raises: PF400.
create function pgflow._check_options(
  p_what text,
  p_max_attempts int,
  p_base_delay int,
  p_timeout int,
  p_start_delay int,
  p_max_delay int,
  p_queue text,
  p_deadline int default null
) returns void
language plpgsql immutable
set search_path = ''
as $fn$
declare
  v_problem text := case
    when p_max_attempts < 1 then format('max_attempts must be at least 1, not %s', p_max_attempts)
    when p_base_delay < 0 then format('base_delay must not be negative, but is %s', p_base_delay)
    when p_timeout < 1 then format('timeout must be at least 1 second, not %s', p_timeout)
    when p_start_delay < 0 then format('start_delay must not be negative, but is %s', p_start_delay)
    when p_max_delay < 0 then format('max_delay must not be negative, but is %s', p_max_delay)
    when p_deadline < 1 then format('deadline must be at least 1 second, not %s', p_deadline)
    when not pgflow._is_valid_queue(p_queue) then format('queue %L must have 1 to 128 characters', p_queue)
  end;
begin
  if v_problem is not null then
    perform pgflow._refuse('PF400', format('%s: %s', p_what, v_problem),
      'Give a value that is allowed, or null for the default.');
  end if;
end
$fn$;
