-- conditional: new flow, 5 steps (fingerprint 8b5441aa816db472)
--   safe
--     no run of it exists yet
begin;
select pgflow.create_flow(
  'conditional',
  max_attempts => 3,
  base_delay => 5,
  max_delay => 3600,
  timeout => 60,
  queue => null,
  priority => 0,
  deadline => 86400,
  version => 1,
  fingerprint => '8b5441aa816db472',
  output_step => null
);
select pgflow.add_step(
  'conditional',
  'judge',
  deps_slugs => '{}'::text[],
  step_type => 'single',
  uses_run_input => true,
  start_delay => 0,
  version => 1
);
select pgflow.add_step(
  'conditional',
  'escalate',
  deps_slugs => array['judge'],
  step_type => 'single',
  uses_run_input => true,
  start_delay => 0,
  required_input_pattern => '{"judge": {"label": "bad"}}'::jsonb,
  forbidden_input_pattern => '{"run": {"quiet": true}}'::jsonb,
  version => 1
);
select pgflow.add_step(
  'conditional',
  'insist',
  deps_slugs => array['judge'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  required_input_pattern => E'{"${mako} <% x %> @param": ["${mako} <% x %> @param", {"nested": "${mako} <% x %> @param"}], "-- comment; /* block": ["-- comment; /* block", {"nested": "-- comment; /* block"}], "0": [null, true, false, 0, -1.5, 1e+20], "?": ["?", {"nested": "?"}], "\\\\:escaped \\\\": ["\\\\:escaped \\\\", {"nested": "\\\\:escaped \\\\"}], "back\\\\slash \\\\'' \\\\n \\\\\\\\": ["back\\\\slash \\\\'' \\\\n \\\\\\\\", {"nested": "back\\\\slash \\\\'' \\\\n \\\\\\\\"}], "colon :name ::cast :''x'' :\\"y\\"": ["colon :name ::cast :''x'' :\\"y\\"", {"nested": "colon :name ::cast :''x'' :\\"y\\""}], "dollars $$ $fn$ $1": ["dollars $$ $fn$ $1", {"nested": "dollars $$ $fn$ $1"}], "it''s \\"quoted\\" ''''twice''''": ["it''s \\"quoted\\" ''''twice''''", {"nested": "it''s \\"quoted\\" ''''twice''''"}], "jinja {{ 7 * 7 }} {% raw %} {# no #}": ["jinja {{ 7 * 7 }} {% raw %} {# no #}", {"nested": "jinja {{ 7 * 7 }} {% raw %} {# no #}"}], "new\\nline \\r\\n tab\\t": ["new\\nline \\r\\n tab\\t", {"nested": "new\\nline \\r\\n tab\\t"}], "percent % %s %(x)s %%": ["percent % %s %(x)s %%", {"nested": "percent % %s %(x)s %%"}], "python \\"\\"\\" '''''' r\\"\\" \\u001b[31m": ["python \\"\\"\\" '''''' r\\"\\" \\u001b[31m", {"nested": "python \\"\\"\\" '''''' r\\"\\" \\u001b[31m"}], "žluťoučký 🐘 ‮   ﻿ é": ["žluťoučký 🐘 ‮   ﻿ é", {"nested": "žluťoučký 🐘 ‮   ﻿ é"}]}'::jsonb,
  when_unmet => 'fail',
  version => 1
);
select pgflow.add_step(
  'conditional',
  'tell',
  deps_slugs => array['escalate'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  forbidden_input_pattern => E'{"${mako} <% x %> @param": ["${mako} <% x %> @param", {"nested": "${mako} <% x %> @param"}], "-- comment; /* block": ["-- comment; /* block", {"nested": "-- comment; /* block"}], "0": [null, true, false, 0, -1.5, 1e+20], "?": ["?", {"nested": "?"}], "\\\\:escaped \\\\": ["\\\\:escaped \\\\", {"nested": "\\\\:escaped \\\\"}], "back\\\\slash \\\\'' \\\\n \\\\\\\\": ["back\\\\slash \\\\'' \\\\n \\\\\\\\", {"nested": "back\\\\slash \\\\'' \\\\n \\\\\\\\"}], "colon :name ::cast :''x'' :\\"y\\"": ["colon :name ::cast :''x'' :\\"y\\"", {"nested": "colon :name ::cast :''x'' :\\"y\\""}], "dollars $$ $fn$ $1": ["dollars $$ $fn$ $1", {"nested": "dollars $$ $fn$ $1"}], "it''s \\"quoted\\" ''''twice''''": ["it''s \\"quoted\\" ''''twice''''", {"nested": "it''s \\"quoted\\" ''''twice''''"}], "jinja {{ 7 * 7 }} {% raw %} {# no #}": ["jinja {{ 7 * 7 }} {% raw %} {# no #}", {"nested": "jinja {{ 7 * 7 }} {% raw %} {# no #}"}], "new\\nline \\r\\n tab\\t": ["new\\nline \\r\\n tab\\t", {"nested": "new\\nline \\r\\n tab\\t"}], "percent % %s %(x)s %%": ["percent % %s %(x)s %%", {"nested": "percent % %s %(x)s %%"}], "python \\"\\"\\" '''''' r\\"\\" \\u001b[31m": ["python \\"\\"\\" '''''' r\\"\\" \\u001b[31m", {"nested": "python \\"\\"\\" '''''' r\\"\\" \\u001b[31m"}], "žluťoučký 🐘 ‮   ﻿ é": ["žluťoučký 🐘 ‮   ﻿ é", {"nested": "žluťoučký 🐘 ‮   ﻿ é"}]}'::jsonb,
  when_unmet => 'skip-cascade',
  when_exhausted => 'skip',
  version => 1
);
select pgflow.add_step(
  'conditional',
  'each',
  deps_slugs => array['judge'],
  step_type => 'map',
  map_over => 'judge',
  uses_run_input => false,
  start_delay => 0,
  when_exhausted => 'skip-cascade',
  version => 1
);
commit;
