-- steps: the nodes of each version of a flow; null options are the flow's.
create table pgflow.steps (
  flow_slug text not null,
  step_slug text not null,
  step_index int not null default 0,
  step_type text not null default 'single',
  deps_count int not null default 0,
  opt_max_attempts int,
  opt_base_delay int,                             -- seconds
  opt_timeout int,                                -- seconds
  opt_start_delay int,                            -- seconds
  required_input_pattern jsonb,
  forbidden_input_pattern jsonb,
  when_unmet text not null default 'skip',
  when_exhausted text not null default 'fail',
  created_at timestamptz not null default now(),
  flow_version int not null default 1,
  opt_max_delay int,                              -- seconds
  opt_retry_on text[],                            -- names of error classes worth another attempt; null: all
  opt_queue text,
  opt_priority int,
  map_over text,                                  -- what a map runs over: a dependency, or 'run'; null for a single step
  uses_run_input bool not null default true,      -- whether the handler is given the run's input
  feeds_map bool not null default false,          -- a map runs over this step: its output must be an array
  lane_id int not null,                           -- filled by a trigger from queue and priority
  input_predicate jsonpath,                       -- a condition beside the patterns: must be true of the same JSON
  is_conditional bool not null generated always as (
    required_input_pattern is not null or forbidden_input_pattern is not null or input_predicate is not null
  ) stored,
  input_schema jsonb,                             -- JSON Schema of the object of what the step is given whole; null: unknown
  output_schema jsonb,                            -- JSON Schema of the whole step's output; null: unknown
  constraint steps_pkey primary key (flow_slug, flow_version, step_slug),
  -- the index first, so that no look-up of a step by its slug can take this for the primary key and read a whole flow
  constraint step_index_is_unique_in_a_flow unique (step_index, flow_slug, flow_version),
  constraint step_belongs_to_a_flow foreign key (flow_slug) references pgflow.flows on delete cascade,
  constraint step_slug_is_valid check (pgflow.is_valid_slug(step_slug)),
  constraint step_type_is_known check (step_type in ('single', 'map')),
  constraint step_counts_are_not_negative check (deps_count >= 0 and step_index >= 0),
  constraint step_has_at_least_one_attempt check (opt_max_attempts is null or opt_max_attempts >= 1),
  constraint step_delays_are_not_negative check (
    (opt_base_delay is null or opt_base_delay >= 0)
    and (opt_max_delay is null or opt_max_delay >= 0)
    and (opt_start_delay is null or opt_start_delay >= 0)
  ),
  constraint step_timeout_is_positive check (opt_timeout is null or opt_timeout > 0),
  constraint step_queue_is_valid check (pgflow._is_valid_queue(opt_queue)),
  constraint required_input_pattern_is_an_object check (
    required_input_pattern is null or jsonb_typeof(required_input_pattern) = 'object'
  ),
  constraint forbidden_input_pattern_is_an_object check (
    forbidden_input_pattern is null or jsonb_typeof(forbidden_input_pattern) = 'object'
  ),
  constraint when_unmet_is_known check (when_unmet in ('fail', 'skip', 'skip-cascade')),
  constraint when_exhausted_is_known check (when_exhausted in ('fail', 'skip', 'skip-cascade'))
);
