-- watch_run: ask for a NOTIFY on pgflow_runs (payload: the run id) when the run ends; returns its present status.
-- Locks: the run's row.  Writes: runs.  Idempotent: yes.  Raises: PF405 unknown run.
create function pgflow.watch_run(run_id uuid) returns text
language plpgsql volatile
set search_path = ''
set enable_seqscan = off
as $fn$
declare
  v_status text;
begin
  update pgflow.runs r set watched = true
  where r.run_id = watch_run.run_id and r.status = 'started' and not r.watched;
  select r.status into v_status from pgflow.runs r where r.run_id = watch_run.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(watch_run.run_id);
  end if;
  return v_status;
end
$fn$;
