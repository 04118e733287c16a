-- _schemas_shape: the keys "inputSchema" and "outputSchema" of a shape, each where there is one. (jsonb_strip_nulls would reach
-- into the schemas.)
-- Locks: none.  Raises: nothing.
create function pgflow._schemas_shape(p_input_schema jsonb, p_output_schema jsonb) returns jsonb
language sql immutable
set search_path = ''
as $fn$
  select case when p_input_schema is null then '{}' else jsonb_build_object('inputSchema', p_input_schema) end
    || case when p_output_schema is null then '{}' else jsonb_build_object('outputSchema', p_output_schema) end
$fn$;
