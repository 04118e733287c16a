-- hello: new flow, 2 steps (fingerprint ec53d47d67303c24)
--   safe
--     no run of it exists yet
begin;
select pgflow.create_flow(
  'hello',
  max_attempts => 3,
  base_delay => 5,
  max_delay => 3600,
  timeout => 60,
  queue => null,
  priority => 0,
  version => 1,
  fingerprint => 'ec53d47d67303c24',
  output_step => 'shout'
);
select pgflow.add_step(
  'hello',
  'greet',
  deps_slugs => '{}'::text[],
  step_type => 'single',
  uses_run_input => true,
  start_delay => 0,
  version => 1
);
select pgflow.add_step(
  'hello',
  'shout',
  deps_slugs => array['greet'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  version => 1
);
commit;
