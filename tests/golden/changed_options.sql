-- hello: options of version 1 (fingerprint ec53d47d67303c24)
--   options
--     ~ timeout 60 -> 5
--     ~ shout: max_attempts default -> 9
--   safe
--     runs in flight take the new options from their next attempt on
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
select pgflow.set_step_options(
  'hello',
  1,
  'shout',
  max_attempts => 9,
  base_delay => null,
  timeout => null,
  start_delay => 0,
  max_delay => null,
  retry_on => null,
  queue => null,
  priority => null
);
commit;
