-- _check_start: refuse inputs and run ids that cannot start; p_need_arrays: a map runs over the input.
-- Locks: none.  Raises: PF400, PF422.
create function pgflow._check_start(p_flow_slug text, p_inputs jsonb[], p_run_ids uuid[], p_need_arrays bool)
returns void
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_bad int;
begin
  if p_inputs is null or array_position(p_inputs, null) is not null then
    perform pgflow._refuse('PF422', format('flow %L cannot start: its input is null', p_flow_slug),
      'Give a JSON value; JSON null is written ''null''::jsonb.');
  end if;
  if cardinality(p_inputs) <> cardinality(p_run_ids) then
    perform pgflow._refuse('PF400', format('start_flows got %s inputs and %s run ids', cardinality(p_inputs),
      cardinality(p_run_ids)), 'Give one run id per input, or none at all.');
  end if;
  if cardinality(p_run_ids) > (select count(distinct id) from unnest(p_run_ids) id) then
    perform pgflow._refuse('PF400', 'start_flows got a null run id, or the same one twice',
      'Give every run an id of its own, or leave run_ids out.');
  end if;
  if p_need_arrays then
    select (i - 1)::int into v_bad from unnest(p_inputs) with ordinality g(input, i)
    where jsonb_typeof(input) <> 'array' order by i limit 1;
    if found then
      perform pgflow._refuse('PF422',
        format('flow %L maps over its input, which must be a JSON array, but input %s is of type %s', p_flow_slug,
          v_bad, jsonb_typeof(p_inputs[v_bad + 1])),
        'Start it with an array: one task is made of each element.');
    end if;
  end if;
end
$fn$;
