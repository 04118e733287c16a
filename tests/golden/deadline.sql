-- conditional: options of version 1 (fingerprint 8b5441aa816db472)
--   options
--     ~ deadline 86400 -> 3600 (of runs that start from now on)
--   safe
--     runs in flight take the new options from their next attempt on
begin;
select pgflow.set_flow_options(
  'conditional',
  max_attempts => 3,
  base_delay => 5,
  timeout => 60,
  max_delay => 3600,
  queue => null,
  deadline => 3600,
  priority => 0
);
commit;
