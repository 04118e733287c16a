-- _json_size: about the bytes of a stored value: what it takes on disk when that is little, else the length of its text.
-- Exact enough to keep a step's whole inputs below what jsonb can hold (256 MB): compression makes a value at most 255
-- times smaller, so ten dependencies of less than 60 kB on disk have less than 153 MB together.
-- Locks: none.  Raises: nothing.
create function pgflow._json_size(p_value jsonb) returns bigint
language sql stable parallel safe
return case when pg_column_size(p_value) < 60000 then pg_column_size(p_value) else octet_length(p_value::text) end;
