-- list_flows: the flows, their current version, its number of steps, their runs by status, and the live workers that
-- serve the current version.
-- Locks: none.  Cost: reads all runs.  Raises: nothing.
create function pgflow.list_flows() returns table (
  flow_slug text,
  current_version int,
  steps_count int,
  runs jsonb,
  live_workers int
)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
begin
  return query
  select f.flow_slug, f.current_version,
    (
      select count(*)::int from pgflow.steps s
      where s.flow_slug = f.flow_slug and s.flow_version = f.current_version
    ),
    (
      select coalesce(jsonb_object_agg(c.status, c.n), '{}')
      from (select r.status, count(*) as n from pgflow.runs r where r.flow_slug = f.flow_slug group by r.status) c
    ),
    (
      select count(*)::int from pgflow.workers w
      where w.stopped_at is null and w.last_heartbeat_at + w.lease_seconds * interval '1 second' >= pgflow._now()
        and exists (
          select from unnest(w.flow_slugs, w.flow_versions) x(flow_slug, flow_version)
          where x.flow_slug = f.flow_slug and x.flow_version = f.current_version)
    )
  from pgflow.flows f
  order by f.flow_slug;
end
$fn$;
