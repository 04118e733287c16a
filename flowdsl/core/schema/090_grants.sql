-- Functions are executable by everyone unless told otherwise: here only the owner may do anything, and the three roles what
-- grant_roles gives them.
revoke all on all functions in schema pgflow from public;
revoke all on all tables in schema pgflow from public;
revoke all on all sequences in schema pgflow from public;
do $do$
begin
  perform pgflow.grant_roles();
end
$do$;
