-- workers: who serves what, and until when its leases hold: last_heartbeat_at + lease_seconds.
create table pgflow.workers (
  worker_id uuid not null,
  queue_name text not null default '',
  function_name text not null default '',         -- a free label
  started_at timestamptz not null default now(),
  last_heartbeat_at timestamptz not null default now(),
  deprecated_at timestamptz,                      -- an operator asks it to drain
  stopped_at timestamptz,
  lease_seconds int,                              -- null: no lease, as for rows written by hand; see requeue_stalled_tasks
  flow_slugs text[] not null default '{}',
  fingerprints text[] not null default '{}',      -- of its flows' shapes: it serves the versions that have them
  queues text[],                                  -- null: every queue of its flows
  isolating bool not null default false,          -- it holds a suspect alone; see claim_tasks
  lane_ids int[] not null default '{}',           -- what the three columns above come to; renewed by each heartbeat
  constraint workers_pkey primary key (worker_id),
  constraint lease_is_positive check (lease_seconds > 0),
  constraint served_shapes_match_flows check (cardinality(flow_slugs) = cardinality(fingerprints))
) with (fillfactor = 50);
