-- awkward_predicate: retired, no longer among the flows
--   needs drain
--     no new runs start; open runs go on: keep workers with its code until they have ended
-- hello: dropped with all runs and their data, versions 1 to 2
--   breaking
--     all runs of it are removed, open ones too, with their inputs and outputs
--     a downgrade brings its definition back and none of the runs
begin;
select pgflow.retire_flow('awkward_predicate');
select pgflow.delete_flow_and_data('hello');
commit;
