-- _exhausted: of these steps, those that are started, each once, with the first of its messages and its when_exhausted.
-- Locks: none.  Raises: nothing.
create function pgflow._exhausted(p_run_ids uuid[], p_step_slugs text[], p_messages text[])
returns table (tid tid, run_id uuid, step_slug text, message text, when_exhausted text)
language plpgsql stable rows 10
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
  return query
  select st.tid, g.run_id, g.step_slug, g.message, s.when_exhausted
  from (
    select distinct on (x.run_id, x.step_slug) x.run_id, x.step_slug, x.message
    from unnest(p_run_ids, p_step_slugs, p_messages) with ordinality x(run_id, step_slug, message, i)
    order by x.run_id, x.step_slug, x.i
  ) g
  cross join lateral (
    select x.ctid as tid, x.status, x.flow_slug, x.flow_version
    from pgflow.step_states x
    where x.run_id = g.run_id and x.step_slug = g.step_slug
    offset 0
  ) st
  cross join lateral (
    select x.when_exhausted
    from pgflow.steps x
    where x.flow_slug = st.flow_slug and x.flow_version = st.flow_version and x.step_slug = g.step_slug
    offset 0
  ) s
  where st.status = 'started';
end
$fn$;
