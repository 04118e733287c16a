-- Removes the core with all flows and finished runs. It refuses while runs are open.
do $do$
begin
  lock table pgflow.runs in exclusive mode;
  if exists (select from pgflow.runs where status = 'started') then
    raise exception using errcode = 'PF411',
      message = format('the pgflow schema has %s open runs',
        (select count(*) from pgflow.runs where status = 'started')),
      hint = 'Let them finish first: they would be lost.';
  end if;
end
$do$;
drop schema pgflow cascade;
