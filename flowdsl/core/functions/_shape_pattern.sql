-- _shape_pattern: the reverse of _pattern_shape: the pattern, or null when there is none.
-- Locks: none.  Raises: nothing.
create function pgflow._shape_pattern(p_shape jsonb) returns jsonb
language sql immutable parallel safe
return case when p_shape -> 'defined' = 'true'::jsonb then p_shape -> 'value' end;
