-- awkward_predicate: new flow, 1 step (fingerprint bacaee8988373c42)
--   safe
--     no run of it exists yet
-- typed: new flow, 2 steps (fingerprint 1f673fb856d63e2b)
--   safe
--     no run of it exists yet
begin;
select pgflow.create_flow(
  'awkward_predicate',
  max_attempts => 3,
  base_delay => 5,
  max_delay => 3600,
  timeout => 60,
  queue => null,
  priority => 0,
  version => 1,
  fingerprint => 'bacaee8988373c42',
  output_step => null
);
select pgflow.add_step(
  'awkward_predicate',
  'only',
  deps_slugs => '{}'::text[],
  step_type => 'single',
  uses_run_input => true,
  start_delay => 0,
  input_predicate => E'$."it''s \\"x\\" \\\\ :y" == "100 % {{ x }}"',
  version => 1
);
select pgflow.create_flow(
  'typed',
  max_attempts => 3,
  base_delay => 5,
  max_delay => 3600,
  timeout => 60,
  queue => null,
  priority => 0,
  input_schema => '{"properties": {"url": {"type": "string"}}, "required": ["url"], "type": "object"}'::jsonb,
  output_schema => '{"type": "number"}'::jsonb,
  version => 1,
  fingerprint => '1f673fb856d63e2b',
  output_step => 'total'
);
select pgflow.add_step(
  'typed',
  'find',
  deps_slugs => '{}'::text[],
  step_type => 'single',
  uses_run_input => true,
  start_delay => 0,
  input_schema => '{
    "properties": {"run": {"properties": {"url": {"type": "string"}}, "required": ["url"], "type": "object"}},
    "required": ["run"],
    "type": "object"
  }'::jsonb,
  output_schema => E'{
    "properties": {
      "it''s \\"x\\" \\\\ :y %": {"type": "string"},
      "lines": {
        "items": {
          "properties": {"count": {"type": "integer"}, "name": {"type": "string"}, "price": {"type": "number"}},
          "required": ["price", "name"],
          "type": "object"
        },
        "type": "array"
      }
    },
    "required": ["lines", "it''s \\"x\\" \\\\ :y %"],
    "type": "object"
  }'::jsonb,
  version => 1
);
select pgflow.add_step(
  'typed',
  'total',
  deps_slugs => array['find'],
  step_type => 'single',
  uses_run_input => false,
  start_delay => 0,
  input_schema => E'{
    "properties": {
      "find": {
        "properties": {
          "it''s \\"x\\" \\\\ :y %": {"type": "string"},
          "lines": {
            "items": {
              "properties": {"count": {"type": "integer"}, "name": {"type": "string"}, "price": {"type": "number"}},
              "required": ["price", "name"],
              "type": "object"
            },
            "type": "array"
          }
        },
        "required": ["lines", "it''s \\"x\\" \\\\ :y %"],
        "type": "object"
      }
    },
    "required": ["find"],
    "type": "object"
  }'::jsonb,
  output_schema => '{"type": "number"}'::jsonb,
  version => 1
);
commit;
