-- _skip_steps: skip open steps for one reason and end their open tasks; where p_cascades says so, skip with reason
-- dependency_skipped all that depends on them, however far. Returns every step that was skipped, for _settle_steps.
-- p_messages: error messages to keep, or null.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.  Writes: step_states, step_tasks.
-- Cost: linear in the steps skipped and the edges between them: each step is visited once, whatever the paths to it.
-- Idempotent: yes.  Raises: nothing.
create function pgflow._skip_steps(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_reason text,
  p_messages text[],
  p_cascades bool[],
  p_now timestamptz,
  out run_ids uuid[],
  out step_slugs text[]
) returns record
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
begin
  with recursive origin as (
    select g.run_id, g.step_slug, g.message, g.cascade, st.flow_slug, st.flow_version
    from unnest(p_run_ids, p_step_slugs, p_messages, p_cascades) g(run_id, step_slug, message, cascade)
    cross join lateral (
      select x.status, x.flow_slug, x.flow_version
      from pgflow.step_states x
      where x.run_id = g.run_id and x.step_slug = g.step_slug
      offset 0
    ) st
    where st.status in ('created', 'started')
  ),
  downstream as (
    select o.run_id, o.flow_slug, o.flow_version, d.step_slug
    from origin o
    cross join lateral (
      select x.step_slug
      from pgflow.deps x
      where x.flow_slug = o.flow_slug and x.flow_version = o.flow_version and x.dep_slug = o.step_slug
      offset 0
    ) d
    where o.cascade
    union  -- each step once: the number of paths grows exponentially
    select w.run_id, w.flow_slug, w.flow_version, d.step_slug
    from downstream w
    cross join lateral (
      select x.step_slug
      from pgflow.deps x
      where x.flow_slug = w.flow_slug and x.flow_version = w.flow_version and x.dep_slug = w.step_slug
      offset 0
    ) d
  ),
  skipped as (
    update pgflow.step_states st set
      status = 'skipped', skip_reason = x.reason, error_message = x.message, remaining_tasks = null,
      skipped_at = greatest(p_now, coalesce(st.started_at, st.created_at))
    from (
      select e.reason, e.message, y.tid
      from (
        select o.run_id, o.step_slug, p_reason as reason, o.message from origin o
        union all
        select w.run_id, w.step_slug, 'dependency_skipped', null from downstream w
      ) e
      cross join lateral (
        select z.ctid as tid, z.status
        from pgflow.step_states z
        where z.run_id = e.run_id and z.step_slug = e.step_slug
        offset 0
      ) y
      where y.status in ('created', 'started')
    ) x
    where st.ctid = x.tid
    returning st.run_id, st.step_slug
  )
  select array_agg(s.run_id), array_agg(s.step_slug) into _skip_steps.run_ids, _skip_steps.step_slugs from skipped s;

  -- Queued tasks may be in the hands of a claim or a promotion, which need no run. So all are locked first, and looked up
  -- by a statement of its own then: the one that waited cannot see the rows' new versions.
  perform from unnest(_skip_steps.run_ids, _skip_steps.step_slugs) s(run_id, step_slug)
  cross join lateral (
    select from pgflow.step_tasks x
    where x.run_id = s.run_id and x.step_slug = s.step_slug and x.status in ('queued', 'started')
    offset 0
    for update
  ) locked;
  update pgflow.step_tasks t set
    status = 'skipped', visible_at = null, skipped_at = greatest(p_now, coalesce(t.started_at, t.queued_at))
  from (
    select o.tid
    from unnest(_skip_steps.run_ids, _skip_steps.step_slugs) s(run_id, step_slug)
    cross join lateral (
      select x.ctid as tid, x.status
      from pgflow.step_tasks x
      where x.run_id = s.run_id and x.step_slug = s.step_slug
      offset 0
    ) o
    where o.status in ('queued', 'started')
  ) open
  where t.ctid = open.tid;
end
$fn$;
