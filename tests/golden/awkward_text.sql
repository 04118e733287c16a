-- awkward: new flow, 16 steps (fingerprint c725a4283fc6c398)
--   safe
--     no run of it exists yet
begin;
select pgflow.create_flow(
  'awkward',
  max_attempts => 3,
  base_delay => 5,
  max_delay => 3600,
  timeout => 60,
  queue => E'it''s the "queue" \\ :of % {{ all }}',
  priority => 7,
  version => 1,
  fingerprint => 'c725a4283fc6c398',
  output_step => null
);
select pgflow.add_step(
  'awkward',
  'list_it',
  deps_slugs => '{}'::text[],
  step_type => 'single',
  uses_run_input => true,
  max_attempts => 5,
  base_delay => 0,
  max_delay => 10,
  timeout => 30,
  start_delay => 3,
  version => 1
);
select pgflow.add_step(
  'awkward',
  'each',
  deps_slugs => array['list_it'],
  step_type => 'map',
  map_over => 'list_it',
  uses_run_input => true,
  start_delay => 0,
  retry_on => array['ValueError', 'shop.errors.Gone'],
  priority => -5,
  version => 1
);
select pgflow.add_step(
  'awkward',
  'root_map',
  deps_slugs => '{}'::text[],
  step_type => 'map',
  map_over => 'run',
  uses_run_input => false,
  start_delay => 0,
  queue => 'it''s "quoted" ''''twice''''',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_0',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => 'it''s "quoted" ''''twice''''',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_1',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => 'colon :name ::cast :''x'' :"y"',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_2',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => 'percent % %s %(x)s %%',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_3',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => 'jinja {{ 7 * 7 }} {% raw %} {# no #}',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_4',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => E'back\\slash \\'' \\n \\\\',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_5',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => 'dollars $$ $fn$ $1',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_6',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => 'new
line 
 tab	',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_7',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => 'žluťoučký 🐘 ‮   ﻿ é',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_8',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => '-- comment; /* block',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_9',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => 'python """ '''''' r"" [31m',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_10',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => '${mako} <% x %> @param',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_11',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => '?',
  version => 1
);
select pgflow.add_step(
  'awkward',
  'text_12',
  deps_slugs => array['each'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  queue => E'\\:escaped \\',
  version => 1
);
commit;
