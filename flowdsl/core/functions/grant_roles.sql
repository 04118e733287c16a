-- grant_roles: make the roles pgflow_viewer, pgflow_client and pgflow_worker where they are missing, and give each what it needs
-- in this database and nothing else. Installing and upgrading the core call it; so may, later, the owner of the schema or a superuser.
-- Without the right to make roles it says so in a notice, and grants to those that are there.
-- Functions run with the rights of their caller, so a role needs those on the tables as well: an UPDATE right on columns, no
-- right to change a definition. The worker may delete ended runs because its sweep prunes; the client only tasks, because
-- a run retried from a step makes that step's tasks anew.
-- Locks: the catalogue's.  Writes: privileges.  Idempotent: yes.  Raises: nothing of ours.
create function pgflow.grant_roles() returns void
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_role text;
  v_function record;
  v_state_columns constant text := 'status, remaining_tasks, initial_tasks, remaining_deps, output, error_message, skip_reason, '
    'started_at, completed_at, failed_at, skipped_at, cancelled_at, input_size';
  v_task_columns constant text := 'message_id, status, attempts_count, error_message, output, queued_at, started_at, completed_at, '
    'failed_at, requeued_count, permanently_stalled_at, lane_id, fence, visible_at, skipped_at, cancelled_at';
begin
  foreach v_role in array array['pgflow_viewer', 'pgflow_client', 'pgflow_worker'] loop
    if not exists (select from pg_catalog.pg_roles r where r.rolname = v_role) then
      begin
        execute format('create role %I nologin', v_role);
      exception
        when duplicate_object or unique_violation then
          null;  -- an installation in another database was faster
        when insufficient_privilege then
          raise notice 'pgflow: role % does not exist and % may not make it', v_role, current_user
            using hint = 'Let somebody who may make it (CREATEROLE), then run: select pgflow.grant_roles()';
          continue;
      end;
    end if;

    execute format('revoke all on all tables in schema pgflow from %I', v_role);
    execute format('revoke all on all sequences in schema pgflow from %I', v_role);
    execute format('revoke all on all functions in schema pgflow from %I', v_role);
    execute format('grant usage on schema pgflow to %I', v_role);
    execute format('grant select on all tables in schema pgflow to %I', v_role);
    for v_function in
      select p.oid::regprocedure as signature
      from pg_catalog.pg_proc p
      where p.pronamespace = 'pgflow'::regnamespace and p.prokind = 'f' and (
        exists (select from pgflow._role_functions() f where f.role_name = v_role and f.function_name = p.proname)
        -- internal ones are called by the public ones with the caller's rights, and can no more than those on the tables
        or (starts_with(p.proname, '_') and (v_role <> 'pgflow_viewer' or p.provolatile <> 'v' or p.proname in ('_now', '_refuse', '_refuse_unknown_run')))
      )
    loop
      execute format('grant execute on function %s to %I', v_function.signature, v_role);
    end loop;

    case v_role
      when 'pgflow_client' then
        execute format('grant insert on pgflow.runs, pgflow.step_states, pgflow.step_tasks, pgflow.task_attempts to %I', v_role);
        execute format('grant update (status, output, remaining_steps, completed_at, failed_at, cancelled_at, watched, deadline_at, '
          'end_reason, retried_count) on pgflow.runs to %I', v_role);
        execute format('grant update (%s) on pgflow.step_states to %I', v_state_columns, v_role);
        execute format('grant update (%s) on pgflow.step_tasks to %I', v_task_columns, v_role);
        execute format('grant delete on pgflow.step_tasks to %I', v_role);
        execute format('grant usage on sequence pgflow.message_ids to %I', v_role);
      when 'pgflow_worker' then
        execute format('grant insert on pgflow.step_tasks, pgflow.task_attempts, pgflow.workers to %I', v_role);
        execute format('grant update (status, output, remaining_steps, completed_at, failed_at, cancelled_at, deadline_at, end_reason) '
          'on pgflow.runs to %I', v_role);
        execute format('grant update (%s) on pgflow.step_states to %I', v_state_columns, v_role);
        execute format('grant update (%s, last_worker_id, last_requeued_at, read_count) on pgflow.step_tasks to %I',
          v_task_columns, v_role);
        execute format('grant update (waiting, claim_floor, next_floor, next_floor_xid) on pgflow.lanes to %I', v_role);
        execute format('grant update on pgflow.workers to %I', v_role);
        execute format('grant delete on pgflow.runs, pgflow.step_states, pgflow.step_tasks, pgflow.task_attempts, pgflow.workers '
          'to %I', v_role);
        execute format('grant usage, select on sequence pgflow.message_ids to %I', v_role);
        execute format('grant usage on sequence pgflow.fences to %I', v_role);
      else
        null;
    end case;
  end loop;
end
$fn$;
