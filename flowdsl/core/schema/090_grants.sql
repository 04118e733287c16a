-- Functions are executable by everyone unless told otherwise; here only the owner is.
revoke all on all functions in schema pgflow from public;
