-- _check_batch: refuse parallel arrays of different length; null counts as a length of its own.
-- Locks: none.  Raises: PF400.
create function pgflow._check_batch(p_function text, p_lengths int[]) returns void
language plpgsql immutable
set search_path = ''
as $fn$
begin
  if array_position(p_lengths, null) is not null or p_lengths[1] <> any (p_lengths) then
    perform pgflow._refuse('PF400',
      format('%s got arrays of different length: %s', p_function, array_to_string(p_lengths, ', ', 'null')),
      'Give arrays of one length, an element of each for every task.');
  end if;
end
$fn$;
