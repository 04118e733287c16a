-- register_worker: announce a worker that serves these flows, each in the versions whose shape has this fingerprint.
-- queues: only tasks of these queues; null: all. Its leases hold for lease_seconds after each heartbeat.
-- Returns the number of lanes it serves now.
-- Locks: the worker's row.  Writes: workers.  Idempotent: yes, for a worker that has not stopped.
-- Raises: PF400 arrays or lease that do not fit, PF412 the worker stopped, PF414 a flow or shape is not compiled.
create function pgflow.register_worker(
  worker_id uuid,
  flow_slugs text[],
  fingerprints text[],
  queues text[] default null,
  function_name text default '',
  lease_seconds int default 30
) returns int
language plpgsql volatile
set search_path = ''
set enable_seqscan = off
as $fn$
#variable_conflict use_column
declare
  v_missing text;
begin
  if register_worker.worker_id is null then
    perform pgflow._refuse('PF400', 'register_worker: worker_id is null', 'Make one up: gen_random_uuid().');
  end if;
  perform pgflow._check_batch('register_worker', array[
    cardinality(register_worker.flow_slugs), cardinality(register_worker.fingerprints)]);
  if register_worker.lease_seconds is null or register_worker.lease_seconds < 1 then
    perform pgflow._refuse('PF400',
      format('register_worker: lease_seconds must be at least 1, not %s', coalesce(register_worker.lease_seconds::text, 'null')),
      'Give a few times the interval of the heartbeats; 30 is usual.');
  end if;

  select string_agg(
    case when exists (select from pgflow.flows f where f.flow_slug = g.flow_slug)
      then format('flow %L is in the database, but in another shape than in this program', g.flow_slug)
      else format('flow %L is not in the database', g.flow_slug) end,
    '; ' order by g.i)
  into v_missing
  from unnest(register_worker.flow_slugs, register_worker.fingerprints) with ordinality g(flow_slug, fingerprint, i)
  where not exists (
    select from pgflow.flow_versions fv where fv.flow_slug = g.flow_slug and fv.fingerprint = g.fingerprint);
  if v_missing is not null then
    perform pgflow._refuse('PF414', v_missing, 'Run: pgflow compile, then alembic upgrade head.');
  end if;

  insert into pgflow.workers as w (
    worker_id, queue_name, function_name, started_at, last_heartbeat_at, lease_seconds, flow_slugs, fingerprints, queues
  ) values (
    register_worker.worker_id, coalesce(array_to_string(register_worker.queues, ','), ''),
    coalesce(register_worker.function_name, ''), pgflow._now(), pgflow._now(), register_worker.lease_seconds,
    register_worker.flow_slugs, register_worker.fingerprints, register_worker.queues
  )
  on conflict (worker_id) do update set
    last_heartbeat_at = excluded.last_heartbeat_at, lease_seconds = excluded.lease_seconds,
    flow_slugs = excluded.flow_slugs, fingerprints = excluded.fingerprints, queues = excluded.queues
  where w.stopped_at is null;
  if not found then
    perform pgflow._refuse('PF412', format('worker %s has stopped', register_worker.worker_id),
      'Register under a new worker_id.');
  end if;
  perform pgflow.heartbeat_worker(register_worker.worker_id);
  return (select cardinality(w.lane_ids) from pgflow.workers w where w.worker_id = register_worker.worker_id);
end
$fn$;
