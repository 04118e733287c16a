-- restore_flow: let a retired flow start runs again.
-- Locks: the flow's row.  Writes: flows.  Idempotent: yes.  Raises: PF404 unknown flow.
create function pgflow.restore_flow(flow_slug text) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_flow pgflow.flows;
begin
  update pgflow.flows f set retired_at = null
  where f.flow_slug = restore_flow.flow_slug
  returning f.* into v_flow;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', restore_flow.flow_slug),
      'Its name is that of the flow in the code; list_flows() shows all.');
  end if;
  return v_flow;
end
$fn$;
