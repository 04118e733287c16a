-- _judge_steps: judge the conditions of steps that are ready (created, no dependency open). An unmet one fails its run,
-- or is skipped, alone or with all that depends on it. Returns the steps that passed and those that were skipped.
-- Failing comes first: a run that fails skips nothing.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Raises: nothing.
create function pgflow._judge_steps(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_now timestamptz,
  out passed_run_ids uuid[],
  out passed_slugs text[],
  out skipped_run_ids uuid[],
  out skipped_slugs text[]
) returns record
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_failed_run_ids uuid[];
  v_failed_slugs text[];
  v_unmet_run_ids uuid[];
  v_unmet_slugs text[];
  v_cascades bool[];
begin
  select array_agg(v.run_id) filter (where v.is_met), array_agg(v.step_slug) filter (where v.is_met),
    array_agg(v.run_id) filter (where not v.is_met and v.when_unmet = 'fail'),
    array_agg(v.step_slug) filter (where not v.is_met and v.when_unmet = 'fail'),
    array_agg(v.run_id) filter (where not v.is_met and v.when_unmet <> 'fail'),
    array_agg(v.step_slug) filter (where not v.is_met and v.when_unmet <> 'fail'),
    array_agg(v.when_unmet = 'skip-cascade') filter (where not v.is_met and v.when_unmet <> 'fail')
  into passed_run_ids, passed_slugs, v_failed_run_ids, v_failed_slugs, v_unmet_run_ids, v_unmet_slugs, v_cascades
  from pgflow._verdicts(p_run_ids, p_step_slugs) v;
  if v_failed_run_ids is not null then
    perform pgflow._fail_unmet_steps(v_failed_run_ids, v_failed_slugs, p_now);
  end if;
  if v_unmet_run_ids is not null then
    select s.run_ids, s.step_slugs into skipped_run_ids, skipped_slugs
    from pgflow._skip_steps(v_unmet_run_ids, v_unmet_slugs, 'condition_unmet', null, v_cascades, p_now) s;
  end if;
end
$fn$;
