-- delete_flow_and_data: remove a flow: its definition in all versions, and all of its runs, open ones too, with their
-- rows. What workers still hand in for them is refused.
-- Locks: the flow's row, then the table runs against writers and lockers, as drop_flow_version does.
-- Writes: flows, flow_versions, steps, deps, lanes, runs, step_states, step_tasks, task_attempts.
-- Idempotent: yes, an unknown flow is no error.  Raises: nothing.
create function pgflow.delete_flow_and_data(p_flow_slug text) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform 1 from pgflow.flows f where f.flow_slug = p_flow_slug for update;
  -- also waits for transactions that have started a run and are not committed yet
  lock table pgflow.runs in exclusive mode;

  with gone as (
    delete from pgflow.runs r where r.flow_slug = p_flow_slug returning r.run_id
  ),
  gone_states as (
    delete from pgflow.step_states st using gone g where st.run_id = g.run_id
  ),
  gone_tasks as (
    delete from pgflow.step_tasks t using gone g where t.run_id = g.run_id
  )
  delete from pgflow.task_attempts a using gone g where a.run_id = g.run_id;

  -- versions, steps, deps and lanes go with it
  delete from pgflow.flows f where f.flow_slug = p_flow_slug;
end
$fn$;
