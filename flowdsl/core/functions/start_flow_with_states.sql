-- start_flow_with_states: start_flow, and the run with its steps as get_run_with_states returns them.
-- Locks, writes, raises: as start_flow.  Idempotent: with run_id.
create function pgflow.start_flow_with_states(flow_slug text, input jsonb, run_id uuid default null) returns jsonb
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_run_id uuid;
begin
  select r.run_id into v_run_id
  from pgflow.start_flow(
    start_flow_with_states.flow_slug, start_flow_with_states.input, start_flow_with_states.run_id) r;
  return pgflow.get_run_with_states(v_run_id);
end
$fn$;
