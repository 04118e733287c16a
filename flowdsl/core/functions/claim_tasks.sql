-- claim_tasks: lease up to max_tasks ready tasks of the worker's lanes to it, highest priority first, oldest first within a lane;
-- zero rows when nothing is ready. All tasks of one call get the same new fence.
-- A suspect (lost with two workers) is given to a worker that holds nothing else, and it gets nothing else meanwhile: so the
-- third loss, which fails the task, is its own doing. When all are busy one of them runs empty for it; the others go on.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED by message_id, lanes and the worker's row SKIP LOCKED; it waits for nobody.
-- Writes: step_tasks, lanes, workers.  Idempotent: no; a claim whose reply was lost is given back by release_strays.
-- Cost: O(max_tasks * log n) through step_tasks_ready_idx, from the lane's claim floor on, whatever the backlog, the
-- history, the sleepers or the statistics.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow.claim_tasks(worker_id uuid, max_tasks int) returns setof pgflow.claimed_task
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
  -- a variable, because a volatile function is never an index condition
  v_now timestamptz := pgflow._now();
  v_lane_ids int[];
  v_lane record;
  v_left int := coalesce(max_tasks, 0);
  v_got int;
  v_batch int;
  v_fence bigint;
  v_suspect bool;
  v_isolation text;
begin
  if v_left <= 0 then
    return;
  end if;
  v_lane_ids := pgflow._worker_lanes(claim_tasks.worker_id);
  v_fence := nextval('pgflow.fences');
  -- a loop, because each lane has a floor of its own and the first ones usually fill the batch
  for v_lane in
    select l.lane_id, l.flow_version, l.claim_floor, l.waiting, exists (
      select from pgflow.step_tasks t
      where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is null and t.requeued_count >= 2
        and t.message_id >= l.claim_floor) as has_suspect
    from pgflow.lanes l where l.lane_id = any (v_lane_ids)
    -- a worker that ran empty for a suspect must not be filled by another lane first
    order by has_suspect desc, l.priority desc, random()
  loop
    exit when v_left <= 0;
    v_suspect := false;
    if v_lane.has_suspect then
      v_isolation := pgflow._isolate_worker(claim_tasks.worker_id, v_lane.lane_id);
      exit when v_isolation = 'draining';
      v_suspect := v_isolation = 'alone';
      v_left := case when v_suspect then 1 else v_left end;
    end if;
    v_got := 0;
    -- once more when the lane did not fill the batch but has delayed tasks that are due
    for v_look in 1..2 loop
      return query
      with picked as (
        select t.ctid as tid
        from pgflow.step_tasks t
        where t.lane_id = v_lane.lane_id and t.status = 'queued' and t.visible_at is null
          -- a suspect that became ready after the look above waits for the next claim
          and t.message_id >= v_lane.claim_floor and (t.requeued_count >= 2) = v_suspect
        order by t.message_id
        limit v_left
        for update skip locked
      ),
      claimed as (
        update pgflow.step_tasks t set
          status = 'started', attempts_count = t.attempts_count + 1, fence = v_fence,
          last_worker_id = claim_tasks.worker_id, started_at = greatest(v_now, t.queued_at)
        from picked p where t.ctid = p.tid
        returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.attempts_count, t.input
      )
      select
        c.flow_slug, v_lane.flow_version, c.run_id, c.step_slug, c.task_index, c.attempts_count,
        coalesce(s.opt_max_attempts, f.opt_max_attempts), v_fence, coalesce(s.opt_timeout, f.opt_timeout),
        -- the whole inputs are the same for all tasks of a step: they are built and sent once per batch
        case when row_number() over (partition by c.run_id, c.step_slug order by c.task_index) = 1 then
          -- spelt out, because a function with queries in it is never inlined: 200 µs a task on PostgreSQL 15
          coalesce((
            select jsonb_object_agg(d.dep_slug, o.output)
            from pgflow.deps d
            cross join lateral (
              select x.output, x.status
              from pgflow.step_states x
              where x.run_id = c.run_id and x.step_slug = d.dep_slug
              offset 0
            ) o
            where d.flow_slug = c.flow_slug and d.flow_version = v_lane.flow_version and d.step_slug = c.step_slug
              and d.dep_slug is distinct from s.map_over and o.status = 'completed'
          ), '{}')
          || case
            when s.uses_run_input then (select jsonb_build_object('run', r.input) from pgflow.runs r where r.run_id = c.run_id)
            else '{}' end
        end,
        c.input,
        null::text
      from claimed c
      cross join lateral (
        select x.opt_max_attempts, x.opt_timeout, x.map_over, x.uses_run_input
        from pgflow.steps x
        where x.flow_slug = c.flow_slug and x.flow_version = v_lane.flow_version and x.step_slug = c.step_slug
        offset 0
      ) s
      join pgflow.flows f on f.flow_slug = c.flow_slug
      order by c.run_id, c.step_slug, c.task_index;
      get diagnostics v_batch = row_count;
      v_got := v_got + v_batch;
      v_left := v_left - v_batch;
      exit when v_left <= 0 or v_look = 2
        or pgflow._promote_due_tasks(v_lane.lane_id, v_now, greatest(v_left, 100)) = 0;
    end loop;
    -- a lane that always fills the batch promotes too, if seldom: the timers sweep does it besides
    if v_left <= 0 and random() < 0.02 then
      perform pgflow._promote_due_tasks(v_lane.lane_id, v_now, 100);
    end if;

    if v_lane.waiting <> (v_got = 0) then
      update pgflow.lanes l set waiting = (v_got = 0)
      where l.lane_id = (select x.lane_id from pgflow.lanes x where x.lane_id = v_lane.lane_id for update skip locked);
    end if;
    -- on average once in 500 claimed tasks; see _advance_claim_floor
    if random() * 500 < v_got then
      perform pgflow._advance_claim_floor(v_lane.lane_id);
    end if;
  end loop;
end
$fn$;
