-- flow_versions: one row per compiled shape of a flow; a run ends on the version it began with.
-- fingerprint: names the shape, so that a worker finds the version its code belongs to.
create table pgflow.flow_versions (
  flow_slug text not null,
  flow_version int not null,
  fingerprint text,
  output_step text,                               -- the step whose output is the run's; null: the leaf steps' by slug
  created_at timestamptz not null default now(),
  input_schema jsonb,                             -- JSON Schema of a run's input; null: unknown
  output_schema jsonb,                            -- JSON Schema of a run's output; null: unknown
  serves_from int,                                -- its workers carry out runs from that version on; null: its own only
  accepts_from int,                               -- it starts for callers from that version on; null: its own only
  constraint flow_versions_pkey primary key (flow_slug, flow_version),
  constraint flow_version_belongs_to_a_flow foreign key (flow_slug) references pgflow.flows on delete cascade,
  constraint flow_version_number_is_positive check (flow_version >= 1),
  constraint version_serves_itself_and_earlier_ones check (serves_from between 1 and flow_version),
  constraint version_accepts_itself_and_earlier_ones check (accepts_from between 1 and flow_version)
);
