-- _pattern_shape: an input pattern as it stands in a shape: {"defined": false}, or {"defined": true, "value": pattern}.
-- Locks: none.  Raises: nothing.
create function pgflow._pattern_shape(p_pattern jsonb) returns jsonb
language sql immutable parallel safe
return case
  when p_pattern is null then '{"defined": false}'::jsonb
  else jsonb_build_object('defined', true, 'value', p_pattern) end;
