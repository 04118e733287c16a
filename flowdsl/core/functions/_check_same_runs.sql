-- _check_same_runs: refuse run ids that belong to another flow or were started with another input.
-- Locks: none.  Raises: PF410.
create function pgflow._check_same_runs(p_flow_slug text, p_run_ids uuid[], p_inputs jsonb[]) returns void
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_run_id uuid;
begin
  select g.run_id into v_run_id
  from unnest(p_run_ids, p_inputs) g(run_id, input)
  cross join lateral (select x.flow_slug, x.input from pgflow.runs x where x.run_id = g.run_id offset 0) r
  where r.flow_slug <> p_flow_slug or r.input <> g.input
  limit 1;
  if found then
    perform pgflow._refuse('PF410', format('run %s exists already with another flow or input', v_run_id),
      'Use a new run id for a new run.');
  end if;
end
$fn$;
