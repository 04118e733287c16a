-- The schema and the two sequences that order everything.
-- message_ids: the order in which tasks became ready; claims follow it. Never cached: the claim floor relies on it.
-- fences: one number per claim; every later write about the claimed tasks names it.
create schema pgflow;
comment on schema pgflow is 'flowdsl: typed workflows executed by PostgreSQL';
create sequence pgflow.message_ids as bigint cache 1;
create sequence pgflow.fences as bigint cache 1;
