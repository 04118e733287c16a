-- complete_tasks: hand in the outputs of claimed tasks, as parallel arrays; returns what was not taken.
-- Each result names the fence of its claim: a claim that is not current is refused (lease_lost), so is one of a run that
-- has ended (run_ended). A result handed in twice is taken once and not refused.
-- Locks: runs FOR NO KEY UPDATE by run_id; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: yes.
-- Cost: four statements, linear in the batch, plus the tasks created.  Raises: PF400 arrays of different length.
create function pgflow.complete_tasks(
  run_ids uuid[],
  step_slugs text[],
  task_indexes int[],
  fences bigint[],
  outputs jsonb[]
) returns setof pgflow.task_refusal
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
  v_now timestamptz := pgflow._now();
  v_taken int;
  v_run_ids uuid[];
  v_slugs text[];
  v_violated bool;
begin
  perform pgflow._check_batch('complete_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences), cardinality(outputs)]);
  -- the run's row is the lock of everything under it; statements after this one see what others committed before
  perform pgflow._lock_runs(complete_tasks.run_ids);

  with completed as (
    update pgflow.step_tasks t set
      status = 'completed', output = g.output, completed_at = greatest(v_now, t.started_at)
    from (
      select o.tid, i.output
      from unnest(run_ids, step_slugs, task_indexes, fences, outputs) i(run_id, step_slug, task_index, fence, output)
      cross join lateral (
        select x.ctid as tid, x.status, x.fence
        from pgflow.step_tasks x
        where x.run_id = i.run_id and x.step_slug = i.step_slug and x.task_index = i.task_index
        offset 0
      ) o
      where o.status = 'started' and o.fence = i.fence
    ) g
    where t.ctid = g.tid
    returning t.run_id, t.step_slug, t.task_index, t.output
  ),
  counted as (
    select c.run_id, c.step_slug, count(*)::int as n, (array_agg(c.output))[1] as output
    from completed c group by c.run_id, c.step_slug
  ),
  located as (
    select c.*, o.tid, s.step_type, s.feeds_map
    from counted c
    cross join lateral (
      select x.ctid as tid, x.status, x.flow_slug, x.flow_version
      from pgflow.step_states x
      where x.run_id = c.run_id and x.step_slug = c.step_slug
      offset 0
    ) o
    cross join lateral (
      select x.step_type, x.feeds_map
      from pgflow.steps x
      where x.flow_slug = o.flow_slug and x.flow_version = o.flow_version and x.step_slug = c.step_slug
      offset 0
    ) s
    where o.status = 'started'
  ),
  advanced as (
    update pgflow.step_states st set
      remaining_tasks = st.remaining_tasks - c.n,
      status = case when st.remaining_tasks = c.n then 'completed' else st.status end,
      completed_at = case when st.remaining_tasks = c.n then greatest(v_now, st.started_at) end,
      output = case
        when st.remaining_tasks > c.n then null
        when c.step_type = 'single' then c.output
        -- this statement does not see its own updates, so the last outputs of a map come from `completed`
        else (
          select jsonb_agg(o.output order by o.task_index) from (
            select t.task_index, t.output from pgflow.step_tasks t
            where t.run_id = c.run_id and t.step_slug = c.step_slug and t.status = 'completed'
            union all
            select l.task_index, l.output from completed l
            where l.run_id = c.run_id and l.step_slug = c.step_slug
          ) o
        ) end
    from located c
    where st.ctid = c.tid
    returning st.run_id, st.step_slug, st.status,
      c.feeds_map and c.step_type = 'single' and jsonb_typeof(c.output) is distinct from 'array' as violates
  )
  select
    (select count(*) from completed),
    array_agg(a.run_id), array_agg(a.step_slug), coalesce(bool_or(a.violates), false)
  into v_taken, v_run_ids, v_slugs, v_violated
  from advanced a where a.status = 'completed';

  if v_violated then
    select l.run_ids, l.step_slugs into v_run_ids, v_slugs
    from pgflow._fail_type_violations(v_run_ids, v_slugs, v_now) l;
  end if;
  if v_run_ids is not null then
    perform pgflow._settle_steps(v_run_ids, v_slugs, v_now);
  end if;

  if v_taken < cardinality(run_ids) then
    return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['completed', 'violated']);
  end if;
end
$fn$;
