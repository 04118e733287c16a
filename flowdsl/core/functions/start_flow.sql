-- start_flow: start one run; returns its row. With a run_id that exists with the same flow and input: that run's row.
-- Locks, writes, raises: as start_flows, which it wraps.  Idempotent: with run_id.
create function pgflow.start_flow(flow_slug text, input jsonb, run_id uuid default null) returns setof pgflow.runs
language plpgsql volatile
set search_path = ''
set enable_seqscan = off
as $fn$
declare
  v_run_id uuid;
begin
  select s into v_run_id
  from pgflow.start_flows(
    start_flow.flow_slug, array[start_flow.input],
    case when start_flow.run_id is not null then array[start_flow.run_id] end) s;
  return query select r.* from pgflow.runs r where r.run_id = v_run_id;
end
$fn$;
