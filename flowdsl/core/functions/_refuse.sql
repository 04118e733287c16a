-- _refuse: raise a refusal of class PF: what happened and what mends it.
-- Locks: none.  Raises: p_code.
create function pgflow._refuse(p_code text, p_message text, p_hint text default null) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  raise exception using errcode = p_code, message = p_message, hint = coalesce(p_hint, '');
end
$fn$;
