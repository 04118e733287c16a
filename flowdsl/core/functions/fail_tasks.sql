-- fail_tasks: hand in failed attempts, as parallel arrays; returns what was not taken.
-- An error is {"class", "classes": [names of the class and its bases], "message", "traceback", "retryable": bool,
-- "retry_after": seconds}, all but message optional. With attempts left, retryable, and of a class in retry_on (if any),
-- the task is queued again after retry_after, or after base_delay * 2^attempts capped by max_delay, plus up to 10 %
-- jitter. Otherwise the task fails for good and its step's when_exhausted decides: step and run fail and what is open in
-- the run ends, or the step is skipped, alone or with all that depends on it.
-- Locks: runs FOR NO KEY UPDATE by run_id; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.
-- Raises: PF400 arrays of different length.
create function pgflow.fail_tasks(
  run_ids uuid[],
  step_slugs text[],
  task_indexes int[],
  fences bigint[],
  errors jsonb[]
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
  v_exhausted record;
begin
  perform pgflow._check_batch('fail_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences), cardinality(errors)]);
  perform pgflow._lock_runs(fail_tasks.run_ids);

  with judged as (
    select h.*, errors[h.i] as error,
      errors[h.i] -> 'retryable' is distinct from 'false'
        and h.attempts_count < h.max_attempts
        and (h.retry_on is null or coalesce(errors[h.i] -> 'classes' ?| h.retry_on, false)) as retry,
      case
        when jsonb_typeof(errors[h.i] -> 'retry_after') = 'number'
          then least(greatest((errors[h.i] ->> 'retry_after')::numeric, 0), 2147483647)::float8
        -- a cap below the base would be no backoff at all
        else least(
          pgflow.calculate_retry_delay(h.base_delay, h.attempts_count), greatest(h.max_delay, h.base_delay)
        ) * (1 + random() * 0.1)
      end as delay
    from pgflow._held(run_ids, step_slugs, task_indexes, fences) h
  ),
  updated as (
    update pgflow.step_tasks t set
      status = case when j.retry then 'queued' else 'failed' end,
      visible_at = case when j.retry then v_now + j.delay * interval '1 second' end,
      lane_id = j.lane_id,
      started_at = case when j.retry then null else t.started_at end,
      failed_at = case when j.retry then null else greatest(v_now, t.started_at) end,
      error_message = j.error ->> 'message'
    from judged j
    where t.ctid = j.tid
    returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.attempts_count, t.status, t.fence, t.last_worker_id,
      j.started_at, j.error
  ),
  recorded as (
    insert into pgflow.task_attempts (
      flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, traceback, fence,
      worker_id, started_at, ended_at
    )
    select u.flow_slug, u.run_id, u.step_slug, u.task_index, u.attempts_count, 'failed',
      coalesce(u.error ->> 'class', 'Error'), coalesce(u.error ->> 'message', ''),
      coalesce(u.error ->> 'traceback', ''), u.fence, u.last_worker_id, u.started_at, greatest(v_now, u.started_at)
    from updated u
  )
  select count(*) as taken,
    array_agg(u.run_id order by u.task_index) filter (where u.status = 'failed') as run_ids,
    array_agg(u.step_slug order by u.task_index) filter (where u.status = 'failed') as step_slugs,
    array_agg(u.error ->> 'message' order by u.task_index) filter (where u.status = 'failed') as messages
  into v_exhausted
  from updated u;

  if v_exhausted.taken < cardinality(run_ids) then
    return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['queued', 'failed']);
  end if;
  if v_exhausted.run_ids is not null then
    perform pgflow._exhaust_steps(v_exhausted.run_ids, v_exhausted.step_slugs, v_exhausted.messages, v_now);
  end if;
end
$fn$;
