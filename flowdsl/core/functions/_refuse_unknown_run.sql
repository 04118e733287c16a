-- _refuse_unknown_run: there is no such run.
-- Locks: none.  Raises: PF405.
create function pgflow._refuse_unknown_run(p_run_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform pgflow._refuse('PF405', format('run %s does not exist', p_run_id),
    'List the runs with: pgflow runs. Perhaps the transaction that started it is not committed, or was rolled back.');
end
$fn$;
