-- deps: the edges of each version of a flow. The primary key serves "who depends on this step". Both indexes begin with a step,
-- so that neither look-up can take the wrong one and read a whole flow.
create table pgflow.deps (
  flow_slug text not null,
  dep_slug text not null,
  step_slug text not null,
  created_at timestamptz not null default now(),
  flow_version int not null default 1,
  constraint deps_pkey primary key (dep_slug, flow_slug, flow_version, step_slug),
  constraint dependency_is_a_step foreign key (flow_slug, flow_version, dep_slug) references pgflow.steps on delete cascade,
  constraint dependent_is_a_step foreign key (flow_slug, flow_version, step_slug) references pgflow.steps on delete cascade,
  constraint no_step_depends_on_itself check (dep_slug <> step_slug)
);
-- "what does this step depend on": building inputs
create index deps_by_step_idx on pgflow.deps (step_slug, flow_slug, flow_version);
