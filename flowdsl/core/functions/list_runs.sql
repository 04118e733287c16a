-- list_runs: runs, newest first (of the same moment, the greater id first), optionally of one flow or status.
-- before, before_run: go on after the run with this start and this id, the last one listed, missing none; before alone:
-- runs that started earlier; before_run alone: its start is looked up.
-- Locks: none.  Cost: per flow, a range of runs_by_flow_idx.
-- Raises: PF404 unknown flow, PF405 before_run alone is unknown.
create function pgflow.list_runs(
  flow_slug text default null,
  status text default null,
  max_runs int default 50,
  before timestamptz default null,
  before_run uuid default null
) returns table (
  run_id uuid,
  run_flow_slug text,
  flow_version int,
  run_status text,
  remaining_steps int,
  started_at timestamptz,
  ended_at timestamptz
)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_before timestamptz := list_runs.before;
begin
  if list_runs.flow_slug is not null
    and not exists (select from pgflow.flows f where f.flow_slug = list_runs.flow_slug) then
    perform pgflow._refuse('PF404', format('flow %L does not exist', list_runs.flow_slug),
      'List the flows with: pgflow flows.');
  end if;
  if v_before is null and list_runs.before_run is not null then
    select r.started_at into v_before from pgflow.runs r where r.run_id = list_runs.before_run;
    if not found then
      perform pgflow._refuse_unknown_run(list_runs.before_run);
    end if;
  end if;
  return query
  select r.run_id, r.flow_slug, r.flow_version, r.status, r.remaining_steps, r.started_at,
    coalesce(r.completed_at, r.failed_at, r.cancelled_at)
  from pgflow.flows f
  cross join lateral (
    select * from pgflow.runs x
    where x.flow_slug = f.flow_slug
      and (list_runs.status is null or x.status = list_runs.status)
      and (v_before is null or x.started_at <= v_before)
      and (v_before is null or x.started_at < v_before or x.run_id < list_runs.before_run)
    order by x.started_at desc, x.run_id desc
    limit greatest(list_runs.max_runs, 0)
  ) r
  where list_runs.flow_slug is null or f.flow_slug = list_runs.flow_slug
  order by r.started_at desc, r.run_id desc
  limit greatest(list_runs.max_runs, 0);
end
$fn$;
