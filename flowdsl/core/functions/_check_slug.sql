-- _check_slug: refuse a name that is_valid_slug does not accept; p_what is 'flow' or 'step'.
-- Locks: none.  Raises: PF400.
create function pgflow._check_slug(p_what text, p_slug text) returns void
language plpgsql immutable
set search_path = ''
as $fn$
begin
  if not pgflow.is_valid_slug(p_slug) then
    perform pgflow._refuse('PF400', format('%s slug %s is not valid', p_what, coalesce(quote_literal(p_slug), 'null')),
      'A slug has 1 to 128 characters: letters, digits and _, not beginning with a digit; ''run'' is reserved.');
  end if;
end
$fn$;
