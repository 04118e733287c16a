-- _exhaust_steps: what follows from tasks that have just failed for good, by their steps' when_exhausted: the step and its
-- run fail, or the step is skipped (handler_failed), alone or with all that depends on it. A step with several such tasks
-- counts once, with the first one's message. A run that fails in this call skips nothing.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._exhaust_steps(p_run_ids uuid[], p_step_slugs text[], p_messages text[], p_now timestamptz)
returns void
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_memoize = off
set jit = off
as $fn$
declare
  v_failed uuid[];
  v_skip record;
  v_skipped record;
begin
  with failed as (
    update pgflow.step_states st set
      status = 'failed', failed_at = greatest(p_now, st.started_at), error_message = g.message
    from pgflow._exhausted(p_run_ids, p_step_slugs, p_messages) g
    where st.ctid = g.tid and g.when_exhausted = 'fail'
    returning st.run_id
  )
  select array_agg(distinct f.run_id) into v_failed from failed f;
  if v_failed is not null then
    perform pgflow._end_runs(v_failed, 'failed', null, p_now);
  end if;

  select array_agg(g.run_id) as run_ids, array_agg(g.step_slug) as step_slugs, array_agg(g.message) as messages,
    array_agg(g.when_exhausted = 'skip-cascade') as cascades
  into v_skip
  from pgflow._exhausted(p_run_ids, p_step_slugs, p_messages) g;
  if v_skip.run_ids is not null then
    select * into v_skipped from pgflow._skip_steps(
      v_skip.run_ids, v_skip.step_slugs, 'handler_failed', v_skip.messages, v_skip.cascades, p_now);
    perform pgflow._settle_steps(v_skipped.run_ids, v_skipped.step_slugs, p_now);
  end if;
end
$fn$;
