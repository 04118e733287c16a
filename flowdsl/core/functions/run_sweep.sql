-- run_sweep: do one of the sweeps unless somebody else does the same one at this moment: any worker may call it at any
-- time, and none of them has to be the leader. Returns how many rows it took care of, null when another is at it.
-- recover: tasks of lost workers; stalled: tasks started too long ago; deadlines: overdue runs; timers: delayed tasks that
-- are due; prune: what ended longer ago than retention.
-- Locks: an advisory lock per sweep, tried, until the transaction ends; then as the sweep's own function.
-- Writes: as those functions.  Idempotent: yes.  Raises: PF400 unknown sweep, prune without retention.
create function pgflow.run_sweep(sweep text, max_rows int default 1000, retention interval default null) returns int
language plpgsql volatile
set search_path = ''
as $fn$
begin
  if sweep is null or sweep not in ('recover', 'stalled', 'deadlines', 'timers', 'prune') then
    perform pgflow._refuse('PF400', format('there is no sweep %s', coalesce(quote_literal(sweep), 'null')),
      'The sweeps are recover, stalled, deadlines, timers and prune.');
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('pgflow.run_sweep ' || sweep, 0)) then
    return null;
  end if;
  case sweep
    when 'recover' then return pgflow.recover_tasks(max_rows);
    when 'stalled' then return pgflow.requeue_stalled_tasks(max_rows);
    when 'deadlines' then return pgflow.enforce_deadlines(max_rows);
    when 'timers' then return pgflow.promote_due_tasks(max_rows);
    when 'prune' then return pgflow.prune_data_older_than(retention, max_rows);
  end case;
end
$fn$;
