-- retire_flow: start no new runs of a flow, in any version; open runs go on, and may be retried. Starts under way may still commit.
-- Locks: the flow's row.  Writes: flows.  Idempotent: yes.  Raises: PF404 unknown flow.
create function pgflow.retire_flow(flow_slug text) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_flow pgflow.flows;
begin
  update pgflow.flows f set retired_at = coalesce(f.retired_at, pgflow._now())
  where f.flow_slug = retire_flow.flow_slug
  returning f.* into v_flow;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', retire_flow.flow_slug),
      'Its name is that of the flow in the code; list_flows() shows all.');
  end if;
  return v_flow;
end
$fn$;
