-- open_runs: how many runs of each version of these flows (null: of all) are open; versions without any are left out.
-- Locks: none.  Cost: reads the runs of these flows.  Raises: nothing.
create function pgflow.open_runs(flow_slugs text[] default null)
returns table (flow_slug text, flow_version int, runs bigint)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
begin
  return query
  select r.flow_slug, r.flow_version, count(*)
  from pgflow.runs r
  where r.status = 'started' and (open_runs.flow_slugs is null or r.flow_slug = any (open_runs.flow_slugs))
  group by r.flow_slug, r.flow_version
  order by r.flow_slug, r.flow_version;
end
$fn$;
