-- hello: version 2 (fingerprint 5d7e6afa99badd33)
--   added: print_it
--   returns the leaf steps, was shout
--   timeout 60 -> 5
--   needs drain: runs in flight end on version 1: keep workers with that code until they have
begin;
select pgflow.set_flow_options(
  'hello',
  max_attempts => 3,
  base_delay => 5,
  timeout => 5,
  max_delay => 3600,
  queue => null,
  priority => 0
);
select pgflow.create_flow(
  'hello',
  version => 2,
  fingerprint => '5d7e6afa99badd33',
  output_step => null
);
select pgflow.add_step(
  'hello',
  'greet',
  deps_slugs => '{}'::text[],
  step_type => 'single',
  uses_run_input => true,
  start_delay => 0,
  version => 2
);
select pgflow.add_step(
  'hello',
  'shout',
  deps_slugs => array['greet'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  version => 2
);
select pgflow.add_step(
  'hello',
  'print_it',
  deps_slugs => array['shout'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  version => 2
);
commit;
