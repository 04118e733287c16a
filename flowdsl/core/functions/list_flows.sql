-- list_flows: the versions of the flows that matter: each flow's current one, and older ones with open runs or live
-- workers; each with its number of steps, its runs by status, and the live workers that serve it: those of its shape, those of
-- a later one that serve it too, and those without a shape that read one of its queues (foreign ones), which do not keep an old version in the list.
-- A worker without a lease lives until it stops.
-- Locks: none.  Cost: reads all runs.  Raises: nothing.
create function pgflow.list_flows() returns table (
  flow_slug text,
  flow_version int,
  is_current bool,
  steps_count int,
  runs jsonb,
  live_workers int
)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_now timestamptz := pgflow._now();
begin
  return query
  with counted as (
    select c.flow_slug, c.flow_version, jsonb_object_agg(c.status, c.n) as runs, bool_or(c.status = 'started') as is_open
    from (select r.flow_slug, r.flow_version, r.status, count(*) as n from pgflow.runs r group by 1, 2, 3) c
    group by c.flow_slug, c.flow_version
  ),
  live as (
    select w.* from pgflow.workers w
    where w.stopped_at is null
      and (w.lease_seconds is null or w.last_heartbeat_at + w.lease_seconds * interval '1 second' >= v_now)
  ),
  serving as (
    select v.flow_slug, v.flow_version, w.worker_id, v.fingerprint = s.fingerprint as by_shape
    from live w
    cross join unnest(w.flow_slugs, w.fingerprints) s(flow_slug, fingerprint)
    join pgflow.flow_versions o on o.flow_slug = s.flow_slug and o.fingerprint = s.fingerprint
    join pgflow.flow_versions v on v.flow_slug = o.flow_slug
      and v.flow_version between coalesce(o.serves_from, o.flow_version) and o.flow_version
    union
    select l.flow_slug, l.flow_version, w.worker_id, false
    from live w
    join pgflow.lanes l on l.queue_name = w.queue_name
    where w.flow_slugs = '{}'
  ),
  served as (
    select s.flow_slug, s.flow_version, count(distinct s.worker_id)::int as workers, bool_or(s.by_shape) as by_shape
    from serving s
    group by s.flow_slug, s.flow_version
  ),
  versions as (
    select f.flow_slug, f.current_version as flow_version, true as is_current from pgflow.flows f
    union all
    select fv.flow_slug, fv.flow_version, false
    from pgflow.flow_versions fv join pgflow.flows f on f.flow_slug = fv.flow_slug
    where fv.flow_version <> f.current_version
  )
  select v.flow_slug, v.flow_version, v.is_current,
    (
      select count(*)::int from pgflow.steps s
      where s.flow_slug = v.flow_slug and s.flow_version = v.flow_version
    ),
    coalesce(c.runs, '{}'), coalesce(s.workers, 0)
  from versions v
  left join counted c on c.flow_slug = v.flow_slug and c.flow_version = v.flow_version
  left join served s on s.flow_slug = v.flow_slug and s.flow_version = v.flow_version
  where v.is_current or c.is_open or s.by_shape
  order by v.flow_slug, v.flow_version desc;
end
$fn$;
