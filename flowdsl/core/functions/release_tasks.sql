-- release_tasks: give claimed tasks back unfinished (a worker that stops): ready at once, no attempt used.
-- Locks: runs FOR NO KEY UPDATE by run_id; step_tasks under them.  Writes: step_tasks; NOTIFY.
-- Idempotent: yes; a second call is refused as lease_lost and changes nothing.  Raises: PF400.
create function pgflow.release_tasks(run_ids uuid[], step_slugs text[], task_indexes int[], fences bigint[])
returns setof pgflow.task_refusal
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_lanes int[];
begin
  perform pgflow._check_batch('release_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences)]);
  perform 1 from pgflow.runs r where r.run_id = any (release_tasks.run_ids) order by r.run_id for no key update;

  -- refusals first: a released task does not keep its fence
  return query
  select g.run_id, g.step_slug, g.task_index, g.fence,
    case when r.status <> 'started' then 'run_ended' else 'lease_lost' end
  from unnest(run_ids, step_slugs, task_indexes, fences) g(run_id, step_slug, task_index, fence)
  left join pgflow.runs r on r.run_id = g.run_id
  where not exists (
    select from pgflow.step_tasks t
    where t.run_id = g.run_id and t.step_slug = g.step_slug and t.task_index = g.task_index
      and t.fence = g.fence and t.status = 'started');

  with released as (
    update pgflow.step_tasks t set
      status = 'queued', started_at = null, fence = 0, attempts_count = greatest(t.attempts_count - 1, 0),
      lane_id = s.lane_id, message_id = nextval('pgflow.message_ids')
    from unnest(run_ids, step_slugs, task_indexes, fences) g(run_id, step_slug, task_index, fence)
    join pgflow.step_states st on st.run_id = g.run_id and st.step_slug = g.step_slug
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    where t.run_id = g.run_id and t.step_slug = g.step_slug and t.task_index = g.task_index
      and t.fence = g.fence and t.status = 'started'
    returning t.lane_id
  )
  select array_agg(distinct x.lane_id) into v_lanes from released x;
  perform pgflow._notify_ready(v_lanes);
end
$fn$;
