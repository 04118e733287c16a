-- check_invariants: whatever does not fit together in the whole database: what is wrong, where, and a sentence about it. No
-- rows: all is sound. It holds at the end of every transaction, in every state that the core's functions lead to; only rows
-- written by hand, a skip that is forced for an untrue reason, or a mistake in the core break it. All of it sees the state of one moment.
-- Ended runs: what was cancelled or failed with a run stays as it was at that moment, so of those only what is promised is
-- checked: nothing is open, and what had completed is whole.
-- Not checked: attempts_count against max_attempts, which may have been lowered since the attempts were made.
-- Locks: none.  Cost: reads all tables, some of them several times.  Raises: nothing.
create function pgflow.check_invariants()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language plpgsql stable
set search_path = ''
set enable_nestloop = on
set jit = off
as $fn$
begin
  -- statistics lag behind, and a nested loop over whole tables takes for ever; hash joins do not. In small databases, tests
  -- above all, the planner's own choice is the quicker one. The setting ends with this function.
  if pg_relation_size('pgflow.step_tasks') > 500000 then
    perform set_config('enable_nestloop', 'off', true);
  end if;
  return query
  select * from pgflow._definition_violations()
  union all select * from pgflow._run_violations()
  union all select * from pgflow._step_violations()
  union all select * from pgflow._size_violations()
  union all select * from pgflow._skip_violations()
  union all select * from pgflow._task_violations()
  union all select * from pgflow._output_violations();
end
$fn$;
