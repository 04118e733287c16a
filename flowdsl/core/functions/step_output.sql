-- step_output: a step's status and output in a run.
-- Locks: none.  Raises: PF405 unknown run, PF407 the run has no such step.
create function pgflow.step_output(run_id uuid, step_slug text, out status text, out output jsonb) returns record
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $fn$
begin
  select st.status, st.output into step_output.status, step_output.output
  from pgflow.step_states st where st.run_id = step_output.run_id and st.step_slug = step_output.step_slug;
  if not found then
    if not exists (select from pgflow.runs r where r.run_id = step_output.run_id) then
      perform pgflow._refuse_unknown_run(step_output.run_id);
    end if;
    perform pgflow._refuse('PF407', format('run %s has no step %L', step_output.run_id, step_output.step_slug),
      format('Its steps are: %s. Another version of the flow may have others.', (
        select string_agg(st.step_slug, ', ' order by st.step_slug)
        from pgflow.step_states st where st.run_id = step_output.run_id)));
  end if;
end
$fn$;
