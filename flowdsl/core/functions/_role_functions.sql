-- _role_functions: which public function is for which role; owner stands for whoever owns the schema (migrations, operators).
-- The one place where that is said: grant_roles grants by it.
-- pgflow_viewer looks, pgflow_client starts runs and waits for them, pgflow_worker works; both may look as well.
-- Locks: none.  Raises: nothing.
create function pgflow._role_functions() returns table (role_name text, function_name text)
language sql immutable
set search_path = ''
as $fn$
  with lists (role_name, function_names) as (
    values
    ('pgflow_viewer', array[
      'core_version', 'is_valid_slug', 'calculate_retry_delay', 'list_flows', 'list_runs', 'find_runs', 'describe_run',
      'get_run_with_states', 'run_outcome', 'step_output', 'explain_run', 'check_invariants',
      'describe_flow', 'open_runs']),
    ('pgflow_client', array[
      'start_flow', 'start_flows', 'start_flow_with_states', 'watch_run', 'cancel_run', 'retry_run']),
    ('pgflow_worker', array[
      'register_worker', 'heartbeat_worker', 'mark_worker_stopped',
      'claim_tasks', 'complete_and_claim_tasks', 'complete_task', 'complete_tasks', 'fail_task', 'fail_tasks',
      'release_tasks', 'release_strays', 'lost_tasks',
      'read_with_poll', 'start_tasks', 'set_vt_batch',
      'run_sweep', 'recover_tasks', 'requeue_stalled_tasks', 'enforce_deadlines', 'promote_due_tasks',
      'prune_data_older_than',
      'start_ready_steps', 'cascade_complete_taskless_steps', 'cascade_resolve_conditions', 'maybe_complete_run']),
    ('owner', array[
      'create_flow', 'add_step', 'set_flow_options', 'set_step_options', 'ensure_flow_compiled',
      'drop_flow_version', 'delete_flow_and_data', 'retire_flow', 'restore_flow', 'grant_roles'])
  )
  select l.role_name, f.name from lists l cross join unnest(l.function_names) f(name)
  union all
  select r.name, f.name
  from lists l
  cross join unnest(l.function_names) f(name)
  cross join unnest(array['pgflow_client', 'pgflow_worker']) r(name)
  where l.role_name = 'pgflow_viewer'
$fn$;
