-- _refuse_stale: turn the refusal of a one-row call that named a fence into an error; without a fence, late is harmless.
-- Locks: none.  Raises: PF413.
create function pgflow._refuse_stale(p_refusal pgflow.task_refusal, p_fence bigint) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  if p_fence is not null and p_refusal.reason = 'lease_lost' then
    perform pgflow._refuse('PF413',
      format('task %s of step %L in run %s is not leased under fence %s any more', p_refusal.task_index,
        p_refusal.step_slug, p_refusal.run_id, p_fence),
      'Drop the result: the task was given to another worker or was finished by one.');
  end if;
end
$fn$;
