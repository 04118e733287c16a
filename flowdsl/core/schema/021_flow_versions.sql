-- flow_versions: one row per compiled shape of a flow; a run ends on the version it began with.
-- fingerprint: names the shape, so that a worker finds the version its code belongs to.
create table pgflow.flow_versions (
  flow_slug text not null,
  flow_version int not null,
  fingerprint text,
  output_step text,                               -- the step whose output is the run's; null: the leaf steps' by slug
  created_at timestamptz not null default now(),
  constraint flow_versions_pkey primary key (flow_slug, flow_version),
  constraint flow_version_belongs_to_a_flow foreign key (flow_slug) references pgflow.flows on delete cascade,
  constraint flow_version_number_is_positive check (flow_version >= 1)
);
