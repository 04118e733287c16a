-- hello: version 2, was 1 (fingerprint 5d7e6afa99badd33)
--   steps
--     + print_it: takes shout
--   returns
--     ~ the leaf steps; was shout
--   options
--     ~ timeout 60 -> 5
--   safe
--     workers with this code carry out the runs of version 1 too
--     runs in flight go on without what is added (print_it)
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
  serves_from => 1,
  accepts_from => 1,
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
