-- find_runs: ids of runs that begin with the prefix (hexadecimal, dashes where a uuid has them), at most max_runs.
-- Locks: none.  Cost: a range of the primary key.  Raises: PF400 a prefix that begins no uuid.
create function pgflow.find_runs(prefix text, max_runs int default 2) returns setof uuid
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_low text := lower(find_runs.prefix);
begin
  if v_low is null or length(v_low) > 36
    or v_low || substr('00000000-0000-0000-0000-000000000000', length(v_low) + 1)
      !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    perform pgflow._refuse('PF400', format('%L is not the beginning of a run id', find_runs.prefix),
      'A run id is a uuid: give its first hexadecimal digits.');
  end if;
  return query
  select r.run_id from pgflow.runs r
  where r.run_id >= (v_low || substr('00000000-0000-0000-0000-000000000000', length(v_low) + 1))::uuid
    and r.run_id <= (v_low || substr('ffffffff-ffff-ffff-ffff-ffffffffffff', length(v_low) + 1))::uuid
  order by r.run_id limit greatest(find_runs.max_runs, 0);
end
$fn$;
