-- ensure_flow_compiled: see to it that the database has this shape of the flow: {"status", "differences"}.
-- compiled: there was no such flow, it was made; verified: its current version has this shape; mismatch: it has another
-- one, and nothing was changed; recompiled: it had another one and was made anew, without its versions and runs. That
-- happens only with allow_data_loss, which is for development.
-- Locks: an advisory lock per flow, so that of several callers one compiles and the others verify; then as create_flow,
-- add_step and, with allow_data_loss, delete_flow_and_data.  Writes: as those.  Idempotent: yes.
-- Raises: PF400 no shape; as create_flow and add_step.
create function pgflow.ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss bool default false)
returns jsonb
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_status text := 'verified';
  v_differences text[] := '{}';
begin
  perform pgflow._check_slug('flow', ensure_flow_compiled.flow_slug);
  perform pgflow._check_shape(ensure_flow_compiled.flow_slug, shape);
  perform pg_advisory_xact_lock(hashtextextended('pgflow.ensure_flow_compiled ' || ensure_flow_compiled.flow_slug, 0));

  if not exists (select from pgflow.flows f where f.flow_slug = ensure_flow_compiled.flow_slug) then
    perform pgflow._create_flow_from_shape(ensure_flow_compiled.flow_slug, shape);
    v_status := 'compiled';
  else
    v_differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(ensure_flow_compiled.flow_slug));
    if cardinality(v_differences) > 0 and coalesce(allow_data_loss, false) then
      perform pgflow.delete_flow_and_data(ensure_flow_compiled.flow_slug);
      perform pgflow._create_flow_from_shape(ensure_flow_compiled.flow_slug, shape);
      v_status := 'recompiled';
    elsif cardinality(v_differences) > 0 then
      v_status := 'mismatch';
    end if;
  end if;
  return jsonb_build_object('status', v_status, 'differences', to_jsonb(v_differences));
end
$fn$;
