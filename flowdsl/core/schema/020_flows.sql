-- flows: one row per flow, with the options its steps inherit and the version that new runs get.
create table pgflow.flows (
  flow_slug text not null,
  opt_max_attempts int not null default 3,
  opt_base_delay int not null default 5,          -- seconds
  opt_timeout int not null default 60,            -- seconds
  created_at timestamptz not null default now(),
  current_version int not null default 1,
  opt_max_delay int not null default 3600,        -- seconds; the cap of the backoff
  opt_queue text,                                 -- null: the queue is named like the flow
  opt_priority int not null default 0,            -- higher is claimed first
  opt_deadline int,                               -- seconds from a run's start to its end; null: none
  retired_at timestamptz,                         -- set: no new runs; open ones go on
  constraint flows_pkey primary key (flow_slug),
  constraint flow_slug_is_valid check (pgflow.is_valid_slug(flow_slug)),
  constraint flow_has_at_least_one_attempt check (opt_max_attempts >= 1),
  constraint flow_base_delay_is_not_negative check (opt_base_delay >= 0),
  constraint flow_timeout_is_positive check (opt_timeout > 0),
  constraint flow_max_delay_is_not_negative check (opt_max_delay >= 0),
  constraint flow_queue_is_valid check (pgflow._is_valid_queue(opt_queue)),
  constraint flow_version_is_positive check (current_version >= 1),
  constraint flow_deadline_is_positive check (opt_deadline > 0)
);
