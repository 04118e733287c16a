-- maybe_complete_run: complete an open run of which no step remains. The engine does so by itself; this is for states
-- written by hand.
-- Locks: the run.  Writes: runs; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow.maybe_complete_run(run_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  update pgflow.runs r set
    status = 'completed', completed_at = greatest(pgflow._now(), r.started_at), deadline_at = null,
    output = pgflow._run_output(r.run_id, r.flow_slug, r.flow_version)
  where r.run_id = maybe_complete_run.run_id and r.status = 'started' and r.remaining_steps = 0;
  if found then
    perform pg_notify('pgflow_runs', r.run_id::text)
    from pgflow.runs r where r.run_id = maybe_complete_run.run_id and r.watched;
  end if;
end
$fn$;
