-- The schema and the two sequences that order everything.
-- message_ids: the order in which tasks became ready; claims follow it. Never cached: the claim floor relies on it.
-- fences: one number per claim; every later write about the claimed tasks names it.
create schema pgflow;
comment on schema pgflow is 'flowdsl: typed workflows executed by PostgreSQL';
create sequence pgflow.message_ids as bigint cache 1;
create sequence pgflow.fences as bigint cache 1;

-- is_valid_slug: may this be the name of a flow or a step? 1-128 characters, [A-Za-z_][A-Za-z0-9_]*, not 'run'.
-- Locks: none.  Raises: nothing; null is not a valid slug.
create function pgflow.is_valid_slug(slug text) returns bool
language sql immutable parallel safe
set search_path = ''
as $fn$
  select coalesce(length(slug) <= 128 and slug ~ '^[A-Za-z_][A-Za-z0-9_]*$' and slug <> 'run', false)
$fn$;

-- _is_valid_queue: may this be the name of a queue? 1-128 characters, not only blanks; null means "the default".
-- Locks: none.  Raises: nothing.
create function pgflow._is_valid_queue(p_queue text) returns bool
language sql immutable parallel safe
set search_path = ''
as $fn$
  select p_queue is null or (length(p_queue) between 1 and 128 and p_queue ~ '[^[:space:]]')
$fn$;

-- _new_run_id: a time-ordered UUID (version 7, RFC 9562): 48 bits of Unix milliseconds, then random bits.
-- Ordered ids keep inserts on the last pages of the indexes. PostgreSQL has its own uuidv7() only from 18 on.
-- A body that is parsed once needs no search_path and can be inlined.
-- Locks: none.  Raises: nothing.
create function pgflow._new_run_id() returns uuid
language sql volatile parallel safe
-- a random UUID has version 4 (0100); setting two bits makes it 7 (0111)
return encode(
  set_bit(set_bit(
    overlay(
      uuid_send(gen_random_uuid())
      placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
      from 1 for 6
    ), 52, 1), 53, 1),
  'hex')::uuid;

-- flows: one row per flow, with the options its steps inherit and the version that new runs get.
create table pgflow.flows (
  flow_slug text not null,
  opt_max_attempts int not null default 3,
  opt_base_delay int not null default 5,          -- seconds
  opt_timeout int not null default 60,            -- seconds
  created_at timestamptz not null default now(),
  current_version int not null default 1,
  opt_max_delay int not null default 3600,        -- seconds; the cap of the backoff
  opt_queue text,                                 -- null: the queue is named like the flow
  opt_priority int not null default 0,            -- higher is claimed first
  opt_deadline int,                               -- seconds from a run's start to its end; null: none
  retired_at timestamptz,                         -- set: no new runs; open ones go on
  constraint flows_pkey primary key (flow_slug),
  constraint flow_slug_is_valid check (pgflow.is_valid_slug(flow_slug)),
  constraint flow_has_at_least_one_attempt check (opt_max_attempts >= 1),
  constraint flow_base_delay_is_not_negative check (opt_base_delay >= 0),
  constraint flow_timeout_is_positive check (opt_timeout > 0),
  constraint flow_max_delay_is_not_negative check (opt_max_delay >= 0),
  constraint flow_queue_is_valid check (pgflow._is_valid_queue(opt_queue)),
  constraint flow_version_is_positive check (current_version >= 1),
  constraint flow_deadline_is_positive check (opt_deadline > 0)
);

-- flow_versions: one row per compiled shape of a flow; a run ends on the version it began with.
-- fingerprint: names the shape, so that a worker finds the version its code belongs to.
create table pgflow.flow_versions (
  flow_slug text not null,
  flow_version int not null,
  fingerprint text,
  output_step text,                               -- the step whose output is the run's; null: the leaf steps' by slug
  created_at timestamptz not null default now(),
  input_schema jsonb,                             -- JSON Schema of a run's input; null: unknown
  output_schema jsonb,                            -- JSON Schema of a run's output; null: unknown
  serves_from int,                                -- its workers carry out runs from that version on; null: its own only
  accepts_from int,                               -- it starts for callers from that version on; null: its own only
  constraint flow_versions_pkey primary key (flow_slug, flow_version),
  constraint flow_version_belongs_to_a_flow foreign key (flow_slug) references pgflow.flows on delete cascade,
  constraint flow_version_number_is_positive check (flow_version >= 1),
  constraint version_serves_itself_and_earlier_ones check (serves_from between 1 and flow_version),
  constraint version_accepts_itself_and_earlier_ones check (accepts_from between 1 and flow_version)
);

-- lanes: one row per (flow, version, queue, priority); tasks carry the lane's number, so that the ready index is narrow
-- and a claim touches only tasks that the worker has handlers for.
-- claim_floor: no ready task of the lane has a smaller message_id, so a claim never walks past the dead index entries of
-- finished tasks, however old a snapshot keeps them alive. It moves in _advance_claim_floor.
-- waiting: some worker found the lane empty and sleeps; whoever makes a task ready sends a NOTIFY.
create table pgflow.lanes (
  lane_id int generated always as identity,
  flow_slug text not null,
  flow_version int not null,
  queue_name text not null,
  priority int not null,
  claim_floor bigint not null default 0,
  next_floor bigint,
  next_floor_xid xid8,
  waiting bool not null default false,
  constraint lanes_pkey primary key (lane_id),
  constraint lanes_are_unique unique (flow_slug, flow_version, queue_name, priority),
  constraint lane_belongs_to_a_flow foreign key (flow_slug) references pgflow.flows on delete cascade,
  constraint lane_queue_is_valid check (pgflow._is_valid_queue(queue_name))
) with (fillfactor = 50);

-- steps: the nodes of each version of a flow; null options are the flow's.
create table pgflow.steps (
  flow_slug text not null,
  step_slug text not null,
  step_index int not null default 0,
  step_type text not null default 'single',
  deps_count int not null default 0,
  opt_max_attempts int,
  opt_base_delay int,                             -- seconds
  opt_timeout int,                                -- seconds
  opt_start_delay int,                            -- seconds
  required_input_pattern jsonb,
  forbidden_input_pattern jsonb,
  when_unmet text not null default 'skip',
  when_exhausted text not null default 'fail',
  created_at timestamptz not null default now(),
  flow_version int not null default 1,
  opt_max_delay int,                              -- seconds
  opt_retry_on text[],                            -- names of error classes worth another attempt; null: all
  opt_queue text,
  opt_priority int,
  map_over text,                                  -- what a map runs over: a dependency, or 'run'; null for a single step
  uses_run_input bool not null default true,      -- whether the handler is given the run's input
  feeds_map bool not null default false,          -- a map runs over this step: its output must be an array
  lane_id int not null,                           -- filled by a trigger from queue and priority
  input_predicate jsonpath,                       -- a condition beside the patterns: must be true of the same JSON
  is_conditional bool not null generated always as (
    required_input_pattern is not null or forbidden_input_pattern is not null or input_predicate is not null
  ) stored,
  input_schema jsonb,                             -- JSON Schema of the object of what the step is given whole; null: unknown
  output_schema jsonb,                            -- JSON Schema of the whole step's output; null: unknown
  constraint steps_pkey primary key (flow_slug, flow_version, step_slug),
  -- the index first, so that no look-up of a step by its slug can take this for the primary key and read a whole flow
  constraint step_index_is_unique_in_a_flow unique (step_index, flow_slug, flow_version),
  constraint step_belongs_to_a_flow foreign key (flow_slug) references pgflow.flows on delete cascade,
  constraint step_slug_is_valid check (pgflow.is_valid_slug(step_slug)),
  constraint step_type_is_known check (step_type in ('single', 'map')),
  constraint step_counts_are_not_negative check (deps_count >= 0 and step_index >= 0),
  constraint step_has_at_least_one_attempt check (opt_max_attempts is null or opt_max_attempts >= 1),
  constraint step_delays_are_not_negative check (
    (opt_base_delay is null or opt_base_delay >= 0)
    and (opt_max_delay is null or opt_max_delay >= 0)
    and (opt_start_delay is null or opt_start_delay >= 0)
  ),
  constraint step_timeout_is_positive check (opt_timeout is null or opt_timeout > 0),
  constraint step_queue_is_valid check (pgflow._is_valid_queue(opt_queue)),
  constraint required_input_pattern_is_an_object check (
    required_input_pattern is null or jsonb_typeof(required_input_pattern) = 'object'
  ),
  constraint forbidden_input_pattern_is_an_object check (
    forbidden_input_pattern is null or jsonb_typeof(forbidden_input_pattern) = 'object'
  ),
  constraint when_unmet_is_known check (when_unmet in ('fail', 'skip', 'skip-cascade')),
  constraint when_exhausted_is_known check (when_exhausted in ('fail', 'skip', 'skip-cascade'))
);

-- deps: the edges of each version of a flow. The primary key serves "who depends on this step".
create table pgflow.deps (
  flow_slug text not null,
  dep_slug text not null,
  step_slug text not null,
  created_at timestamptz not null default now(),
  flow_version int not null default 1,
  constraint deps_pkey primary key (flow_slug, flow_version, dep_slug, step_slug),
  constraint dependency_is_a_step foreign key (flow_slug, flow_version, dep_slug) references pgflow.steps on delete cascade,
  constraint dependent_is_a_step foreign key (flow_slug, flow_version, step_slug) references pgflow.steps on delete cascade,
  constraint no_step_depends_on_itself check (dep_slug <> step_slug)
);
-- "what does this step depend on": building inputs
create index deps_by_step_idx on pgflow.deps (flow_slug, flow_version, step_slug);

-- workers: who serves what, and until when its leases hold: last_heartbeat_at + lease_seconds.
create table pgflow.workers (
  worker_id uuid not null,
  queue_name text not null default '',
  function_name text not null default '',         -- a free label
  started_at timestamptz not null default now(),
  last_heartbeat_at timestamptz not null default now(),
  deprecated_at timestamptz,                      -- an operator asks it to drain
  stopped_at timestamptz,
  lease_seconds int,                              -- null: no lease, as for rows written by hand; see requeue_stalled_tasks
  flow_slugs text[] not null default '{}',
  fingerprints text[] not null default '{}',      -- of its flows' shapes: it serves the versions that have them
  queues text[],                                  -- null: every queue of its flows
  isolating bool not null default false,          -- it holds a suspect alone; see claim_tasks
  lane_ids int[] not null default '{}',           -- what the three columns above come to; renewed by each heartbeat
  constraint workers_pkey primary key (worker_id),
  constraint lease_is_positive check (lease_seconds > 0),
  constraint served_shapes_match_flows check (cardinality(flow_slugs) = cardinality(fingerprints))
) with (fillfactor = 50);

-- runs: one execution of one version of a flow. The row is the lock of everything under it (see core/README.md).
-- No foreign keys on runtime tables: each would cost a look-up per row on the hot path, and only functions write here.
create table pgflow.runs (
  run_id uuid not null default pgflow._new_run_id(),
  flow_slug text not null,
  status text not null default 'started',
  input jsonb not null,
  output jsonb,
  remaining_steps int not null default 0,
  started_at timestamptz not null default now(),
  completed_at timestamptz,
  failed_at timestamptz,
  flow_version int not null default 1,
  cancelled_at timestamptz,
  watched bool not null default false,            -- someone waits for a NOTIFY at its end
  deadline_at timestamptz,                        -- when an open run is failed; null without a deadline, and once ended
  end_reason text,                                -- why it was cancelled, or failed as a whole; null when a step failed it
  retried_count int not null default 0,           -- how often retry_run took it up again
  constraint runs_pkey primary key (run_id),
  constraint run_status_is_known check (status in ('started', 'completed', 'failed', 'cancelled')),
  constraint run_remaining_steps_are_not_negative check (remaining_steps >= 0),
  constraint run_has_at_most_one_end check (num_nonnulls(completed_at, failed_at, cancelled_at) <= 1),
  constraint run_output_only_when_completed check (output is null or status = 'completed'),
  constraint run_ends_after_its_start check (coalesce(completed_at, failed_at, cancelled_at, started_at) >= started_at)
) with (fillfactor = 70);
-- listings; started_at never changes, so updates of a run stay HOT
create index runs_by_flow_idx on pgflow.runs (flow_slug, started_at);
-- enforce_deadlines: open runs that are overdue. No status in the predicate: it would cost every run's end its HOT update.
create index runs_by_deadline_idx on pgflow.runs (deadline_at) where deadline_at is not null;

-- step_states: where each step of a run stands.
create table pgflow.step_states (
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  status text not null default 'created',
  remaining_tasks int,
  initial_tasks int,                              -- null until a map is sized
  remaining_deps int not null default 0,
  output jsonb,
  error_message text,
  skip_reason text,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  skipped_at timestamptz,
  flow_version int not null default 1,
  cancelled_at timestamptz,
  input_size bigint not null default 0,           -- about the bytes of its whole inputs so far; see _json_size
  constraint step_states_pkey primary key (run_id, step_slug),
  constraint step_state_status_is_known check (
    status in ('created', 'started', 'completed', 'failed', 'skipped', 'cancelled')
  ),
  constraint step_state_counts_are_not_negative check (
    remaining_deps >= 0 and coalesce(remaining_tasks, 0) >= 0 and coalesce(initial_tasks, 0) >= 0
  ),
  constraint completed_step_has_no_remaining_tasks check (status <> 'completed' or remaining_tasks = 0),
  constraint remaining_tasks_is_null_before_the_start check (
    status not in ('created', 'skipped') or remaining_tasks is null
  ),
  constraint started_step_has_initial_tasks check (status <> 'started' or initial_tasks is not null),
  constraint step_output_only_when_completed check (output is null or status = 'completed'),
  constraint skip_reason_matches_status check ((status = 'skipped') = (skip_reason is not null)),
  constraint skip_reason_is_known check (skip_reason in ('condition_unmet', 'handler_failed', 'dependency_skipped')),
  constraint step_has_at_most_one_end check (num_nonnulls(completed_at, failed_at, skipped_at, cancelled_at) <= 1),
  constraint step_times_are_in_order check (
    coalesce(started_at, created_at) >= created_at
    and coalesce(completed_at, failed_at, skipped_at, cancelled_at, started_at, created_at) >= coalesce(started_at, created_at)
  )
) with (fillfactor = 70);

-- step_tasks: the units of work; a single step has one, a map step one per element.
-- A queued task is ready (visible_at null) or delayed (visible_at set: backoff, start delay). A task that becomes ready
-- gets a fresh message_id in the same transaction: claims follow message_id, and the claim floor relies on it.
create table pgflow.step_tasks (
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  task_index int not null default 0,
  message_id bigint not null default nextval('pgflow.message_ids'),
  status text not null default 'queued',
  attempts_count int not null default 0,
  error_message text,
  output jsonb,
  queued_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  last_worker_id uuid,
  requeued_count int not null default 0,          -- lost leases; apart from attempts
  last_requeued_at timestamptz,
  permanently_stalled_at timestamptz,
  lane_id int not null,                           -- filled by a trigger when an insert does not name it
  fence bigint not null default 0,                -- the number of the claim that holds, or last ended, this task
  visible_at timestamptz,
  input jsonb,                                    -- a map task's element, copied once when the map is sized
  skipped_at timestamptz,
  cancelled_at timestamptz,
  read_count int not null default 0,              -- how often read_with_poll reserved it
  constraint step_tasks_pkey primary key (run_id, step_slug, task_index),
  constraint task_status_is_known check (
    status in ('queued', 'started', 'completed', 'failed', 'skipped', 'cancelled')
  ),
  constraint task_counts_are_not_negative check (task_index >= 0 and attempts_count >= 0 and requeued_count >= 0),
  constraint task_output_only_when_ended check (output is null or status in ('completed', 'failed')),
  constraint only_a_queued_task_is_delayed check (visible_at is null or status = 'queued'),
  constraint task_has_at_most_one_end check (num_nonnulls(completed_at, failed_at, skipped_at, cancelled_at) <= 1),
  constraint task_times_are_in_order check (
    coalesce(started_at, queued_at) >= queued_at
    and coalesce(completed_at, failed_at, skipped_at, cancelled_at, started_at, queued_at) >= coalesce(started_at, queued_at)
  )
) with (fillfactor = 70);
-- claim_tasks: the oldest ready tasks of a lane
create index step_tasks_ready_idx on pgflow.step_tasks (lane_id, message_id) where status = 'queued' and visible_at is null;
-- claim_tasks: delayed tasks that are due
create index step_tasks_delayed_idx on pgflow.step_tasks (lane_id, visible_at) where status = 'queued' and visible_at is not null;
-- start_tasks, set_vt_batch: reserved or delayed tasks by message; ready ones are found in step_tasks_ready_idx
create index step_tasks_delayed_message_idx on pgflow.step_tasks (message_id) where status = 'queued' and visible_at is not null;
-- claim_tasks: suspects, which were lost with two workers; few or none
create index step_tasks_suspect_idx on pgflow.step_tasks (lane_id, message_id)
  where status = 'queued' and visible_at is null and requeued_count >= 2;
-- recover_tasks, release_strays: what a worker holds
create index step_tasks_held_idx on pgflow.step_tasks (last_worker_id) where status = 'started';

-- task_attempts: what state cannot tell any more: attempts that failed, and leases that were lost. Append-only.
create table pgflow.task_attempts (
  attempt_id bigint generated always as identity,
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  task_index int not null,
  attempt int not null,                           -- from 1
  outcome text not null,
  error_class text not null,
  error_message text not null,
  traceback text not null default '',
  fence bigint not null,
  worker_id uuid,
  started_at timestamptz,
  ended_at timestamptz not null,
  constraint task_attempts_pkey primary key (attempt_id),
  constraint attempt_outcome_is_known check (outcome in ('failed', 'lost'))
);
create index task_attempts_by_task_idx on pgflow.task_attempts (run_id, step_slug, task_index);

-- claimed_task: one leased task, or (refusal set) one result that was not taken.
-- input: {"run": …, "<dep slug>": …}, sent with the first task of each step in a batch only, null with the others.
-- element: the map element; SQL null for a single step. timeout: seconds.
create type pgflow.claimed_task as (
  flow_slug text,
  flow_version int,
  run_id uuid,
  step_slug text,
  task_index int,
  attempt int,
  max_attempts int,
  fence bigint,
  timeout int,
  input jsonb,
  element jsonb,
  refusal text
);

-- task_refusal: a result that was not taken. reason: lease_lost (the claim is not current) or run_ended.
create type pgflow.task_refusal as (
  run_id uuid,
  step_slug text,
  task_index int,
  fence bigint,
  reason text
);

-- step_task_record: a started task as a foreign worker gets it from start_tasks.
-- input: {} for a root step, {"<dep slug>": output} for a dependent one, the element for a map task; flow_input: the run's input.
create type pgflow.step_task_record as (
  flow_slug text,
  run_id uuid,
  step_slug text,
  input jsonb,
  msg_id bigint,
  task_index int,
  flow_input jsonb,
  fence bigint
);

-- message_record: a message as a foreign worker reads it: one queued task by its message id.
-- message: {"flow_slug", "run_id", "step_slug", "task_index"}; vt: until when nobody else is given it.
create type pgflow.message_record as (
  msg_id bigint,
  read_ct int,
  enqueued_at timestamptz,
  vt timestamptz,
  message jsonb
);

-- _now: the database's clock, the only one the core reads. Tests set pgflow.now to freeze or move it.
-- Not now(): that is the transaction's start, and a long transaction would hand out shortened leases.
-- A body that is parsed once needs no search_path and can be inlined.
-- Locks: none.  Raises: nothing.
create function pgflow._now() returns timestamptz
language sql volatile parallel safe
return coalesce(nullif(current_setting('pgflow.now', true), '')::timestamptz, clock_timestamp());

-- _visible_at: when a task with this delay (seconds) is due; null when there is no delay, so that it is ready at once.
-- Stable, not immutable, like the addition in it: otherwise it could not be inlined.
-- Locks: none.  Raises: nothing.
create function pgflow._visible_at(p_now timestamptz, p_delay int) returns timestamptz
language sql stable parallel safe
return case when p_delay > 0 then p_now + p_delay * interval '1 second' end;

-- _json_size: about the bytes of a stored value: what it takes on disk when that is little, else the length of its text.
-- Exact enough to keep a step's whole inputs below what jsonb can hold (256 MB): compression makes a value at most 255
-- times smaller, so ten dependencies of less than 60 kB on disk have less than 153 MB together.
-- Locks: none.  Raises: nothing.
create function pgflow._json_size(p_value jsonb) returns bigint
language sql stable parallel safe
return case when pg_column_size(p_value) < 60000 then pg_column_size(p_value) else octet_length(p_value::text) end;

-- _pattern_shape: an input pattern as it stands in a shape: {"defined": false}, or {"defined": true, "value": pattern}.
-- Locks: none.  Raises: nothing.
create function pgflow._pattern_shape(p_pattern jsonb) returns jsonb
language sql immutable parallel safe
return case
  when p_pattern is null then '{"defined": false}'::jsonb
  else jsonb_build_object('defined', true, 'value', p_pattern) end;

-- _schemas_shape: the keys "inputSchema" and "outputSchema" of a shape, each where there is one. (jsonb_strip_nulls would reach
-- into the schemas.)
-- Locks: none.  Raises: nothing.
create function pgflow._schemas_shape(p_input_schema jsonb, p_output_schema jsonb) returns jsonb
language sql immutable
set search_path = ''
as $fn$
  select case when p_input_schema is null then '{}' else jsonb_build_object('inputSchema', p_input_schema) end
    || case when p_output_schema is null then '{}' else jsonb_build_object('outputSchema', p_output_schema) end
$fn$;

-- _advance_claim_floor: move a lane's claim floor up to its oldest ready task, in two steps.
-- A message id is drawn before its transaction commits, so the oldest task visible now is not yet a floor: an open
-- transaction may still bring an older one. Therefore it is only noted (next_floor), together with a transaction id that
-- was given out after that look (next_floor_xid): whoever drew an older message id has a smaller one, for every function
-- of the core gets its transaction id, by locking or writing a row, before it draws message ids from the uncached
-- sequence. Once no transaction below the noted id is open, every task older than the note is visible; then the floor
-- becomes the note or the oldest task visible then, whichever is less.
-- With no task ready the next message id takes the place of the oldest task's.
-- A snapshot's own xmax will not do as that id: it is the last *completed* one plus one, and open ones may be beyond it.
-- A reader's old snapshot does not hold up the floor; an open transaction that has written does.
-- Locks: lanes SKIP LOCKED.  Writes: lanes.  Idempotent: yes.  Raises: nothing.
create function pgflow._advance_claim_floor(p_lane_id int) returns void
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_next_id bigint;
  v_given_out bigint;
  v_current bigint;
begin
  update pgflow.lanes l set
    claim_floor = greatest(l.claim_floor, least(l.next_floor, o.message_id)), next_floor = null, next_floor_xid = null
  from (
    select x.lane_id, (
      select t.message_id from pgflow.step_tasks t
      where t.lane_id = x.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= x.claim_floor
      order by t.message_id limit 1
    ) as message_id
    from pgflow.lanes x
    where x.lane_id = p_lane_id and x.next_floor_xid <= pg_snapshot_xmin(pg_current_snapshot())
    for update of x skip locked
  ) o
  where l.lane_id = o.lane_id;

  select case when m.is_called then m.last_value + 1 else m.last_value end into v_next_id from pgflow.message_ids m;
  -- A subtransaction, because the transaction's own id is from before the look; the row tells the new one as its xmin.
  begin
    update pgflow.lanes l set next_floor = coalesce(o.message_id, v_next_id)
    from (
      select x.lane_id, (
        select t.message_id from pgflow.step_tasks t
        where t.lane_id = x.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= x.claim_floor
        order by t.message_id limit 1
      ) as message_id
      from pgflow.lanes x
      where x.lane_id = p_lane_id
        -- an id from the future is one of another cluster (dump and restore): it would hold up the floor
        and (x.next_floor is null or x.next_floor_xid > pg_snapshot_xmax(pg_current_snapshot()))
      for update of x skip locked
    ) o
    where l.lane_id = o.lane_id
    returning l.xmin::text::bigint into v_given_out;
  exception when lock_not_available then
    return;
  end;
  if v_given_out is null then
    return;
  end if;
  -- xmin has the lower 32 bits of the id, which was given out after the transaction's own and within 2^31 of it
  v_current := pg_current_xact_id()::text::bigint;
  update pgflow.lanes l set
    next_floor_xid = (v_current + (v_given_out - v_current % 4294967296 + 4294967296) % 4294967296)::text::xid8
  where l.lane_id = p_lane_id;
end
$fn$;

-- _cascade_force_skip_steps: skip an open step for this reason, and with reason dependency_skipped all that depends on it;
-- returns how many steps were skipped.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.  Writes: runs, step_states, step_tasks; NOTIFY.
-- Idempotent: yes.  Raises: nothing.
create function pgflow._cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text) returns int
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_skipped record;
begin
  perform 1 from pgflow.runs r
  where r.run_id = _cascade_force_skip_steps.run_id and r.status = 'started' for no key update;
  if not found then
    return 0;
  end if;
  select * into v_skipped from pgflow._skip_steps(
    array[_cascade_force_skip_steps.run_id], array[_cascade_force_skip_steps.step_slug],
    _cascade_force_skip_steps.skip_reason, null, array[true], pgflow._now());
  if v_skipped.run_ids is null then
    return 0;
  end if;
  perform pgflow._settle_steps(v_skipped.run_ids, v_skipped.step_slugs, pgflow._now());
  return cardinality(v_skipped.run_ids);
end
$fn$;

-- _check_batch: refuse parallel arrays of different length; null counts as a length of its own.
-- Locks: none.  Raises: PF400.
create function pgflow._check_batch(p_function text, p_lengths int[]) returns void
language plpgsql immutable
set search_path = ''
as $fn$
begin
  if array_position(p_lengths, null) is not null or p_lengths[1] <> any (p_lengths) then
    perform pgflow._refuse('PF400',
      format('%s got arrays of different length: %s', p_function, array_to_string(p_lengths, ', ', 'null')),
      'Give arrays of one length, an element of each for every task.');
  end if;
end
$fn$;

-- _check_options: refuse options out of their bounds; null is always fine. p_what names the flow or step.
-- Locks: none.  Raises: PF400.
create function pgflow._check_options(
  p_what text,
  p_max_attempts int,
  p_base_delay int,
  p_timeout int,
  p_start_delay int,
  p_max_delay int,
  p_queue text,
  p_deadline int default null
) returns void
language plpgsql immutable
set search_path = ''
as $fn$
declare
  v_problem text := case
    when p_max_attempts < 1 then format('max_attempts must be at least 1, not %s', p_max_attempts)
    when p_base_delay < 0 then format('base_delay must not be negative, but is %s', p_base_delay)
    when p_timeout < 1 then format('timeout must be at least 1 second, not %s', p_timeout)
    when p_start_delay < 0 then format('start_delay must not be negative, but is %s', p_start_delay)
    when p_max_delay < 0 then format('max_delay must not be negative, but is %s', p_max_delay)
    when p_deadline < 1 then format('deadline must be at least 1 second, not %s', p_deadline)
    when not pgflow._is_valid_queue(p_queue) then format('queue %L must have 1 to 128 characters', p_queue)
  end;
begin
  if v_problem is not null then
    perform pgflow._refuse('PF400', format('%s: %s', p_what, v_problem),
      'Give a value that is allowed, or null for the default.');
  end if;
end
$fn$;

-- _check_same_runs: refuse run ids that belong to another flow or were started with another input.
-- Locks: none.  Raises: PF410.
create function pgflow._check_same_runs(p_flow_slug text, p_run_ids uuid[], p_inputs jsonb[]) returns void
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_run_id uuid;
begin
  select r.run_id into v_run_id
  from unnest(p_run_ids, p_inputs) g(run_id, input)
  join pgflow.runs r on r.run_id = g.run_id
  where r.flow_slug <> p_flow_slug or r.input <> g.input
  limit 1;
  if found then
    perform pgflow._refuse('PF410', format('run %s exists already with another flow or input', v_run_id),
      'Use a new run id for a new run.');
  end if;
end
$fn$;

-- _check_shape: refuse what is no shape of a flow; add_step checks what is in the steps.
-- Locks: none.  Raises: PF400.
create function pgflow._check_shape(p_flow_slug text, p_shape jsonb) returns void
language plpgsql immutable
set search_path = ''
as $fn$
begin
  if p_shape -> 'steps' is null or jsonb_typeof(p_shape -> 'steps') <> 'array' or exists (
    select from jsonb_array_elements(p_shape -> 'steps') s
    where coalesce(jsonb_typeof(s -> 'slug'), '') <> 'string'
      or coalesce(jsonb_typeof(s -> 'dependencies'), 'array') <> 'array'
  ) then
    perform pgflow._refuse('PF400', format('flow %L: this is not the shape of a flow', p_flow_slug),
      'A shape is {"steps": [{"slug": "...", "stepType": "single", "dependencies": [], ...}, ...]}.');
  end if;
end
$fn$;

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

-- _check_step: refuse a step whose parts do not fit; returns what a map runs over (null for a single step).
-- Locks: none.  Raises: PF400.
create function pgflow._check_step(
  p_what text,
  p_deps text[],
  p_step_type text,
  p_when_unmet text,
  p_when_exhausted text,
  p_map_over text,
  p_required_input_pattern jsonb,
  p_forbidden_input_pattern jsonb
) returns text
language plpgsql immutable
set search_path = ''
as $fn$
declare
  v_map_over text := p_map_over;
begin
  if p_step_type is null or p_step_type not in ('single', 'map') then
    perform pgflow._refuse('PF400', format('%s: step_type must be single or map, not %L', p_what, p_step_type),
      'A single step has one task, a map one per element of what it runs over.');
  end if;
  if p_when_unmet is null or p_when_unmet not in ('fail', 'skip', 'skip-cascade') then
    perform pgflow._refuse('PF400',
      format('%s: when_unmet must be fail, skip or skip-cascade, not %L', p_what, p_when_unmet),
      'It says what follows when the step''s condition is not met.');
  end if;
  if p_when_exhausted is null or p_when_exhausted not in ('fail', 'skip', 'skip-cascade') then
    perform pgflow._refuse('PF400',
      format('%s: when_exhausted must be fail, skip or skip-cascade, not %L', p_what, p_when_exhausted),
      'It says what follows when a task has no attempts left.');
  end if;
  if jsonb_typeof(p_required_input_pattern) <> 'object' or jsonb_typeof(p_forbidden_input_pattern) <> 'object' then
    perform pgflow._refuse('PF400', format('%s: a pattern must be a JSON object, not %s', p_what,
      coalesce(nullif(jsonb_typeof(p_required_input_pattern), 'object'), jsonb_typeof(p_forbidden_input_pattern))),
      'The input of the step is matched with it by containment: {"run": {...}, "<dependency>": {...}}.');
  end if;
  if cardinality(p_deps) > (select count(distinct dep) from unnest(p_deps) dep where dep is not null) then
    perform pgflow._refuse('PF400', format('%s: deps_slugs has a null or the same step twice', p_what),
      'Name each dependency once.');
  end if;
  if p_step_type = 'single' then
    if p_map_over is not null then
      perform pgflow._refuse('PF400', format('%s: only a map has map_over', p_what),
      'Leave map_over out, or make it a map: step_type => ''map''.');
    end if;
    return null;
  end if;
  if v_map_over is null then
    if cardinality(p_deps) > 1 then
      perform pgflow._refuse('PF400',
        format('%s: a map has one array source, but there are %s dependencies', p_what, cardinality(p_deps)),
        'Name the one it runs over in map_over; the others are given whole to every task.');
    end if;
    v_map_over := coalesce(p_deps[1], 'run');
  elsif v_map_over <> 'run' and not v_map_over = any (p_deps) then
    perform pgflow._refuse('PF400', format('%s: map_over %L is not among its dependencies', p_what, v_map_over),
      'Name one of deps_slugs, or run for the run''s input.');
  end if;
  return v_map_over;
end
$fn$;

-- _compare_flow_shapes: in what a local shape differs from the one in the database, as sentences that name step and
-- property; empty when they agree. Steps are found by slug; their order counts. Options do not count.
-- Properties that the contract's shapes have no word for (mapOver, usesRunInput, inputPredicate, outputStep, inputSchema, outputSchema) count only
-- where the local shape names them.
-- Locks: none.  Raises: as _step_shape.
create function pgflow._compare_flow_shapes(p_local jsonb, p_db jsonb) returns text[]
language plpgsql immutable
set search_path = ''
as $fn$
declare
  v_differences text[];
  v_local text[] := array(select s ->> 'slug' from jsonb_array_elements(p_local -> 'steps') s);
  v_db text[] := array(select s ->> 'slug' from jsonb_array_elements(p_db -> 'steps') s);
begin
  select coalesce(array_agg(x.sentence order by x.place, x.i, x.j), '{}') into v_differences
  from (
    select 1 as place, s.i, 0 as j, format('Step ''%s'' is missing in the database', s.step ->> 'slug') as sentence
    from jsonb_array_elements(p_local -> 'steps') with ordinality s(step, i)
    where not (s.step ->> 'slug') = any (v_db)
    union all
    select 2, s.i, 0, format('Step ''%s'' is only in the database', s.step ->> 'slug')
    from jsonb_array_elements(p_db -> 'steps') with ordinality s(step, i)
    where not (s.step ->> 'slug') = any (v_local)
    union all
    select 3, l.i, k.j, format('Step ''%s'': %s %s: %s vs %s', l.step ->> 'slug', k.property,
      case k.property when 'dependencies' then 'differ' else 'differs' end, n.local -> k.property, n.db -> k.property)
    from jsonb_array_elements(p_local -> 'steps') with ordinality l(step, i)
    join jsonb_array_elements(p_db -> 'steps') d(step) on d.step ->> 'slug' = l.step ->> 'slug'
    cross join lateral (
      select pgflow._step_shape(l.step) as local, pgflow._step_shape(d.step) as db
    ) n
    cross join (values
      (1, 'stepType', true), (2, 'dependencies', true), (3, 'whenUnmet', true), (4, 'whenExhausted', true),
      (5, 'requiredInputPattern', true), (6, 'forbiddenInputPattern', true), (7, 'mapOver', false),
      (8, 'usesRunInput', false), (9, 'inputPredicate', false), (10, 'inputSchema', false),
      (11, 'outputSchema', false)
    ) k(j, property, always)
    where (k.always or l.step ? k.property) and n.local -> k.property is distinct from n.db -> k.property
    union all
    select 4, k.j, 0, format('Flow: %s differs: %s vs %s', k.property, p_local -> k.property, coalesce(p_db -> k.property, 'null'))
    from (values (1, 'inputSchema'), (2, 'outputSchema')) k(j, property)
    where p_local ? k.property and p_local -> k.property is distinct from p_db -> k.property
  ) x;
  if v_local operator(pg_catalog.<>) v_db and v_local operator(pg_catalog.@>) v_db and v_db operator(pg_catalog.@>) v_local
  then
    v_differences := v_differences || format('Flow: order of steps differs: %s vs %s', to_jsonb(v_local), to_jsonb(v_db));
  end if;
  if p_local ? 'outputStep' and coalesce(p_local -> 'outputStep', 'null') <> coalesce(p_db -> 'outputStep', 'null') then
    v_differences := v_differences
      || format('Flow: outputStep differs: %s vs %s', p_local -> 'outputStep', coalesce(p_db -> 'outputStep', 'null'));
  end if;
  return v_differences;
end
$fn$;

-- _create_flow_from_shape: create_flow and add_step for what a shape says; "options" of the flow and of steps
-- ("maxAttempts", "baseDelay", "timeout", "startDelay", "maxDelay", "retryOn", "queue", "priority"; of the flow also
-- "deadline") ride along. See _get_flow_shape for the rest.
-- Locks, writes: as create_flow and add_step.  Idempotent: yes.  Raises: PF400 no shape; as create_flow and add_step.
create function pgflow._create_flow_from_shape(p_flow_slug text, p_shape jsonb) returns void
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_options jsonb := p_shape -> 'options';
  v_step jsonb;
begin
  perform pgflow._check_shape(p_flow_slug, p_shape);
  perform pgflow.create_flow(
    p_flow_slug,
    max_attempts => (v_options ->> 'maxAttempts')::int,
    base_delay => (v_options ->> 'baseDelay')::int,
    timeout => (v_options ->> 'timeout')::int,
    max_delay => (v_options ->> 'maxDelay')::int,
    queue => v_options ->> 'queue',
    priority => (v_options ->> 'priority')::int,
    output_step => p_shape ->> 'outputStep',
    deadline => (v_options ->> 'deadline')::int,
    input_schema => p_shape -> 'inputSchema',
    output_schema => p_shape -> 'outputSchema');
  -- a loop, because a step's dependencies are there before it
  for v_step in select s.step from jsonb_array_elements(p_shape -> 'steps') with ordinality s(step, i) order by s.i loop
    v_options := v_step -> 'options';
    perform pgflow.add_step(
      p_flow_slug,
      v_step ->> 'slug',
      array(select jsonb_array_elements_text(coalesce(v_step -> 'dependencies', '[]'))),
      max_attempts => (v_options ->> 'maxAttempts')::int,
      base_delay => (v_options ->> 'baseDelay')::int,
      timeout => (v_options ->> 'timeout')::int,
      start_delay => (v_options ->> 'startDelay')::int,
      step_type => coalesce(v_step ->> 'stepType', 'single'),
      required_input_pattern => pgflow._shape_pattern(v_step -> 'requiredInputPattern'),
      forbidden_input_pattern => pgflow._shape_pattern(v_step -> 'forbiddenInputPattern'),
      when_unmet => coalesce(v_step ->> 'whenUnmet', 'skip'),
      when_exhausted => coalesce(v_step ->> 'whenExhausted', 'fail'),
      map_over => v_step ->> 'mapOver',
      uses_run_input => (v_step ->> 'usesRunInput')::bool,
      max_delay => (v_options ->> 'maxDelay')::int,
      retry_on => case when jsonb_typeof(v_options -> 'retryOn') = 'array'
        then array(select jsonb_array_elements_text(v_options -> 'retryOn')) end,
      queue => v_options ->> 'queue',
      priority => (v_options ->> 'priority')::int,
      input_predicate => (v_step ->> 'inputPredicate')::jsonpath,
      input_schema => v_step -> 'inputSchema',
      output_schema => v_step -> 'outputSchema');
  end loop;
end
$fn$;

-- _definition_violations: part of check_invariants: steps, dependencies and lanes of a version belong together.
-- Locks: none.  Raises: nothing.
create function pgflow._definition_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  select 'deps_count_is_wrong', null::uuid, s.step_slug, null::int,
    format('step %L of flow %L version %s counts %s dependencies and has %s', s.step_slug, s.flow_slug, s.flow_version,
      s.deps_count, n.deps)
  from pgflow.steps s
  cross join lateral (
    select count(*) as deps from pgflow.deps d
    where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
  ) n
  where s.deps_count <> n.deps

  union all
  select 'map_has_no_source', null, s.step_slug, null,
    format('step %L of flow %L version %s is a %s step over %s', s.step_slug, s.flow_slug, s.flow_version, s.step_type,
      coalesce(quote_literal(s.map_over), 'nothing'))
  from pgflow.steps s
  where case
    when s.step_type = 'single' then s.map_over is not null
    when s.map_over = 'run' then false
    else not exists (
      select from pgflow.deps d
      where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
        and d.dep_slug = s.map_over) end

  union all
  select 'map_source_is_not_marked', null, s.step_slug, null,
    format('step %L of flow %L version %s has feeds_map %s', s.step_slug, s.flow_slug, s.flow_version, s.feeds_map)
  from pgflow.steps s
  where s.feeds_map <> exists (
    select from pgflow.steps m
    where m.flow_slug = s.flow_slug and m.flow_version = s.flow_version and m.map_over = s.step_slug)

  union all
  select 'step_is_in_a_foreign_lane', null, s.step_slug, null,
    format('step %L of flow %L version %s has lane %s, which is not one of that version', s.step_slug, s.flow_slug,
      s.flow_version, s.lane_id)
  from pgflow.steps s
  where not exists (
    select from pgflow.lanes l
    where l.lane_id = s.lane_id and l.flow_slug = s.flow_slug and l.flow_version = s.flow_version)
$fn$;

-- _describe_steps: the steps of a run as a JSON array in the flow's order, each with its dependencies and task counts.
-- "retrying" counts queued tasks that have an attempt behind them.
-- Locks: none.  Raises: nothing.
create function pgflow._describe_steps(p_run_id uuid, p_with_values bool) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object(
    'step_slug', st.step_slug, 'step_index', s.step_index, 'step_type', s.step_type, 'status', st.status,
    'deps', coalesce((
      select jsonb_agg(d.dep_slug order by d.dep_slug) from pgflow.deps d
      where d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = st.step_slug), '[]'),
    'initial_tasks', st.initial_tasks, 'remaining_tasks', st.remaining_tasks,
    'tasks', jsonb_build_object(
      'queued', n.queued, 'started', n.started, 'completed', n.completed, 'failed', n.failed, 'skipped', n.skipped,
      'cancelled', n.cancelled, 'retrying', n.retrying),
    'error_message', st.error_message, 'skip_reason', st.skip_reason, 'created_at', st.created_at,
    'started_at', st.started_at,
    'ended_at', coalesce(st.completed_at, st.failed_at, st.skipped_at, st.cancelled_at),
    'output', case when p_with_values then st.output end
  ) order by s.step_index, st.step_slug), '[]')
  from pgflow.step_states st
  left join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  cross join lateral (
    select
      count(*) filter (where t.status = 'queued') as queued,
      count(*) filter (where t.status = 'started') as started,
      count(*) filter (where t.status = 'completed') as completed,
      count(*) filter (where t.status = 'failed') as failed,
      count(*) filter (where t.status = 'skipped') as skipped,
      count(*) filter (where t.status = 'cancelled') as cancelled,
      count(*) filter (where t.status = 'queued' and t.attempts_count > 0) as retrying
    from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug
  ) n
  where st.run_id = p_run_id
$fn$;

-- _describe_tasks: the most telling tasks of a run as a JSON array: failed, started, retrying, then the newest.
-- element_hint: the beginning of a map task's element as text, for the telling ones.
-- Locks: none.  Raises: nothing.
create function pgflow._describe_tasks(p_run_id uuid, p_max_tasks int) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object(
    'step_slug', t.step_slug, 'task_index', t.task_index, 'status', t.status, 'attempts_count', t.attempts_count,
    'requeued_count', t.requeued_count, 'error_message', t.error_message, 'queued_at', t.queued_at,
    'started_at', t.started_at,
    'ended_at', coalesce(t.completed_at, t.failed_at, t.skipped_at, t.cancelled_at),
    'visible_at', t.visible_at, 'last_worker_id', t.last_worker_id,
    'element_hint', case when t.place < 4 then left(t.input::text, 200) end
  ) order by t.place, t.message_id desc), '[]')
  from (
    select x.*, case
      when x.status = 'failed' then 1
      when x.status = 'started' then 2
      when x.status = 'queued' and x.attempts_count > 0 then 3
      else 4 end as place
    from pgflow.step_tasks x where x.run_id = p_run_id
    order by place, x.message_id desc
    limit p_max_tasks
  ) t
$fn$;

-- _end_runs: end open runs as failed or cancelled; what is open in them ends with them, in this transaction.
-- p_reason: why, where it is the run as a whole that ends; null when the failed step tells.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._end_runs(p_run_ids uuid[], p_status text, p_reason text, p_now timestamptz) returns void
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  update pgflow.step_states st set
    status = 'cancelled', cancelled_at = greatest(p_now, coalesce(st.started_at, st.created_at))
  where st.run_id = any (p_run_ids) and st.status in ('created', 'started');

  update pgflow.step_tasks t set
    status = 'cancelled', cancelled_at = greatest(p_now, coalesce(t.started_at, t.queued_at)), visible_at = null
  where t.run_id = any (p_run_ids) and t.status in ('queued', 'started');

  perform pg_notify('pgflow_runs', r.run_id::text)
  from pgflow.runs r where r.run_id = any (p_run_ids) and r.status = 'started' and r.watched;
  update pgflow.runs r set
    status = p_status, end_reason = p_reason, deadline_at = null,
    failed_at = case when p_status = 'failed' then greatest(p_now, r.started_at) end,
    cancelled_at = case when p_status = 'cancelled' then greatest(p_now, r.started_at) end
  where r.run_id = any (p_run_ids) and r.status = 'started';
end
$fn$;

-- _exhaust_steps: what follows from tasks that have just failed for good, by their steps' when_exhausted: the step and its
-- run fail, or the step is skipped (handler_failed), alone or with all that depends on it. A step with several such tasks
-- counts once, with the first one's message. A run that fails in this call skips nothing.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._exhaust_steps(p_run_ids uuid[], p_step_slugs text[], p_messages text[], p_now timestamptz)
returns void
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_failed uuid[];
  v_skip record;
  v_skipped record;
begin
  with failed as (
    update pgflow.step_states st set
      status = 'failed', failed_at = greatest(p_now, st.started_at), error_message = g.message
    from pgflow._exhausted(p_run_ids, p_step_slugs, p_messages) g
    where st.ctid = g.tid and g.when_exhausted = 'fail'
    returning st.run_id
  )
  select array_agg(distinct f.run_id) into v_failed from failed f;
  if v_failed is not null then
    perform pgflow._end_runs(v_failed, 'failed', null, p_now);
  end if;

  select array_agg(g.run_id) as run_ids, array_agg(g.step_slug) as step_slugs, array_agg(g.message) as messages,
    array_agg(g.when_exhausted = 'skip-cascade') as cascades
  into v_skip
  from pgflow._exhausted(p_run_ids, p_step_slugs, p_messages) g;
  if v_skip.run_ids is not null then
    select * into v_skipped from pgflow._skip_steps(
      v_skip.run_ids, v_skip.step_slugs, 'handler_failed', v_skip.messages, v_skip.cascades, p_now);
    perform pgflow._settle_steps(v_skipped.run_ids, v_skipped.step_slugs, p_now);
  end if;
end
$fn$;

-- _exhausted: of these steps, those that are started, each once, with the first of its messages and its when_exhausted.
-- Locks: none.  Raises: nothing.
create function pgflow._exhausted(p_run_ids uuid[], p_step_slugs text[], p_messages text[])
returns table (tid tid, run_id uuid, step_slug text, message text, when_exhausted text)
language plpgsql stable rows 10
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  return query
  select st.tid, g.run_id, g.step_slug, g.message, s.when_exhausted
  from (
    select distinct on (x.run_id, x.step_slug) x.run_id, x.step_slug, x.message
    from unnest(p_run_ids, p_step_slugs, p_messages) with ordinality x(run_id, step_slug, message, i)
    order by x.run_id, x.step_slug, x.i
  ) g
  cross join lateral (
    select x.ctid as tid, x.status, x.flow_slug, x.flow_version
    from pgflow.step_states x
    where x.run_id = g.run_id and x.step_slug = g.step_slug
    offset 0
  ) st
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = g.step_slug
  where st.status = 'started';
end
$fn$;

-- _explain_lane: what a ready task of this lane waits for: worker (its turn, live workers serve the lane) or no_worker, and
-- the end of the sentence that says so. A worker without a shape (a foreign one) serves the queue it is registered for; one
-- without a lease lives until it stops.
-- Locks: none.  Cost: reads the workers, and at most 1000 ready tasks of the lane.  Raises: nothing.
create function pgflow._explain_lane(p_lane_id int, p_now timestamptz, out waits_for text, out reason text) returns record
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_lane pgflow.lanes;
  v_workers record;
  v_ready bigint;
begin
  select l.* into v_lane from pgflow.lanes l where l.lane_id = p_lane_id;
  select
    count(*) as known,
    count(*) filter (where w.is_live) as live,
    count(*) filter (where w.is_live and w.fits_version) as of_version,
    count(*) filter (where w.is_live and w.fits_version and w.fits_queue) as of_queue,
    count(*) filter (where w.is_live and w.fits_version and w.fits_queue and w.deprecated_at is null) as serving,
    max(w.last_heartbeat_at) as last_seen_at
  into v_workers
  from (
    select w.deprecated_at, w.last_heartbeat_at,
      w.stopped_at is null and (
        w.lease_seconds is null or w.last_heartbeat_at + w.lease_seconds * interval '1 second' >= p_now) as is_live,
      w.flow_slugs = '{}' or exists (
        select from unnest(w.flow_slugs, w.fingerprints) s(flow_slug, fingerprint)
        join pgflow.flow_versions v on v.flow_slug = s.flow_slug and v.fingerprint = s.fingerprint
        where v.flow_slug = v_lane.flow_slug
          and v_lane.flow_version between coalesce(v.serves_from, v.flow_version) and v.flow_version) as fits_version,
      w.flow_slugs = '{}' or w.queues is null or v_lane.queue_name = any (w.queues) as fits_queue
    from pgflow.workers w
    where v_lane.flow_slug = any (w.flow_slugs) or (w.flow_slugs = '{}' and w.queue_name = v_lane.queue_name)
  ) w;

  waits_for := case when v_workers.serving > 0 then 'worker' else 'no_worker' end;
  if v_workers.serving > 0 then
    select count(*) into v_ready
    from (
      select from pgflow.step_tasks t
      where t.lane_id = p_lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= v_lane.claim_floor
      order by t.message_id limit 1000
    ) r;
    reason := format('waits for its turn in queue %L, where %s %s ready and %s live %s', v_lane.queue_name,
      case when v_ready = 1000 then '1000 or more tasks' when v_ready = 1 then '1 task' else v_ready || ' tasks' end,
      case when v_ready = 1 then 'is' else 'are' end, v_workers.serving,
      case when v_workers.serving = 1 then 'worker takes them' else 'workers take them' end);
  else
    reason := case
      when v_workers.known = 0 then format('waits for a worker: none was ever registered for flow %L', v_lane.flow_slug)
      when v_workers.live = 0 then format('waits for a worker: all of flow %L (%s) have stopped or let their lease run out, the last one was seen at %s',
        v_lane.flow_slug, v_workers.known, pgflow._explain_moment(v_workers.last_seen_at))
      when v_workers.of_version = 0 then format('waits for a worker of version %s of flow %L: all live ones (%s) have only other versions',
        v_lane.flow_version, v_lane.flow_slug, v_workers.live)
      when v_workers.of_queue = 0 then format('waits for a worker of queue %L: all live ones of flow %L (%s) serve only other queues',
        v_lane.queue_name, v_lane.flow_slug, v_workers.of_version)
      else format('waits for a worker: all live ones of flow %L (%s) were asked to drain and take nothing new',
        v_lane.flow_slug, v_workers.of_queue) end;
  end if;
end
$fn$;

-- _explain_moment: a time as it stands in sentences for people: 2026-11-21 12:00:00 UTC.
-- Locks: none.  Raises: nothing.
create function pgflow._explain_moment(p_at timestamptz) returns text
language sql stable parallel safe
return to_char(p_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"');

-- _explain_open: the open tasks of a run, each with what it waits for, see explain_run.
-- A delayed task with an attempt behind it is in its backoff; one that was read and not started is reserved.
-- Locks: none.  Cost: linear in the run's tasks.  Raises: nothing.
create function pgflow._explain_open(p_run_id uuid, p_now timestamptz)
returns table (step_slug text, task_index int, status text, waits_for text, reason text)
language sql stable
set search_path = ''
as $fn$
  with open as (
    select t.*, t.status = 'queued' and coalesce(t.visible_at <= p_now, true) as is_ready
    from pgflow.step_tasks t
    where t.run_id = p_run_id and t.status in ('queued', 'started')
  ),
  ready_lanes as materialized (
    select o.lane_id, x.waits_for, x.reason
    from (select distinct lane_id from open where is_ready) o
    cross join lateral pgflow._explain_lane(o.lane_id, p_now) x
  )
  select o.step_slug, o.task_index, o.status,
    case
      when o.status = 'started' then 'lease'
      when o.is_ready then l.waits_for
      when o.attempts_count > 0 then 'backoff'
      when o.read_count > 0 then 'reserved'
      else 'start_delay' end,
    l.reason
  from open o
  left join ready_lanes l on l.lane_id = o.lane_id and o.is_ready
$fn$;

-- _explain_steps: a row of explain_run for each open step of a run. A started step waits for its tasks: of what they wait for, the
-- first of lease, worker, no_worker, reserved, backoff, start_delay that any of them waits for stands for all.
-- Locks: none.  Raises: nothing.
create function pgflow._explain_steps(p_run_id uuid, p_now timestamptz)
returns table (step_slug text, status text, waits_for text, detail text, since timestamptz, until timestamptz)
language sql stable
set search_path = ''
as $fn$
  with counted as (
    select o.step_slug, o.waits_for, count(*) as n, min(o.reason) as reason,
      array_position(array['lease', 'worker', 'no_worker', 'reserved', 'backoff', 'start_delay'], o.waits_for) as place
    from pgflow._explain_open(p_run_id, p_now) o
    group by o.step_slug, o.waits_for
  )
  select st.step_slug, st.status,
    case when st.status = 'created' then 'dependency' else coalesce(c.waits_for, 'worker') end,
    case
      when st.status = 'created' and d.open = 0 then
        format('Step %L is ready, but nothing has started it: pgflow.start_ready_steps(run_id) does.', st.step_slug)
      when st.status = 'created' then
        format('Step %L waits for %s of the %s it depends on: %s.', st.step_slug, d.open, d.total, d.names)
      else format('Step %L has %s of %s tasks left%s.', st.step_slug, st.remaining_tasks, st.initial_tasks, ': ' || c.words) end,
    coalesce(st.started_at, st.created_at), null::timestamptz
  from pgflow.step_states st
  cross join lateral (
    select count(*) as total, count(*) filter (where o.status not in ('completed', 'skipped')) as open,
      string_agg(
        format('%L (%s)', o.step_slug, case
          when o.status = 'started' then format('%s of %s tasks left', o.remaining_tasks, o.initial_tasks)
          else 'not started' end),
        ', ' order by o.step_slug) filter (where o.status not in ('completed', 'skipped')) as names
    from pgflow.deps x
    join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = x.dep_slug
    where x.flow_slug = st.flow_slug and x.flow_version = st.flow_version and x.step_slug = st.step_slug
  ) d
  left join lateral (
    select (array_agg(x.waits_for order by x.place))[1] as waits_for,
      string_agg(x.n || ' ' || case x.waits_for
        when 'lease' then 'with a worker'
        when 'worker' then 'ready'
        when 'no_worker' then 'ready without a worker that could take them'
        when 'reserved' then 'reserved by a reader'
        when 'backoff' then 'between two attempts'
        else 'delayed until their start' end, ', ' order by x.place) as words
    from counted x where x.step_slug = st.step_slug
  ) c on true
  where st.run_id = p_run_id and st.status in ('created', 'started')
$fn$;

-- _explain_tasks: a row of explain_run for each open task of a run, at most p_max_tasks, in the order of steps and elements.
-- Locks: none.  Raises: nothing.
create function pgflow._explain_tasks(p_run_id uuid, p_max_tasks int, p_now timestamptz)
returns table (
  step_slug text, task_index int, status text, waits_for text, detail text, since timestamptz, until timestamptz,
  worker_id uuid
)
language sql stable
set search_path = ''
as $fn$
  select t.step_slug, t.task_index, t.status, o.waits_for,
    format('%s %s.',
      case when s.step_type = 'map' then format('Task %s of step %L', t.task_index, t.step_slug)
        else format('The task of step %L', t.step_slug) end,
      case o.waits_for
        when 'lease' then format('is with worker %s%s since %s (attempt %s of %s)%s', t.last_worker_id,
          ' ' || quote_literal(nullif(w.function_name, '')), pgflow._explain_moment(t.started_at), t.attempts_count,
          coalesce(s.opt_max_attempts, f.opt_max_attempts),
          case
            when w.worker_id is null then format(
              '; that worker is not registered any more, so the task counts as stalled after %s', pgflow._explain_moment(x.stalls_at))
            when w.stopped_at is not null then format('; that worker stopped at %s, so it will be recovered', pgflow._explain_moment(w.stopped_at))
            when x.lease_ends_at is null then format('; it has no lease and counts as stalled after %s', pgflow._explain_moment(x.stalls_at))
            when x.lease_ends_at < p_now then format('; its lease ran out at %s, it will be recovered', pgflow._explain_moment(x.lease_ends_at))
            else format('; its lease is valid until %s', pgflow._explain_moment(x.lease_ends_at)) end)
        when 'backoff' then format('is tried again at %s: attempt %s of %s failed%s', pgflow._explain_moment(t.visible_at),
          t.attempts_count, coalesce(s.opt_max_attempts, f.opt_max_attempts), ' (' || left(t.error_message, 200) || ')')
        when 'reserved' then format('is reserved by a reader until %s', pgflow._explain_moment(t.visible_at))
        when 'start_delay' then format('is delayed until its start at %s', pgflow._explain_moment(t.visible_at))
        else o.reason end),
    case
      when t.status = 'started' then t.started_at
      when o.waits_for = 'backoff' then coalesce((
        select max(a.ended_at) from pgflow.task_attempts a
        where a.run_id = t.run_id and a.step_slug = t.step_slug and a.task_index = t.task_index
      ), t.queued_at)
      else greatest(t.queued_at, t.last_requeued_at) end,
    case when t.status = 'started' then coalesce(x.lease_ends_at, x.stalls_at) when t.visible_at > p_now then t.visible_at end,
    case when t.status = 'started' then t.last_worker_id end
  from (
    select y.*, z.step_index from pgflow._explain_open(p_run_id, p_now) y
    join pgflow.runs r on r.run_id = p_run_id
    left join pgflow.steps z
      on z.flow_slug = r.flow_slug and z.flow_version = r.flow_version and z.step_slug = y.step_slug
    order by z.step_index, y.step_slug, y.task_index
    limit greatest(p_max_tasks, 0)
  ) o
  join pgflow.step_tasks t on t.run_id = p_run_id and t.step_slug = o.step_slug and t.task_index = o.task_index
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  join pgflow.flows f on f.flow_slug = st.flow_slug
  left join pgflow.workers w on t.status = 'started' and w.worker_id = t.last_worker_id
  cross join lateral (
    select coalesce(w.stopped_at, w.last_heartbeat_at + w.lease_seconds * interval '1 second') as lease_ends_at,
      t.started_at + (coalesce(s.opt_timeout, f.opt_timeout) + 30) * interval '1 second' as stalls_at
  ) x
$fn$;

-- _fail_large_inputs: record why steps of these runs failed before their first task, and end the runs.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._fail_large_inputs(p_run_ids uuid[], p_now timestamptz) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  with failed as (
    update pgflow.step_states st set error_message = format(
      'the inputs of step %s come to %s MB, more than a task can be given (100 MB): keep large values elsewhere and pass references',
      st.step_slug, st.input_size / 1000000)
    where st.run_id = any (p_run_ids) and st.status = 'failed' and st.error_message is null
    returning st.flow_slug, st.run_id, st.step_slug, st.error_message, st.started_at, st.failed_at
  )
  insert into pgflow.task_attempts (
    flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, started_at, ended_at
  )
  select f.flow_slug, f.run_id, f.step_slug, 0, 0, 'failed', 'InputTooLarge', f.error_message, 0, f.started_at, f.failed_at
  from failed f;
  perform pgflow._end_runs(p_run_ids, 'failed', null, p_now);
end
$fn$;

-- _fail_type_violations: of these steps that have just completed, fail those that a map runs over and whose output is no
-- array: task (keeping the output), step and run. Returns the steps that go on: those of the other runs.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.  Writes: runs, step_states, step_tasks,
-- task_attempts.  Raises: nothing.
create function pgflow._fail_type_violations(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_now timestamptz,
  out run_ids uuid[],
  out step_slugs text[]
) returns record
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_failed uuid[];
begin
  with violating as (
    select st.run_id, st.step_slug, st.output,
      format('[TYPE_VIOLATION] a map runs over step %s, so its output must be an array, but it is %s', st.step_slug,
        coalesce(jsonb_typeof(st.output), 'null')) as message
    from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
    join pgflow.step_states st
      on st.run_id = any (p_run_ids) and st.run_id = g.run_id and st.step_slug = g.step_slug
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    where s.feeds_map and s.step_type = 'single' and jsonb_typeof(st.output) is distinct from 'array'
  ),
  failed_tasks as (
    update pgflow.step_tasks t
    set status = 'failed', completed_at = null, failed_at = t.completed_at, error_message = v.message
    from violating v where t.run_id = any (p_run_ids) and t.run_id = v.run_id and t.step_slug = v.step_slug
    returning t.*
  ),
  recorded as (
    insert into pgflow.task_attempts (
      flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, worker_id,
      started_at, ended_at
    )
    select t.flow_slug, t.run_id, t.step_slug, t.task_index, t.attempts_count, 'failed', 'TypeViolation',
      t.error_message, t.fence, t.last_worker_id, t.started_at, p_now
    from failed_tasks t
  ),
  failed_steps as (
    update pgflow.step_states st
    set status = 'failed', completed_at = null, failed_at = st.completed_at, output = null, error_message = v.message
    from violating v where st.run_id = any (p_run_ids) and st.run_id = v.run_id and st.step_slug = v.step_slug
    returning st.run_id
  )
  select array_agg(distinct f.run_id) into v_failed from failed_steps f;

  perform pgflow._end_runs(v_failed, 'failed', null, p_now);
  select array_agg(g.run_id), array_agg(g.step_slug)
  into _fail_type_violations.run_ids, _fail_type_violations.step_slugs
  from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
  where g.run_id <> all (v_failed);
end
$fn$;

-- _fail_unmet_steps: fail ready steps whose condition is unmet and whose when_unmet is fail, and their runs.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._fail_unmet_steps(p_run_ids uuid[], p_step_slugs text[], p_now timestamptz) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  with failed as (
    update pgflow.step_states st set
      status = 'failed', error_message = 'Condition not met', failed_at = greatest(p_now, st.created_at)
    from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
    where st.run_id = any (p_run_ids) and st.run_id = g.run_id and st.step_slug = g.step_slug and st.status = 'created'
    returning st.flow_slug, st.run_id, st.step_slug, st.error_message, st.failed_at
  )
  -- no attempt was made, but this is where one looks for the reason of a failure
  insert into pgflow.task_attempts (
    flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, started_at, ended_at
  )
  select f.flow_slug, f.run_id, f.step_slug, 0, 0, 'failed', 'ConditionNotMet', f.error_message, 0, f.failed_at, f.failed_at
  from failed f;
  perform pgflow._end_runs(p_run_ids, 'failed', null, p_now);
end
$fn$;

-- _fill_map_source: trigger on deps: a map written by hand runs over its first dependency. add_step names the source itself.
-- Locks: the steps' rows.  Writes: steps.  Raises: nothing.
create function pgflow._fill_map_source() returns trigger
language plpgsql volatile
set search_path = ''
as $fn$
begin
  update pgflow.steps s set map_over = new.dep_slug
  where s.flow_slug = new.flow_slug and s.flow_version = new.flow_version and s.step_slug = new.step_slug
    and s.step_type = 'map' and s.map_over is null;
  if found then
    update pgflow.steps s set feeds_map = true
    where s.flow_slug = new.flow_slug and s.flow_version = new.flow_version and s.step_slug = new.dep_slug;
  end if;
  return null;
end
$fn$;
create trigger fill_map_source after insert on pgflow.deps
for each row execute function pgflow._fill_map_source();

-- _fill_step_lane: trigger on steps: the lane follows from queue and priority; a root map written by hand runs over the
-- run's input.
-- Locks: as _lane.  Writes: the new row.  Raises: nothing.
create function pgflow._fill_step_lane() returns trigger
language plpgsql volatile
set search_path = ''
as $fn$
begin
  new.lane_id := pgflow._lane(new.flow_slug, new.flow_version, new.opt_queue, new.opt_priority);
  if new.step_type = 'map' and new.map_over is null and new.deps_count = 0 then
    new.map_over := 'run';
    new.uses_run_input := false;
  end if;
  return new;
end
$fn$;
create trigger fill_step_lane before insert or update of opt_queue, opt_priority on pgflow.steps
for each row execute function pgflow._fill_step_lane();

-- _fill_task_lane: trigger on step_tasks for inserts that do not name a lane: it is the step's.
-- A message_id given by hand may lie below the lane's claim floor; then the floor is lowered, or the task would wait for ever.
-- The core's own inserts name the lane, so the trigger costs them one null test.
-- Locks: the lane's row where the floor is lowered.  Writes: the new row, lanes.  Raises: nothing.
create function pgflow._fill_task_lane() returns trigger
language plpgsql volatile
set search_path = ''
as $fn$
begin
  select s.lane_id into new.lane_id
  from pgflow.step_states st
  join pgflow.steps s on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  where st.run_id = new.run_id and st.step_slug = new.step_slug;
  update pgflow.lanes l set claim_floor = new.message_id, next_floor = null, next_floor_xid = null
  where l.lane_id = new.lane_id and l.claim_floor > new.message_id;
  return new;
end
$fn$;
create trigger fill_task_lane before insert on pgflow.step_tasks
for each row when (new.lane_id is null) execute function pgflow._fill_task_lane();

-- _get_flow_shape: the shape of a flow's current version as JSON: {"steps": [...]} in step order; an unknown flow has no
-- steps. What a contract shape has no word for is there only when it is not what its absence means: "mapOver",
-- "usesRunInput", "inputPredicate" and "options" of a step, "outputStep" and "options" of the flow, "inputSchema" and
-- "outputSchema" of both; so
-- _create_flow_from_shape makes the same flow of it.
-- Locks: none.  Raises: nothing.
create function pgflow._get_flow_shape(p_flow_slug text) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select jsonb_build_object('steps', coalesce((
    select jsonb_agg(
      jsonb_build_object(
        'slug', s.step_slug, 'stepType', s.step_type, 'dependencies', to_jsonb(d.slugs),
        'whenUnmet', s.when_unmet, 'whenExhausted', s.when_exhausted,
        'requiredInputPattern', pgflow._pattern_shape(s.required_input_pattern),
        'forbiddenInputPattern', pgflow._pattern_shape(s.forbidden_input_pattern))
      || jsonb_strip_nulls(jsonb_build_object(
        -- as add_step fills them in when they are not given
        'mapOver', case when s.map_over <> case
          when cardinality(d.slugs) > 1 then '' else coalesce(d.slugs[1], 'run') end then s.map_over end,
        'usesRunInput', nullif(s.uses_run_input, s.map_over is distinct from 'run'),
        'inputPredicate', s.input_predicate::text,
        'options', nullif(jsonb_strip_nulls(jsonb_build_object(
          'maxAttempts', s.opt_max_attempts, 'baseDelay', s.opt_base_delay, 'timeout', s.opt_timeout,
          'startDelay', s.opt_start_delay, 'maxDelay', s.opt_max_delay, 'retryOn', to_jsonb(s.opt_retry_on),
          'queue', s.opt_queue, 'priority', s.opt_priority)), '{}')))
      || pgflow._schemas_shape(s.input_schema, s.output_schema)
      order by s.step_index)
    from pgflow.flows f
    join pgflow.steps s on s.flow_slug = f.flow_slug and s.flow_version = f.current_version
    cross join lateral (
      select array(
        select x.dep_slug from pgflow.deps x
        where x.flow_slug = s.flow_slug and x.flow_version = s.flow_version and x.step_slug = s.step_slug
        order by x.dep_slug collate "C") as slugs
    ) d
    where f.flow_slug = p_flow_slug
  ), '[]'))
  || coalesce((
    select jsonb_strip_nulls(jsonb_build_object(
      'outputStep', v.output_step,
      'options', nullif(jsonb_strip_nulls(jsonb_build_object(
        'maxAttempts', nullif(f.opt_max_attempts, 3), 'baseDelay', nullif(f.opt_base_delay, 5),
        'timeout', nullif(f.opt_timeout, 60), 'maxDelay', nullif(f.opt_max_delay, 3600),
        'queue', f.opt_queue, 'priority', nullif(f.opt_priority, 0), 'deadline', f.opt_deadline)), '{}')))
      || pgflow._schemas_shape(v.input_schema, v.output_schema)
    from pgflow.flows f
    left join pgflow.flow_versions v on v.flow_slug = f.flow_slug and v.flow_version = f.current_version
    where f.flow_slug = p_flow_slug
  ), '{}')
$fn$;

-- _held: of these claims, those that are current, each with its task's place (ctid), state and the options of its step.
-- The caller holds the runs' locks, so the places stay.
-- Locks: none.  Cost: look-ups by key, whatever the planner believes of the tables.  Raises: nothing.
create function pgflow._held(p_run_ids uuid[], p_step_slugs text[], p_task_indexes int[], p_fences bigint[])
returns table (
  i bigint, tid tid, flow_slug text, run_id uuid, step_slug text, task_index int, fence bigint, attempts_count int,
  requeued_count int, last_worker_id uuid, started_at timestamptz, lane_id int, max_attempts int, base_delay int,
  max_delay int, retry_on text[]
)
language plpgsql stable rows 10
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  return query
  select g.i, t.tid, s.flow_slug, g.run_id, g.step_slug, g.task_index, g.fence, t.attempts_count, t.requeued_count,
    t.last_worker_id, t.started_at, s.lane_id, coalesce(s.opt_max_attempts, f.opt_max_attempts),
    coalesce(s.opt_base_delay, f.opt_base_delay), coalesce(s.opt_max_delay, f.opt_max_delay), s.opt_retry_on
  from unnest(p_run_ids, p_step_slugs, p_task_indexes, p_fences) with ordinality
    g(run_id, step_slug, task_index, fence, i)
  cross join lateral (
    select x.ctid as tid, x.status, x.fence, x.attempts_count, x.requeued_count, x.last_worker_id, x.started_at
    from pgflow.step_tasks x
    where x.run_id = g.run_id and x.step_slug = g.step_slug and x.task_index = g.task_index
    offset 0
  ) t
  cross join lateral (
    select x.flow_slug, x.flow_version
    from pgflow.step_states x
    where x.run_id = g.run_id and x.step_slug = g.step_slug
    offset 0
  ) st
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = g.step_slug
  join pgflow.flows f on f.flow_slug = st.flow_slug
  where t.status = 'started' and t.fence = g.fence;
end
$fn$;

-- _holds_tasks: does the worker hold a task at this moment?
-- Locks: none.  Cost: O(what it holds) through step_tasks_held_idx; asked only where suspects are.  Raises: nothing.
create function pgflow._holds_tasks(p_worker_id uuid) returns bool
language plpgsql stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  return exists (select from pgflow.step_tasks t where t.last_worker_id = p_worker_id and t.status = 'started');
end
$fn$;

-- _is_isolated: must a worker that is isolating get nothing? It holds a suspect; or it runs empty for one that still waits in
-- its lanes. If another has got that one meanwhile, it may go on.
-- Locks: none.  Cost: O(what it holds), and a look into step_tasks_suspect_idx per lane.  Raises: nothing.
create function pgflow._is_isolated(p_worker_id uuid, p_lane_ids int[]) returns bool
language plpgsql stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  if not pgflow._holds_tasks(p_worker_id) then
    return false;
  end if;
  return exists (
    select from pgflow.step_tasks t
    where t.last_worker_id = p_worker_id and t.status = 'started' and t.requeued_count >= 2
  ) or exists (
    select from pgflow.lanes l
    cross join lateral (
      select from pgflow.step_tasks t
      where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is null and t.requeued_count >= 2
        and t.message_id >= l.claim_floor
      offset 0
    ) suspect
    where l.lane_id = any (p_lane_ids));
end
$fn$;

-- _isolate_worker: a worker has found a suspect in this lane; what is it to do?
-- alone: it holds nothing, and is reserved now: it takes the suspect and nothing else.
-- draining: it holds something, and is the one that runs empty: it claims nothing until it does.
-- no: another worker of the lane runs empty already, or is alone with a suspect: this one goes on with ordinary tasks.
-- Two that ask at the same moment may both run empty, which does no harm.
-- Locks: the worker's row, SKIP LOCKED.  Writes: workers.  Idempotent: yes.  Raises: nothing.
create function pgflow._isolate_worker(p_worker_id uuid, p_lane_id int) returns text
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_holds bool := pgflow._holds_tasks(p_worker_id);
begin
  if v_holds and exists (
    select from pgflow.workers w
    where w.isolating and w.worker_id <> p_worker_id and w.stopped_at is null and w.deprecated_at is null
      and w.last_heartbeat_at + w.lease_seconds * interval '1 second' >= pgflow._now() and p_lane_id = any (w.lane_ids)
  ) then
    return 'no';
  end if;
  update pgflow.workers w set isolating = true
  where w.worker_id = (
    select x.worker_id from pgflow.workers x where x.worker_id = p_worker_id for update skip locked);
  return case when not found then 'no' when v_holds then 'draining' else 'alone' end;
end
$fn$;

-- _judge_steps: judge the conditions of steps that are ready (created, no dependency open). An unmet one fails its run,
-- or is skipped, alone or with all that depends on it. Returns the steps that passed and those that were skipped.
-- Failing comes first: a run that fails skips nothing.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Raises: nothing.
create function pgflow._judge_steps(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_now timestamptz,
  out passed_run_ids uuid[],
  out passed_slugs text[],
  out skipped_run_ids uuid[],
  out skipped_slugs text[]
) returns record
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_failed_run_ids uuid[];
  v_failed_slugs text[];
  v_unmet_run_ids uuid[];
  v_unmet_slugs text[];
  v_cascades bool[];
begin
  select array_agg(v.run_id) filter (where v.is_met), array_agg(v.step_slug) filter (where v.is_met),
    array_agg(v.run_id) filter (where not v.is_met and v.when_unmet = 'fail'),
    array_agg(v.step_slug) filter (where not v.is_met and v.when_unmet = 'fail'),
    array_agg(v.run_id) filter (where not v.is_met and v.when_unmet <> 'fail'),
    array_agg(v.step_slug) filter (where not v.is_met and v.when_unmet <> 'fail'),
    array_agg(v.when_unmet = 'skip-cascade') filter (where not v.is_met and v.when_unmet <> 'fail')
  into passed_run_ids, passed_slugs, v_failed_run_ids, v_failed_slugs, v_unmet_run_ids, v_unmet_slugs, v_cascades
  from pgflow._verdicts(p_run_ids, p_step_slugs) v;
  if v_failed_run_ids is not null then
    perform pgflow._fail_unmet_steps(v_failed_run_ids, v_failed_slugs, p_now);
  end if;
  if v_unmet_run_ids is not null then
    select s.run_ids, s.step_slugs into skipped_run_ids, skipped_slugs
    from pgflow._skip_steps(v_unmet_run_ids, v_unmet_slugs, 'condition_unmet', null, v_cascades, p_now) s;
  end if;
end
$fn$;

-- _lane: the number of the lane of (flow, version, queue, priority); made when it does not exist.
-- p_queue and p_priority are the step's own, null for the flow's.
-- Locks: flows (key share, by the foreign key), lanes (insert).  Writes: lanes.  Idempotent: yes.  Raises: nothing.
create function pgflow._lane(p_flow_slug text, p_flow_version int, p_queue text, p_priority int) returns int
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_queue text;
  v_priority int;
  v_lane_id int;
begin
  select coalesce(p_queue, f.opt_queue, f.flow_slug), coalesce(p_priority, f.opt_priority)
  into v_queue, v_priority
  from pgflow.flows f where f.flow_slug = p_flow_slug;

  select l.lane_id into v_lane_id
  from pgflow.lanes l
  where l.flow_slug = p_flow_slug and l.flow_version = p_flow_version
    and l.queue_name = v_queue and l.priority = v_priority;
  if found then
    return v_lane_id;
  end if;

  insert into pgflow.lanes (flow_slug, flow_version, queue_name, priority)
  values (p_flow_slug, p_flow_version, v_queue, v_priority)
  on conflict on constraint lanes_are_unique do update set priority = excluded.priority
  returning lanes.lane_id into v_lane_id;
  return v_lane_id;
end
$fn$;

-- _lock_free_runs: as _lock_runs, for sweeps, which have time: runs that somebody keeps locked for longer than 3 seconds (a
-- client in a transaction that stays open, say) are left to a later sweep, so that they do not hold up all the others.
-- Returns the runs that are locked now.
-- Locks: runs FOR NO KEY UPDATE by run_id; after 3 seconds SKIP LOCKED.  Raises: nothing.
create function pgflow._lock_free_runs(p_run_ids uuid[]) returns uuid[]
language plpgsql volatile
set search_path = ''
set lock_timeout = '3s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  begin
    perform pgflow._lock_runs(p_run_ids);
    return p_run_ids;
  exception when lock_not_available then
    null;  -- the locks it had got are gone with it
  end;
  return array(
    select locked.run_id
    from (select distinct i.run_id from unnest(p_run_ids) i(run_id)) g
    cross join lateral (
      select r.run_id from pgflow.runs r where r.run_id = g.run_id offset 0 for no key update skip locked
    ) locked);
end
$fn$;

-- _lock_runs: take the lock of everything under these runs: their rows, each once, in the order of their ids.
-- Statements after this call see what others committed before. The look-up is written as everywhere on the hot path: see
-- "Plans" in core/README.md.
-- Locks: runs FOR NO KEY UPDATE by run_id.  Raises: nothing.
create function pgflow._lock_runs(p_run_ids uuid[]) returns void
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  perform from (select distinct i.run_id from unnest(p_run_ids) i(run_id) order by i.run_id) g
  cross join lateral (select from pgflow.runs r where r.run_id = g.run_id offset 0 for no key update) locked;
end
$fn$;

-- _may_start_tasks: false for a worker whose lease has run out: others would take its tasks away at once. A worker that
-- is asked to drain (deprecated) may: it starts what it has reserved before.
-- Locks: none.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow._may_start_tasks(p_worker_id uuid, p_now timestamptz) returns bool
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_worker pgflow.workers;
begin
  select w.* into v_worker from pgflow.workers w where w.worker_id = p_worker_id;
  if not found then
    perform pgflow._refuse('PF406', format('worker %s does not exist', p_worker_id),
      'Call register_worker, or insert a row into pgflow.workers, first.');
  elsif v_worker.stopped_at is not null then
    perform pgflow._refuse('PF412', format('worker %s has stopped', p_worker_id), 'Go on under a new worker_id.');
  end if;
  return coalesce(v_worker.last_heartbeat_at + v_worker.lease_seconds * interval '1 second' >= p_now, true);
end
$fn$;

-- _move_abandoned_tasks: tasks that wait in a lane which no step uses any more move to their step's lane.
-- Locks: step_tasks SKIP LOCKED.  Writes: step_tasks; NOTIFY.  Cost: two look-ups per lane without a step.  Idempotent: yes.
-- Raises: nothing.
create function pgflow._move_abandoned_tasks() returns void
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  perform pgflow._move_queued_tasks(a.flow_slug) from (
    select distinct l.flow_slug from pgflow.lanes l
    where not exists (select from pgflow.steps s where s.lane_id = l.lane_id)
      and (
        exists (
          select from pgflow.step_tasks t
          where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id >= l.claim_floor)
        or exists (
          select from pgflow.step_tasks t
          where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is not null)
      )
  ) a;
end
$fn$;

-- _move_queued_tasks: tasks of a flow that wait in another lane than their step's move there, with fresh message ids.
-- A task that a claim holds at this moment stays; a retry brings it to the new lane.
-- Locks: step_tasks SKIP LOCKED.  Writes: step_tasks; NOTIFY.  Cost: reads all waiting tasks of the flow: for migrations.
-- Raises: nothing.
create function pgflow._move_queued_tasks(p_flow_slug text) returns void
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_lanes int[];
begin
  with waiting as (
    select t.ctid as tid, s.lane_id
    from pgflow.lanes l
    join pgflow.step_tasks t on t.lane_id = l.lane_id and t.status = 'queued'
    join pgflow.steps s
      on s.flow_slug = l.flow_slug and s.flow_version = l.flow_version and s.step_slug = t.step_slug
    where l.flow_slug = p_flow_slug and s.lane_id <> l.lane_id
    for update of t skip locked
  ),
  moved as (
    update pgflow.step_tasks t set lane_id = w.lane_id, message_id = nextval('pgflow.message_ids')
    from waiting w where t.ctid = w.tid
    returning t.lane_id
  )
  select array_agg(distinct m.lane_id) into v_lanes from moved m;
  perform pgflow._notify_ready(v_lanes);
end
$fn$;

-- _notify_ready: wake the workers that sleep on these lanes: NOTIFY pgflow_tasks with the queue's name, once per queue.
-- Only lanes that some worker found empty are notified: a NOTIFY makes commits queue up, so a busy lane sends none.
-- No lock is taken, so that a caller's long transaction holds up nobody; a wake-up lost to that race costs one poll.
-- Locks: none.  Writes: nothing; NOTIFY.  Raises: nothing.
create function pgflow._notify_ready(p_lane_ids int[]) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform pg_notify('pgflow_tasks', q.queue_name)
  from (
    select distinct l.queue_name from pgflow.lanes l where l.lane_id = any (p_lane_ids) and l.waiting
  ) q;
end
$fn$;

-- _output_violations: part of check_invariants: a step's output is its tasks', a run's output is its steps'.
-- Locks: none.  Raises: nothing.
create function pgflow._output_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  select 'step_output_is_not_its_tasks', st.run_id, st.step_slug, null::int,
    format('the completed %s step has another output than its %s tasks', s.step_type, n.tasks)
  from pgflow.step_states st
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  cross join lateral (
    select count(*) as tasks, (array_agg(t.output))[1] as single,
      coalesce(jsonb_agg(t.output order by t.task_index), '[]') as map
    from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug
  ) n
  where st.status = 'completed' and st.output is distinct from case when s.step_type = 'map' then n.map else n.single end

  union all
  select 'map_source_is_not_an_array', st.run_id, st.step_slug, null,
    format('a map runs over the completed step, and its output is %s', coalesce(jsonb_typeof(st.output), 'null'))
  from pgflow.step_states st
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  where st.status = 'completed' and s.feeds_map and jsonb_typeof(st.output) is distinct from 'array'

  union all
  select 'run_output_is_not_its_steps', r.run_id, v.output_step, null,
    format('the completed run has another output than %s', coalesce('step ' || v.output_step, 'its leaf steps'))
  from pgflow.runs r
  left join pgflow.flow_versions v on v.flow_slug = r.flow_slug and v.flow_version = r.flow_version
  where r.status = 'completed'
    and exists (select from pgflow.steps s where s.flow_slug = r.flow_slug and s.flow_version = r.flow_version)
    and r.output is distinct from case
      when v.output_step is not null then (
        select st.output from pgflow.step_states st where st.run_id = r.run_id and st.step_slug = v.output_step)
      else (
        select jsonb_object_agg(st.step_slug, st.output)
        from pgflow.step_states st
        where st.run_id = r.run_id and st.status = 'completed' and not exists (
          select from pgflow.deps d
          where d.flow_slug = r.flow_slug and d.flow_version = r.flow_version and d.dep_slug = st.step_slug)
      ) end
$fn$;

-- _promote_due_tasks: delayed tasks of a lane that are due become ready, with fresh message ids, oldest due first; returns how
-- many. Below an old snapshot it walks the dead entries of all that were promoted since, so it is not for every claim.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED.  Writes: step_tasks.  Cost: O(p_limit) through step_tasks_delayed_idx.
-- Raises: nothing.
create function pgflow._promote_due_tasks(p_lane_id int, p_now timestamptz, p_limit int) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_sort = off  -- what comes sorted is the lane's range of step_tasks_delayed_idx; the rest would read all delayed tasks
set jit = off
as $fn$
declare
  v_promoted int;
begin
  with due as (
    select t.ctid as tid
    from pgflow.step_tasks t
    where t.lane_id = p_lane_id and t.status = 'queued' and t.visible_at is not null and t.visible_at <= p_now
    order by t.visible_at
    limit p_limit
    -- the row lock also gives this transaction its id before it draws message ids: the claim floor relies on that
    for update skip locked
  )
  update pgflow.step_tasks t set visible_at = null, message_id = nextval('pgflow.message_ids')
  from due d where t.ctid = d.tid;
  get diagnostics v_promoted = row_count;
  return v_promoted;
end
$fn$;

-- _ready_verdicts: the ready steps of an open run, with the verdicts on their conditions.
-- Locks: none.  Raises: nothing.
create function pgflow._ready_verdicts(p_run_id uuid)
returns table (run_id uuid, step_slug text, is_met bool, when_unmet text, initial_tasks int)
language plpgsql stable
set search_path = ''
as $fn$
begin
  return query
  select v.* from pgflow._verdicts(
    array(select st.run_id from pgflow.step_states st where st.run_id = p_run_id order by st.step_slug),
    array(select st.step_slug from pgflow.step_states st where st.run_id = p_run_id order by st.step_slug)) v;
end
$fn$;

-- _refusals: which of these claims were not taken, and why. Taken means: the task carries the claim's fence and has one of
-- the statuses that taking it leads to ('violated': failed for its output); so a result that arrives twice is no refusal.
-- Locks: none.  Raises: nothing.
create function pgflow._refusals(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_task_indexes int[],
  p_fences bigint[],
  p_taken_statuses text[]
) returns setof pgflow.task_refusal
language sql stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
  select g.run_id, g.step_slug, g.task_index, g.fence,
    case when r.status <> 'started' then 'run_ended' else 'lease_lost' end
  from unnest(p_run_ids, p_step_slugs, p_task_indexes, p_fences) g(run_id, step_slug, task_index, fence)
  left join lateral (select x.status from pgflow.runs x where x.run_id = g.run_id offset 0) r on true
  left join lateral (
    select x.status, x.fence, starts_with(x.error_message, '[TYPE_VIOLATION]') as is_violation
    from pgflow.step_tasks x
    where x.run_id = g.run_id and x.step_slug = g.step_slug and x.task_index = g.task_index
    offset 0
  ) t on true
  where (
    t.fence = g.fence
    and case when t.status = 'failed' and t.is_violation then 'violated' else t.status end = any (p_taken_statuses)
  ) is not true
$fn$;

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

-- _refuse_stale: turn the refusal of a one-row call that named a fence into an error; without a fence, late is harmless.
-- Locks: none.  Raises: PF413.
create function pgflow._refuse_stale(p_refusal pgflow.task_refusal, p_fence bigint) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  if p_fence is not null and p_refusal.reason = 'lease_lost' then
    perform pgflow._refuse('PF413',
      format('task %s of step %L in run %s is not leased under fence %s any more', p_refusal.task_index,
        p_refusal.step_slug, p_refusal.run_id, p_fence),
      'Drop the result: the task was given to another worker or was finished by one.');
  end if;
end
$fn$;

-- _refuse_unknown_run: there is no such run.
-- Locks: none.  Raises: PF405.
create function pgflow._refuse_unknown_run(p_run_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform pgflow._refuse('PF405', format('run %s does not exist', p_run_id),
    'List the runs with: pgflow runs. Perhaps the transaction that started it is not committed, or was rolled back.');
end
$fn$;

-- _reserve_tasks: one look of read_with_poll: ready tasks of the queue's lanes become delayed until vt seconds from now,
-- so that neither claims nor other readers see them. Their message ids stay: start_tasks finds them by those.
-- Suspects (see claim_tasks) are given too: a queue that only foreign workers serve has nobody else for them.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED by message_id, lanes SKIP LOCKED; it waits for nobody.
-- Writes: step_tasks, lanes.  Cost: O(p_qty * log n) through step_tasks_ready_idx, from each lane's claim floor on, and
-- at most max(p_qty, 100) promotions a lane.  Raises: nothing.
create function pgflow._reserve_tasks(p_queue_name text, p_vt int, p_qty int) returns setof pgflow.message_record
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_lane record;
  v_left int := p_qty;
  v_got int;
  v_batch int;
begin
  -- a loop, because each lane has a floor of its own and the first ones usually fill the batch
  for v_lane in
    select l.lane_id, l.claim_floor, l.waiting
    from pgflow.lanes l where l.queue_name = p_queue_name
    order by l.priority desc, random()
  loop
    exit when v_left <= 0;
    v_got := 0;
    -- promotions as in claim_tasks; but what is only looked at stays ready, and a second look would give it once more
    if p_vt <= 0 then
      perform pgflow._promote_due_tasks(v_lane.lane_id, v_now, greatest(v_left, 100));
    end if;
    for v_look in 1..2 loop
      return query
      with picked as (
        select t.ctid as tid
        from pgflow.step_tasks t
        where t.lane_id = v_lane.lane_id and t.status = 'queued' and t.visible_at is null
          and t.message_id >= v_lane.claim_floor
        order by t.message_id
        limit v_left
        for update skip locked
      ),
      reserved as (
        update pgflow.step_tasks t set
          visible_at = case when p_vt > 0 then v_now + p_vt * interval '1 second' end, read_count = t.read_count + 1
        from picked p where t.ctid = p.tid
        returning t.*
      )
      select r.message_id, r.read_count, r.queued_at, coalesce(r.visible_at, v_now), jsonb_build_object(
        'flow_slug', r.flow_slug, 'run_id', r.run_id, 'step_slug', r.step_slug, 'task_index', r.task_index)
      from reserved r
      order by r.message_id;
      get diagnostics v_batch = row_count;
      v_got := v_got + v_batch;
      v_left := v_left - v_batch;
      exit when v_left <= 0 or v_look = 2 or p_vt <= 0
        or pgflow._promote_due_tasks(v_lane.lane_id, v_now, greatest(v_left, 100)) = 0;
    end loop;
    if v_left <= 0 and random() < 0.02 then
      perform pgflow._promote_due_tasks(v_lane.lane_id, v_now, 100);
    end if;

    if v_lane.waiting and v_got > 0 then
      update pgflow.lanes l set waiting = false
      where l.lane_id = (select x.lane_id from pgflow.lanes x where x.lane_id = v_lane.lane_id for update skip locked);
    end if;
    -- as in claim_tasks
    if random() * 500 < v_got then
      perform pgflow._advance_claim_floor(v_lane.lane_id);
    end if;
  end loop;
end
$fn$;

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

-- _run_output: the output step's output, or an object of the completed leaf steps' outputs by slug; null when there is none.
-- Locks: none.  Raises: nothing.
create function pgflow._run_output(p_run_id uuid, p_flow_slug text, p_flow_version int) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select case
    when v.output_step is not null then (
      select st.output from pgflow.step_states st where st.run_id = p_run_id and st.step_slug = v.output_step)
    else (
      select jsonb_object_agg(st.step_slug, st.output)
      from pgflow.step_states st
      where st.run_id = p_run_id and st.status = 'completed' and not exists (
        select from pgflow.deps d
        where d.flow_slug = p_flow_slug and d.flow_version = p_flow_version and d.dep_slug = st.step_slug)
    ) end
  from (
    select (
      select fv.output_step from pgflow.flow_versions fv
      where fv.flow_slug = p_flow_slug and fv.flow_version = p_flow_version
    ) as output_step
  ) v
$fn$;

-- _run_violations: part of check_invariants: runs, and their steps as a whole.
-- A run of a version that is not there (any more) is left alone: nothing says which steps it should have.
-- Locks: none.  Raises: nothing.
create function pgflow._run_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  select 'run_lacks_a_step', r.run_id, s.step_slug, null::int,
    format('the %s run has no state for step %L of its version %s', r.status, s.step_slug, r.flow_version)
  from pgflow.runs r
  join pgflow.steps s on s.flow_slug = r.flow_slug and s.flow_version = r.flow_version
  where not exists (select from pgflow.step_states st where st.run_id = r.run_id and st.step_slug = s.step_slug)

  union all
  select 'step_state_without_run', st.run_id, st.step_slug, null, format('there is no run %s', st.run_id)
  from pgflow.step_states st
  where not exists (select from pgflow.runs r where r.run_id = st.run_id)

  union all
  select 'step_state_of_another_flow', r.run_id, st.step_slug, null,
    format('the run is one of flow %L version %s, the state one of flow %L version %s', r.flow_slug, r.flow_version,
      st.flow_slug, st.flow_version)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where (st.flow_slug, st.flow_version) is distinct from (r.flow_slug, r.flow_version)

  union all
  select 'run_has_a_step_too_many', r.run_id, st.step_slug, null,
    format('version %s of flow %L has no step %L', r.flow_version, r.flow_slug, st.step_slug)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where exists (select from pgflow.steps s where s.flow_slug = r.flow_slug and s.flow_version = r.flow_version)
    and not exists (
      select from pgflow.steps s
      where s.flow_slug = r.flow_slug and s.flow_version = r.flow_version and s.step_slug = st.step_slug)

  union all
  select 'remaining_steps_is_wrong', r.run_id, null, null,
    format('the %s run counts %s remaining steps and has %s', r.status, r.remaining_steps, n.remaining)
  from pgflow.runs r
  cross join lateral (
    select count(*) as remaining from pgflow.step_states st
    where st.run_id = r.run_id and st.status not in ('completed', 'skipped')
  ) n
  where r.status in ('started', 'completed') and r.remaining_steps <> n.remaining

  union all
  select 'run_is_not_completed', r.run_id, null, null, 'the run is open, but none of its steps is'
  from pgflow.runs r
  where r.status = 'started' and not exists (
    select from pgflow.step_states st where st.run_id = r.run_id and st.status in ('created', 'started'))

  union all
  select 'completed_run_has_an_unfinished_step', r.run_id, st.step_slug, null,
    format('the run is completed, the step is %s', st.status)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where r.status = 'completed' and st.status not in ('completed', 'skipped')

  union all
  select 'ended_run_has_an_open_step', r.run_id, st.step_slug, null,
    format('the run is %s, the step is %s', r.status, st.status)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where r.status in ('failed', 'cancelled') and st.status in ('created', 'started')

  union all
  select 'open_run_has_a_step_that_ended_it', r.run_id, st.step_slug, null, format('the run is open, the step is %s', st.status)
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  where r.status = 'started' and st.status in ('failed', 'cancelled')

  union all
  select 'failed_run_without_a_cause', r.run_id, null, null, 'the run is failed, none of its steps is, and end_reason is null'
  from pgflow.runs r
  where r.status = 'failed' and r.end_reason is null and not exists (
    select from pgflow.step_states st where st.run_id = r.run_id and st.status = 'failed')

  union all
  select 'end_reason_of_a_run_that_nothing_ended', r.run_id, null, null,
    format('the run is %s and has the end_reason %L', r.status, r.end_reason)
  from pgflow.runs r
  where r.status in ('started', 'completed') and r.end_reason is not null

  union all
  select 'run_times_do_not_fit_its_status', r.run_id, null, null,
    format('the run is %s; completed_at %s, failed_at %s, cancelled_at %s', r.status,
      coalesce(r.completed_at::text, 'null'), coalesce(r.failed_at::text, 'null'), coalesce(r.cancelled_at::text, 'null'))
  from pgflow.runs r
  where (r.status = 'completed') <> (r.completed_at is not null)
    or (r.status = 'failed') <> (r.failed_at is not null)
    or (r.status = 'cancelled') <> (r.cancelled_at is not null)

  union all
  select 'ended_run_has_a_deadline', r.run_id, null, null, format('the run is %s, its deadline %s', r.status, r.deadline_at)
  from pgflow.runs r
  where r.status <> 'started' and r.deadline_at is not null
$fn$;

-- _settle_steps: what follows from steps that have just completed or been skipped: dependents count down, maps over them
-- are sized, conditions of ready steps are judged, ready steps start with their tasks, skipped steps and empty maps settle
-- in the next round, runs count down and complete. A step whose whole inputs are beyond 100 MB fails with its run: a
-- claim could not build them.
-- p_ready_…: further steps that are created and ready, to be judged and started (root steps, steps of a retried run).
-- The caller holds the runs' locks (or has just inserted the runs) and has stored the steps' outputs.
-- Locks: step_states, step_tasks under the runs' locks.  Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.
-- Cost: linear in the edges out of the steps and in the tasks created; one round per level of skipped steps and empty maps.
-- Raises: nothing.
create function pgflow._settle_steps(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_now timestamptz,
  p_ready_run_ids uuid[] default null,
  p_ready_step_slugs text[] default null
) returns void
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_run_ids uuid[] := p_run_ids;
  v_slugs text[] := p_step_slugs;
  v_judge_run_ids uuid[] := p_ready_run_ids;
  v_judge_slugs text[] := p_ready_step_slugs;
  v_judged record;
  v_passed_run_ids uuid[];
  v_passed_slugs text[];
  v_lanes int[];
  v_max_input_size constant bigint := 100000000;
  v_too_large uuid[];
  v_ready_lanes int[] := '{}';
begin
  -- one round per level: a chain of skipped steps or empty maps may be as long as the flow
  loop
    v_passed_run_ids := null;
    v_passed_slugs := null;
    if v_judge_run_ids is not null then
      select * into v_judged from pgflow._judge_steps(v_judge_run_ids, v_judge_slugs, p_now);
      v_passed_run_ids := v_judged.passed_run_ids;
      v_passed_slugs := v_judged.passed_slugs;
      v_run_ids := v_run_ids || v_judged.skipped_run_ids;
      v_slugs := v_slugs || v_judged.skipped_slugs;
    end if;
    exit when v_run_ids is null and v_passed_run_ids is null;

    with done as (
      select d.run_id, d.step_slug, st.flow_slug, st.flow_version, st.output
      from unnest(v_run_ids, v_slugs) d(run_id, step_slug)
      cross join lateral (
        select x.flow_slug, x.flow_version, x.output
        from pgflow.step_states x
        where x.run_id = d.run_id and x.step_slug = d.step_slug
        offset 0
      ) st
    ),
    met as (
      select done.run_id, d.step_slug, count(*)::int as n,
        -- a skipped step has no output: a map over it has no tasks
        max(case
          when s.step_type = 'single' then 1
          when s.map_over = done.step_slug then coalesce(jsonb_array_length(done.output), 0) end) as size,
        sum(case when s.map_over = done.step_slug then 0 else coalesce(pgflow._json_size(done.output), 0) end) as bytes,
        bool_or(s.is_conditional) as must_judge
      from done
      join pgflow.deps d
        on d.flow_slug = done.flow_slug and d.flow_version = done.flow_version and d.dep_slug = done.step_slug
      join pgflow.steps s
        on s.flow_slug = done.flow_slug and s.flow_version = done.flow_version and s.step_slug = d.step_slug
      group by done.run_id, d.step_slug
      union all
      -- ready before this round, and judged
      select p.run_id, p.step_slug, 0, 1, 0, false
      from unnest(v_passed_run_ids, v_passed_slugs) p(run_id, step_slug)
    ),
    located as (
      select met.*, o.tid
      from met
      cross join lateral (
        select x.ctid as tid, x.status
        from pgflow.step_states x
        where x.run_id = met.run_id and x.step_slug = met.step_slug
        offset 0
      ) o
      where o.status = 'created'
    ),
    advanced as (
      update pgflow.step_states st set
        remaining_deps = st.remaining_deps - m.n,
        initial_tasks = coalesce(st.initial_tasks, m.size),
        input_size = st.input_size + m.bytes,
        status = case
          when st.remaining_deps > m.n or m.must_judge then st.status
          when st.input_size + m.bytes > v_max_input_size then 'failed'
          when coalesce(st.initial_tasks, m.size) = 0 then 'completed'
          else 'started' end,
        remaining_tasks = case
          when st.remaining_deps = m.n and not m.must_judge then coalesce(st.initial_tasks, m.size) end,
        output = case
          when st.remaining_deps = m.n and not m.must_judge and coalesce(st.initial_tasks, m.size) = 0
            and st.input_size + m.bytes <= v_max_input_size then '[]'::jsonb end,
        started_at = case when st.remaining_deps = m.n and not m.must_judge then greatest(p_now, st.created_at) end,
        completed_at = case
          when st.remaining_deps = m.n and not m.must_judge and coalesce(st.initial_tasks, m.size) = 0
            and st.input_size + m.bytes <= v_max_input_size then greatest(p_now, st.created_at) end,
        failed_at = case
          when st.remaining_deps = m.n and not m.must_judge and st.input_size + m.bytes > v_max_input_size
            then greatest(p_now, st.created_at) end
      from located m
      where st.ctid = m.tid
      returning st.run_id, st.step_slug, st.flow_slug, st.flow_version, st.status,
        m.must_judge and st.remaining_deps = 0 as must_judge
    ),
    created as (
      insert into pgflow.step_tasks (run_id, step_slug, task_index, flow_slug, lane_id, queued_at, visible_at, input)
      select a.run_id, a.step_slug, e.i, a.flow_slug, s.lane_id, p_now, pgflow._visible_at(p_now, s.opt_start_delay),
        e.element
      from advanced a
      join pgflow.steps s
        on s.flow_slug = a.flow_slug and s.flow_version = a.flow_version and s.step_slug = a.step_slug
      cross join lateral (
        select 0 as i, null::jsonb as element where s.step_type = 'single'
        union all
        select (x.i - 1)::int, x.element
        from jsonb_array_elements(
          case when s.step_type = 'single' then null
          when s.map_over = 'run' then (select r.input from pgflow.runs r where r.run_id = a.run_id)
          else (
            select o.output from pgflow.step_states o where o.run_id = a.run_id and o.step_slug = s.map_over
          ) end
        ) with ordinality x(element, i)
      ) e
      where a.status = 'started'
      returning lane_id
    ),
    counted as (
      select d.run_id, d.n, o.tid
      from (select done.run_id, count(*)::int as n from done group by done.run_id) d
      cross join lateral (
        select x.ctid as tid, x.status from pgflow.runs x where x.run_id = d.run_id offset 0
      ) o
      where o.status = 'started'
    ),
    counted_down as (
      update pgflow.runs r set
        remaining_steps = r.remaining_steps - c.n,
        status = case when r.remaining_steps = c.n then 'completed' else r.status end,
        completed_at = case when r.remaining_steps = c.n then greatest(p_now, r.started_at) end,
        deadline_at = case when r.remaining_steps > c.n then r.deadline_at end,
        output = case
          when r.remaining_steps > c.n then null
          -- the output step's output, or an object of the completed leaf steps' outputs; null when there is none
          when exists (
            select from pgflow.flow_versions fv
            where fv.flow_slug = r.flow_slug and fv.flow_version = r.flow_version and fv.output_step is not null
          ) then (
            select st.output from pgflow.flow_versions fv
            join pgflow.step_states st on st.run_id = r.run_id and st.step_slug = fv.output_step
            where fv.flow_slug = r.flow_slug and fv.flow_version = r.flow_version
          )
          else (
            select jsonb_object_agg(st.step_slug, st.output)
            from pgflow.step_states st
            where st.run_id = r.run_id and st.status = 'completed' and not exists (
              select from pgflow.deps d
              where d.flow_slug = r.flow_slug and d.flow_version = r.flow_version and d.dep_slug = st.step_slug)
          ) end
      from counted c
      where r.ctid = c.tid
      returning r.run_id, r.status, r.watched
    ),
    announced as (
      select count(pg_notify('pgflow_runs', c.run_id::text)) as n
      from counted_down c where c.watched and c.status = 'completed'
    )
    select
      (select array_agg(a.run_id) from advanced a where a.status = 'completed'),
      (select array_agg(a.step_slug) from advanced a where a.status = 'completed'),
      (select array_agg(a.run_id) from advanced a where a.must_judge),
      (select array_agg(a.step_slug) from advanced a where a.must_judge),
      (select array_agg(distinct c.lane_id) from created c),
      (select array_agg(distinct a.run_id) from advanced a where a.status = 'failed'),
      announced.n
    into v_run_ids, v_slugs, v_judge_run_ids, v_judge_slugs, v_lanes, v_too_large
    from announced;
    if v_too_large is not null then
      perform pgflow._fail_large_inputs(v_too_large, p_now);
    end if;
    v_ready_lanes := v_ready_lanes || v_lanes;
  end loop;
  if cardinality(v_ready_lanes) > 0 then
    perform pgflow._notify_ready(v_ready_lanes);
  end if;
end
$fn$;

-- _shape_pattern: the reverse of _pattern_shape: the pattern, or null when there is none.
-- Locks: none.  Raises: nothing.
create function pgflow._shape_pattern(p_shape jsonb) returns jsonb
language sql immutable parallel safe
return case when p_shape -> 'defined' = 'true'::jsonb then p_shape -> 'value' end;

-- _size_violations: part of check_invariants: how many tasks a step has: one, or one per element of what a map runs over. A map
-- over a skipped step has none; over an open one its size is not known yet.
-- Locks: none.  Raises: nothing.
create function pgflow._size_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  with sized as (
    select st.run_id, st.step_slug, st.status, st.initial_tasks, case
      when s.step_type = 'single' then 1
      when s.map_over = 'run' then case when jsonb_typeof(r.input) = 'array' then jsonb_array_length(r.input) end
      when o.status = 'skipped' then 0
      when o.status = 'completed' and jsonb_typeof(o.output) = 'array' then jsonb_array_length(o.output) end as size
    from pgflow.runs r
    join pgflow.step_states st on st.run_id = r.run_id
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    left join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = s.map_over
    where st.status in ('created', 'started', 'completed')
  ),
  counted as (
    select st.run_id, st.step_slug, st.status, st.initial_tasks, count(t.run_id) as tasks, min(t.task_index) as first,
      max(t.task_index) as last
    from pgflow.step_states st
    left join pgflow.step_tasks t on t.run_id = st.run_id and t.step_slug = st.step_slug
    group by st.run_id, st.step_slug
  )
  select 'initial_tasks_is_wrong', z.run_id, z.step_slug, null::int,
    format('the %s step has the size %s and should have %s', z.status, coalesce(z.initial_tasks::text, 'null'),
      coalesce(z.size::text, 'null'))
  from sized z
  where z.initial_tasks is distinct from z.size

  union all
  select 'number_of_tasks_is_wrong', c.run_id, c.step_slug, null,
    format('the %s step has %s tasks and the size %s', c.status, c.tasks, coalesce(c.initial_tasks::text, 'null'))
  from counted c
  where c.status in ('started', 'completed') and c.initial_tasks is distinct from c.tasks

  union all
  select 'created_step_has_tasks', c.run_id, c.step_slug, null, format('the step is created and has %s tasks', c.tasks)
  from counted c
  where c.status = 'created' and c.tasks > 0

  union all
  select 'task_indexes_have_gaps', c.run_id, c.step_slug, null, format('the %s tasks go from %s to %s', c.tasks, c.first, c.last)
  from counted c
  where c.tasks > 0 and (c.first <> 0 or c.last <> c.tasks - 1)

  union all
  select 'map_task_has_another_element', t.run_id, t.step_slug, t.task_index,
    format('the %s task was not made of element %s of what it runs over', t.status, t.task_index)
  from (
    select r.run_id, st.step_slug, case when s.map_over = 'run' then r.input else o.output end as source
    from pgflow.runs r
    join pgflow.step_states st on st.run_id = r.run_id and st.status = 'started'
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    left join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = s.map_over
    where s.step_type = 'map'
  ) m
  -- taken apart once per step, not once per task
  cross join lateral jsonb_array_elements(case when jsonb_typeof(m.source) = 'array' then m.source end)
    with ordinality e(element, i)
  join pgflow.step_tasks t on t.run_id = m.run_id and t.step_slug = m.step_slug and t.task_index = e.i - 1
  where t.status in ('queued', 'started') and t.input is distinct from e.element
$fn$;

-- _skip_steps: skip open steps for one reason and end their open tasks; where p_cascades says so, skip with reason
-- dependency_skipped all that depends on them, however far. Returns every step that was skipped, for _settle_steps.
-- p_messages: error messages to keep, or null.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.  Writes: step_states, step_tasks.
-- Cost: linear in the steps skipped and the edges between them: each step is visited once, whatever the paths to it.
-- Idempotent: yes.  Raises: nothing.
create function pgflow._skip_steps(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_reason text,
  p_messages text[],
  p_cascades bool[],
  p_now timestamptz,
  out run_ids uuid[],
  out step_slugs text[]
) returns record
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  with recursive origin as (
    select g.run_id, g.step_slug, g.message, g.cascade, st.flow_slug, st.flow_version
    from unnest(p_run_ids, p_step_slugs, p_messages, p_cascades) g(run_id, step_slug, message, cascade)
    cross join lateral (
      select x.status, x.flow_slug, x.flow_version
      from pgflow.step_states x
      where x.run_id = g.run_id and x.step_slug = g.step_slug
      offset 0
    ) st
    where st.status in ('created', 'started')
  ),
  downstream as (
    select o.run_id, o.flow_slug, o.flow_version, d.step_slug
    from origin o
    join pgflow.deps d
      on d.flow_slug = o.flow_slug and d.flow_version = o.flow_version and d.dep_slug = o.step_slug
    where o.cascade
    union  -- each step once: the number of paths grows exponentially
    select w.run_id, w.flow_slug, w.flow_version, d.step_slug
    from downstream w
    join pgflow.deps d
      on d.flow_slug = w.flow_slug and d.flow_version = w.flow_version and d.dep_slug = w.step_slug
  ),
  skipped as (
    update pgflow.step_states st set
      status = 'skipped', skip_reason = x.reason, error_message = x.message, remaining_tasks = null,
      skipped_at = greatest(p_now, coalesce(st.started_at, st.created_at))
    from (
      select e.reason, e.message, y.tid
      from (
        select o.run_id, o.step_slug, p_reason as reason, o.message from origin o
        union all
        select w.run_id, w.step_slug, 'dependency_skipped', null from downstream w
      ) e
      cross join lateral (
        select z.ctid as tid, z.status
        from pgflow.step_states z
        where z.run_id = e.run_id and z.step_slug = e.step_slug
        offset 0
      ) y
      where y.status in ('created', 'started')
    ) x
    where st.ctid = x.tid
    returning st.run_id, st.step_slug
  )
  select array_agg(s.run_id), array_agg(s.step_slug) into _skip_steps.run_ids, _skip_steps.step_slugs from skipped s;

  -- Queued tasks may be in the hands of a claim or a promotion, which need no run. So all are locked first, and looked up
  -- by a statement of its own then: the one that waited cannot see the rows' new versions.
  perform from unnest(_skip_steps.run_ids, _skip_steps.step_slugs) s(run_id, step_slug)
  cross join lateral (
    select from pgflow.step_tasks x
    where x.run_id = s.run_id and x.step_slug = s.step_slug and x.status in ('queued', 'started')
    offset 0
    for update
  ) locked;
  update pgflow.step_tasks t set
    status = 'skipped', visible_at = null, skipped_at = greatest(p_now, coalesce(t.started_at, t.queued_at))
  from (
    select o.tid
    from unnest(_skip_steps.run_ids, _skip_steps.step_slugs) s(run_id, step_slug)
    cross join lateral (
      select x.ctid as tid, x.status
      from pgflow.step_tasks x
      where x.run_id = s.run_id and x.step_slug = s.step_slug
      offset 0
    ) o
    where o.status in ('queued', 'started')
  ) open
  where t.ctid = open.tid;
end
$fn$;

-- _skip_violations: part of check_invariants: steps were skipped for a reason that is true, together with what they take along,
-- and conditions were judged as they stand; see _verdicts.
-- Locks: none.  Raises: nothing.
create function pgflow._skip_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  with judged as (
    select st.run_id, st.step_slug, st.status, st.skip_reason, s.required_input_pattern, s.forbidden_input_pattern,
      s.input_predicate, case when s.deps_count = 0 then r.input else jsonb_build_object('run', r.input) || coalesce((
        select jsonb_object_agg(d.dep_slug, o.output)
        from pgflow.deps d
        join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = d.dep_slug and o.status = 'completed'
        where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
      ), '{}') end as value
    from pgflow.runs r
    join pgflow.step_states st on st.run_id = r.run_id
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    where s.is_conditional
      and (st.status in ('started', 'completed') or st.skip_reason in ('condition_unmet', 'handler_failed'))
  )
  select 'condition_was_misjudged', j.run_id, j.step_slug, null::int,
    format('the step is %s%s, but its condition says otherwise', j.status, ' (' || j.skip_reason || ')')
  from judged j
  where (j.skip_reason is distinct from 'condition_unmet') <> (
    (j.required_input_pattern is null or j.value @> j.required_input_pattern)
    and (j.forbidden_input_pattern is null or not j.value @> j.forbidden_input_pattern)
    and (j.input_predicate is null or coalesce(j.value @@ j.input_predicate, false)))

  union all
  select 'condition_unmet_without_a_condition', st.run_id, st.step_slug, null,
    'the step was skipped because of its condition, and has none'
  from pgflow.step_states st
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  where st.skip_reason = 'condition_unmet' and not s.is_conditional

  union all
  select 'handler_failed_without_a_failed_task', st.run_id, st.step_slug, null,
    'the step was skipped because of its handler, and no task of it failed'
  from pgflow.step_states st
  where st.skip_reason = 'handler_failed' and not exists (
    select from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug and t.status = 'failed')

  union all
  select 'dependency_skipped_without_one', st.run_id, st.step_slug, null,
    'the step was skipped because of a dependency, and none of its dependencies is'
  from pgflow.step_states st
  where st.skip_reason = 'dependency_skipped' and not exists (
    select from pgflow.deps d
    join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = d.dep_slug and o.status = 'skipped'
    where d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = st.step_slug)

  union all
  select 'cascade_left_a_step_out', st.run_id, st.step_slug, null,
    format('%s was skipped with all that depends on it, but this step is %s', o.step_slug, st.status)
  from pgflow.step_states o
  join pgflow.steps s
    on s.flow_slug = o.flow_slug and s.flow_version = o.flow_version and s.step_slug = o.step_slug
  join pgflow.deps d
    on d.flow_slug = o.flow_slug and d.flow_version = o.flow_version and d.dep_slug = o.step_slug
  join pgflow.step_states st on st.run_id = o.run_id and st.step_slug = d.step_slug
  where st.status <> 'skipped' and (
    o.skip_reason = 'dependency_skipped'
    or (o.skip_reason = 'condition_unmet' and s.when_unmet = 'skip-cascade')
    or (o.skip_reason = 'handler_failed' and s.when_exhausted = 'skip-cascade'))
$fn$;

-- _step_shape: a step of a shape with everything spelt out that its absence stands for, so that two of them can be
-- compared key by key. Options are left out: they are no part of the shape.
-- Locks: none.  Raises: 42601 an inputPredicate that is no jsonpath.
create function pgflow._step_shape(p_step jsonb) returns jsonb
language sql immutable
set search_path = ''
as $fn$
  select jsonb_build_object(
    'stepType', s.step_type,
    'dependencies', to_jsonb(s.deps),
    'whenUnmet', coalesce(p_step ->> 'whenUnmet', 'skip'),
    'whenExhausted', coalesce(p_step ->> 'whenExhausted', 'fail'),
    'requiredInputPattern', pgflow._pattern_shape(pgflow._shape_pattern(p_step -> 'requiredInputPattern')),
    'forbiddenInputPattern', pgflow._pattern_shape(pgflow._shape_pattern(p_step -> 'forbiddenInputPattern')),
    'mapOver', s.map_over,
    'usesRunInput', coalesce((p_step ->> 'usesRunInput')::bool, s.map_over is distinct from 'run'),
    -- through the type, so that blanks and parentheses make no difference
    'inputPredicate', (p_step ->> 'inputPredicate')::jsonpath::text,
    'inputSchema', p_step -> 'inputSchema',
    'outputSchema', p_step -> 'outputSchema')
  from (
    select x.step_type, x.deps, case
      when x.step_type = 'map' then coalesce(
        p_step ->> 'mapOver', case when cardinality(x.deps) <= 1 then coalesce(x.deps[1], 'run') end) end as map_over
    from (
      select coalesce(p_step ->> 'stepType', 'single') as step_type, array(
        select d from jsonb_array_elements_text(coalesce(p_step -> 'dependencies', '[]')) d order by d collate "C"
      ) as deps
    ) x
  ) s
$fn$;

-- _step_violations: part of check_invariants: steps, what they depend on, and the counts of their tasks.
-- A dependency is done when it is completed or skipped. A skipped step counts no further, so remaining_deps of those is not looked at.
-- Locks: none.  Raises: nothing.
create function pgflow._step_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  with waiting as (
    select r.run_id, r.status as run_status, st.step_slug, st.status, st.skip_reason, st.remaining_deps,
      count(o.run_id) filter (where o.status not in ('completed', 'skipped')) as open,
      string_agg(format('%s (%s)', o.step_slug, o.status), ', ' order by o.step_slug)
        filter (where o.status not in ('completed', 'skipped')) as names
    from pgflow.runs r
    join pgflow.step_states st on st.run_id = r.run_id
    left join pgflow.deps d
      on d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = st.step_slug
    left join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = d.dep_slug
    group by r.run_id, r.status, st.run_id, st.step_slug
  )
  select 'remaining_deps_is_wrong', w.run_id, w.step_slug, null::int,
    format('the %s step counts %s remaining dependencies and has %s', w.status, w.remaining_deps, w.open)
  from waiting w
  where w.run_status = 'started' and w.status in ('created', 'started', 'completed') and w.remaining_deps <> w.open

  union all
  select 'ready_step_was_forgotten', w.run_id, w.step_slug, null,
    'the step is created and nothing that it depends on is open, so nothing will start it'
  from waiting w
  where w.run_status = 'started' and w.status = 'created' and w.open = 0

  union all
  select 'step_ran_ahead_of_its_dependencies', w.run_id, w.step_slug, null,
    format('the step is %s; not done: %s', w.status, w.names)
  from waiting w
  where w.open > 0 and (w.status in ('started', 'completed', 'failed') or w.skip_reason in ('condition_unmet', 'handler_failed'))

  union all
  select 'remaining_tasks_is_wrong', st.run_id, st.step_slug, null,
    format('the started step counts %s remaining tasks and has %s', coalesce(st.remaining_tasks::text, 'no'), n.remaining)
  from pgflow.step_states st
  cross join lateral (
    select count(*) filter (where t.status <> 'completed') as remaining
    from pgflow.step_tasks t where t.run_id = st.run_id and t.step_slug = st.step_slug
  ) n
  where st.status = 'started' and (st.remaining_tasks is distinct from n.remaining or n.remaining = 0)

  union all
  select 'step_times_do_not_fit_its_status', st.run_id, st.step_slug, null,
    format('the step is %s; started_at %s, completed_at %s, failed_at %s, skipped_at %s, cancelled_at %s', st.status,
      coalesce(st.started_at::text, 'null'), coalesce(st.completed_at::text, 'null'), coalesce(st.failed_at::text, 'null'),
      coalesce(st.skipped_at::text, 'null'), coalesce(st.cancelled_at::text, 'null'))
  from pgflow.step_states st
  where (st.status = 'completed') <> (st.completed_at is not null)
    or (st.status = 'failed') <> (st.failed_at is not null)
    or (st.status = 'skipped') <> (st.skipped_at is not null)
    or (st.status = 'cancelled') <> (st.cancelled_at is not null)
    or (st.status = 'created' and st.started_at is not null)
    or (st.status in ('started', 'completed') and st.started_at is null)
$fn$;

-- _take_back: take these claims away, those that are current: the tasks become ready at once, with no attempt used, or have
-- failed for good when they were taken back p_max_requeues times before; then their steps' when_exhausted decides. Returns
-- how many. For recover_tasks and requeue_stalled_tasks, which say what happened: p_what and p_class name it, p_why tells
-- of the worker (%s).
-- Locks: runs FOR NO KEY UPDATE by run_id as _lock_free_runs; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._take_back(
  p_run_ids uuid[],
  p_step_slugs text[],
  p_task_indexes int[],
  p_fences bigint[],
  p_max_requeues int,
  p_what text,
  p_class text,
  p_why text,
  p_now timestamptz
) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_locked uuid[];
  v_taken record;
begin
  v_locked := pgflow._lock_free_runs(p_run_ids);

  with held as (
    -- as they are now that the runs are locked
    select h.*, h.requeued_count >= p_max_requeues as poison
    from pgflow._held(p_run_ids, p_step_slugs, p_task_indexes, p_fences) h
    where h.run_id = any (v_locked)
  ),
  taken as (
    update pgflow.step_tasks t set
      status = case when h.poison then 'failed' else 'queued' end,
      started_at = case when h.poison then t.started_at end,
      fence = 0,
      lane_id = h.lane_id,
      attempts_count = case when h.poison then t.attempts_count else greatest(t.attempts_count - 1, 0) end,
      requeued_count = t.requeued_count + 1,
      last_requeued_at = p_now,
      message_id = nextval('pgflow.message_ids'),
      failed_at = case when h.poison then greatest(p_now, t.started_at) end,
      permanently_stalled_at = case when h.poison then p_now end,
      error_message = case when h.poison then format('%s %s times', p_what, t.requeued_count + 1)
        else t.error_message end
    from held h
    where t.ctid = h.tid
    returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.lane_id, t.error_message, h.poison, h.attempts_count,
      h.fence, h.last_worker_id, h.started_at
  ),
  recorded as (
    insert into pgflow.task_attempts (
      flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, worker_id,
      started_at, ended_at
    )
    select x.flow_slug, x.run_id, x.step_slug, x.task_index, x.attempts_count, 'lost', p_class,
      format(p_why, x.last_worker_id), x.fence, x.last_worker_id, x.started_at, greatest(p_now, x.started_at)
    from taken x
  )
  select count(*)::int as recovered, array_agg(distinct x.lane_id) filter (where not x.poison) as lanes,
    array_agg(x.run_id order by x.task_index) filter (where x.poison) as run_ids,
    array_agg(x.step_slug order by x.task_index) filter (where x.poison) as step_slugs,
    array_agg(x.error_message order by x.task_index) filter (where x.poison) as messages
  into v_taken
  from taken x;

  if v_taken.run_ids is not null then
    perform pgflow._exhaust_steps(v_taken.run_ids, v_taken.step_slugs, v_taken.messages, p_now);
  end if;
  perform pgflow._notify_ready(v_taken.lanes);
  return v_taken.recovered;
end
$fn$;

-- _task_violations: part of check_invariants: tasks, and the rows that belong to them.
-- A retry after an error keeps the fence of the attempt that failed, a release or a recovery sets it to 0: so nothing is
-- said about the fence of a queued task.
-- Locks: none.  Raises: nothing.
create function pgflow._task_violations()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language sql stable
set search_path = ''
as $fn$
  select 'task_without_step_state', t.run_id, t.step_slug, t.task_index, format('the %s task belongs to no step of a run', t.status)
  from pgflow.step_tasks t
  where not exists (
    select from pgflow.step_states st
    where st.run_id = t.run_id and st.step_slug = t.step_slug and st.flow_slug = t.flow_slug)

  union all
  select 'attempt_without_run', a.run_id, a.step_slug, a.task_index, format('attempt %s belongs to no run', a.attempt_id)
  from pgflow.task_attempts a
  where not exists (select from pgflow.runs r where r.run_id = a.run_id)

  union all
  select 'open_task_of_a_closed_step', t.run_id, t.step_slug, t.task_index,
    format('the task is %s, its step is %s', t.status, st.status)
  from pgflow.step_tasks t
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  where t.status in ('queued', 'started') and st.status <> 'started'

  union all
  select 'open_task_of_an_ended_run', t.run_id, t.step_slug, t.task_index, format('the task is %s, its run is %s', t.status, r.status)
  from pgflow.step_tasks t
  join pgflow.runs r on r.run_id = t.run_id
  where t.status in ('queued', 'started') and r.status <> 'started'

  union all
  select 'closed_task_of_an_open_step', t.run_id, t.step_slug, t.task_index,
    format('the step is started, its task is %s', t.status)
  from pgflow.step_tasks t
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  where t.status in ('failed', 'skipped', 'cancelled') and st.status = 'started'

  union all
  select 'completed_step_has_an_unfinished_task', t.run_id, t.step_slug, t.task_index,
    format('the step is completed, its task is %s', t.status)
  from pgflow.step_tasks t
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  where t.status <> 'completed' and st.status = 'completed'

  union all
  select 'task_times_do_not_fit_its_status', t.run_id, t.step_slug, t.task_index,
    format('the task is %s; started_at %s, completed_at %s, failed_at %s, skipped_at %s, cancelled_at %s', t.status,
      coalesce(t.started_at::text, 'null'), coalesce(t.completed_at::text, 'null'), coalesce(t.failed_at::text, 'null'),
      coalesce(t.skipped_at::text, 'null'), coalesce(t.cancelled_at::text, 'null'))
  from pgflow.step_tasks t
  where (t.status = 'completed') <> (t.completed_at is not null)
    or (t.status = 'failed') <> (t.failed_at is not null)
    or (t.status = 'skipped') <> (t.skipped_at is not null)
    or (t.status = 'cancelled') <> (t.cancelled_at is not null)
    or (t.status = 'queued' and t.started_at is not null)
    or (t.status in ('started', 'completed', 'failed') and t.started_at is null)

  union all
  select 'started_task_is_not_leased', t.run_id, t.step_slug, t.task_index,
    format('the task is started with attempt %s, fence %s and worker %s', t.attempts_count, t.fence,
      coalesce(t.last_worker_id::text, 'null'))
  from pgflow.step_tasks t
  where t.status = 'started' and (t.attempts_count = 0 or t.fence = 0 or t.last_worker_id is null)

  union all
  select 'started_task_of_an_unknown_worker', t.run_id, t.step_slug, t.task_index,
    format('there is no worker %s, so its lease never runs out', t.last_worker_id)
  from pgflow.step_tasks t
  where t.status = 'started' and t.last_worker_id is not null
    and not exists (select from pgflow.workers w where w.worker_id = t.last_worker_id)

  union all
  select 'open_task_stalled_for_good', t.run_id, t.step_slug, t.task_index,
    format('the task is %s, was requeued %s times, and stalled for good at %s', t.status, t.requeued_count,
      coalesce(t.permanently_stalled_at::text, 'no time'))
  from pgflow.step_tasks t
  where (t.permanently_stalled_at is not null and t.status <> 'failed')
    -- both sweeps end a task that was requeued three times with the next loss
    or (t.requeued_count > 3 and t.status in ('queued', 'started'))

  union all
  select 'task_is_in_a_foreign_lane', t.run_id, t.step_slug, t.task_index,
    format('lane %s is not one of flow %L version %s', t.lane_id, st.flow_slug, st.flow_version)
  from pgflow.step_tasks t
  join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
  where not exists (
    select from pgflow.lanes l
    where l.lane_id = t.lane_id and l.flow_slug = st.flow_slug and l.flow_version = st.flow_version)

  union all
  select 'ready_task_below_the_claim_floor', t.run_id, t.step_slug, t.task_index,
    format('message %s is below %s, where claims of lane %s begin', t.message_id, l.claim_floor, l.lane_id)
  from pgflow.step_tasks t
  join pgflow.lanes l on l.lane_id = t.lane_id
  where t.status = 'queued' and t.visible_at is null and t.message_id < l.claim_floor
$fn$;

-- _verdicts: of these steps, those that are ready in an open run, and whether their conditions are met.
-- Judged is the run's input for a root step, else {"run": the run's input, "<slug>": output of each completed dependency}.
-- Met: it contains the required pattern, does not contain the forbidden one, and the predicate is true of it.
-- Locks: none.  Raises: nothing.
create function pgflow._verdicts(p_run_ids uuid[], p_step_slugs text[])
returns table (run_id uuid, step_slug text, is_met bool, when_unmet text, initial_tasks int)
language plpgsql stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
begin
  return query
  select g.run_id, g.step_slug,
    (s.required_input_pattern is null or j.judged @> s.required_input_pattern)
      and (s.forbidden_input_pattern is null or not j.judged @> s.forbidden_input_pattern)
      -- a predicate that is neither true nor false of this input (a missing key, say) is not met
      and (s.input_predicate is null or coalesce(j.judged @@ s.input_predicate, false)),
    s.when_unmet, coalesce(st.initial_tasks, case when s.step_type = 'single' then 1 end)
  from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
  cross join lateral (
    select x.status, x.remaining_deps, x.initial_tasks, x.flow_slug, x.flow_version
    from pgflow.step_states x
    where x.run_id = g.run_id and x.step_slug = g.step_slug
    offset 0
  ) st
  cross join lateral (select x.status, x.input from pgflow.runs x where x.run_id = g.run_id offset 0) r
  join pgflow.steps s
    on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = g.step_slug
  cross join lateral (
    select case
      when not s.is_conditional then null
      when s.deps_count = 0 then r.input
      else jsonb_build_object('run', r.input) || coalesce((
        select jsonb_object_agg(d.dep_slug, o.output)
        from pgflow.deps d
        join pgflow.step_states o on o.run_id = g.run_id and o.step_slug = d.dep_slug and o.status = 'completed'
        where d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = g.step_slug
      ), '{}') end as judged
  ) j
  where st.status = 'created' and st.remaining_deps = 0 and r.status = 'started';
end
$fn$;

-- _worker_lanes: the lanes that a live worker serves; none while it is deprecated, its lease has run out (others would take
-- the tasks away at once), or it holds a suspect alone or runs empty for one.
-- Locks: the worker's row, SKIP LOCKED, to end an isolation.  Writes: workers.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow._worker_lanes(p_worker_id uuid) returns int[]
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_worker record;
begin
  select w.lane_ids, w.stopped_at, w.deprecated_at, w.isolating,
    w.last_heartbeat_at + w.lease_seconds * interval '1 second' < pgflow._now() as is_expired
  into v_worker
  from pgflow.workers w where w.worker_id = p_worker_id;
  if not found then
    perform pgflow._refuse('PF406', format('worker %s does not exist', p_worker_id), 'Call register_worker first.');
  elsif v_worker.stopped_at is not null then
    perform pgflow._refuse('PF412', format('worker %s has stopped', p_worker_id),
      'Call register_worker with a new worker_id.');
  end if;
  if v_worker.deprecated_at is not null or v_worker.is_expired then
    return '{}';
  end if;
  if v_worker.isolating then
    if pgflow._is_isolated(p_worker_id, v_worker.lane_ids) then
      return '{}';
    end if;
    update pgflow.workers w set isolating = false
    where w.worker_id = (
      select x.worker_id from pgflow.workers x where x.worker_id = p_worker_id for update skip locked);
    if not found then
      return '{}';
    end if;
  end if;
  return v_worker.lane_ids;
end
$fn$;

-- add_step: add a step to a version of a flow (null: the current one); its dependencies must exist.
-- map_over: what a map runs over: one of deps_slugs, or 'run' for the run's input. Null: the only dependency, or the
-- run's input when there is none. uses_run_input: whether the handler is given the run's input whole; null: yes, unless
-- it maps over it. input_predicate: a condition beside the two patterns; see _verdicts for what they are matched with.
-- input_schema, output_schema: JSON Schemas of what the step is given whole, and of its whole output.
-- Locks: the flow's row.  Writes: steps, deps.  Idempotent: yes, the same step is returned unchanged.
-- Raises: PF400 bad slug, type, mode or option, PF404 unknown flow, PF407 unknown dependency, PF409 the step exists with
-- other dependencies or another type.
create function pgflow.add_step(
  flow_slug text,
  step_slug text,
  deps_slugs text[] default '{}',
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  start_delay int default null,
  step_type text default 'single',
  required_input_pattern jsonb default null,
  forbidden_input_pattern jsonb default null,
  when_unmet text default 'skip',
  when_exhausted text default 'fail',
  map_over text default null,
  uses_run_input bool default null,
  max_delay int default null,
  retry_on text[] default null,
  queue text default null,
  priority int default null,
  version int default null,
  input_predicate jsonpath default null,
  input_schema jsonb default null,
  output_schema jsonb default null
) returns pgflow.steps
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_name text := format('step %L of flow %L', add_step.step_slug, add_step.flow_slug);
  v_deps text[] := coalesce(add_step.deps_slugs, '{}');
  v_version int;
  v_map_over text;
  v_missing text;
  v_step pgflow.steps;
begin
  select coalesce(add_step.version, f.current_version) into v_version
  from pgflow.flows f where f.flow_slug = add_step.flow_slug and coalesce(add_step.version, 1) <= f.current_version
  for update;
  if not found then
    perform pgflow._refuse('PF404',
      format('flow %L does not exist%s', add_step.flow_slug, ' in version ' || add_step.version), 'Call create_flow first.');
  end if;
  perform pgflow._check_slug('step', add_step.step_slug);
  perform pgflow._check_options(
    v_name, add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay, add_step.max_delay,
    add_step.queue);
  v_map_over := pgflow._check_step(
    v_name, v_deps, add_step.step_type, add_step.when_unmet, add_step.when_exhausted, add_step.map_over,
    add_step.required_input_pattern, add_step.forbidden_input_pattern);

  select s.* into v_step from pgflow.steps s
  where s.flow_slug = add_step.flow_slug and s.flow_version = v_version and s.step_slug = add_step.step_slug;
  if found then
    if v_step.step_type <> add_step.step_type or v_step.map_over is distinct from v_map_over or v_deps operator(pg_catalog.<>) (
      select coalesce(array_agg(d.dep_slug order by array_position(v_deps, d.dep_slug)), '{}') from pgflow.deps d
      where d.flow_slug = add_step.flow_slug and d.flow_version = v_version and d.step_slug = add_step.step_slug
    ) then
      perform pgflow._refuse('PF409', format('%s exists already with other dependencies or another type', v_name),
        'A changed step belongs to a new version of the flow.');
    end if;
    return v_step;
  end if;

  select string_agg(quote_literal(dep), ', ') into v_missing
  from unnest(v_deps) dep
  where not exists (
    select from pgflow.steps s
    where s.flow_slug = add_step.flow_slug and s.flow_version = v_version and s.step_slug = dep);
  if v_missing is not null then
    perform pgflow._refuse('PF407', format('%s: there is no step %s to depend on', v_name, v_missing),
      'Add the steps in the order of their dependencies.');
  end if;

  insert into pgflow.steps as s (
    flow_slug, flow_version, step_slug, step_index, step_type, deps_count, opt_max_attempts, opt_base_delay, opt_timeout,
    opt_start_delay, required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted, map_over,
    uses_run_input, opt_max_delay, opt_retry_on, opt_queue, opt_priority, input_predicate, input_schema,
    output_schema
  )
  select
    add_step.flow_slug, v_version, add_step.step_slug, coalesce(max(o.step_index) + 1, 0), add_step.step_type,
    cardinality(v_deps), add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay,
    add_step.required_input_pattern, add_step.forbidden_input_pattern, add_step.when_unmet, add_step.when_exhausted,
    v_map_over, coalesce(add_step.uses_run_input, v_map_over is distinct from 'run'), add_step.max_delay, add_step.retry_on, add_step.queue,
    add_step.priority, add_step.input_predicate, add_step.input_schema, add_step.output_schema
  from pgflow.steps o where o.flow_slug = add_step.flow_slug and o.flow_version = v_version
  returning s.* into v_step;

  insert into pgflow.deps (flow_slug, flow_version, dep_slug, step_slug)
  select add_step.flow_slug, v_version, dep, add_step.step_slug from unnest(v_deps) dep;

  update pgflow.steps s set feeds_map = true
  where s.flow_slug = add_step.flow_slug and s.flow_version = v_version and s.step_slug = v_map_over and not s.feeds_map;
  return v_step;
end
$fn$;

-- calculate_retry_delay: seconds until the next attempt, floor(base_delay * 2^attempts_count), at most 2^31 - 1.
-- Exact: cap and jitter belong to whoever schedules (fail_tasks).
-- Locks: none.  Raises: nothing.
create function pgflow.calculate_retry_delay(base_delay numeric, attempts_count int) returns int
language sql immutable strict parallel safe
set search_path = ''
as $fn$
  select case
    when base_delay <= 0 then 0
    -- 2^31 is beyond the limit for every base of a second or more; smaller bases need a few more doublings
    when attempts_count >= 62 then 2147483647
    else least(floor(base_delay * power(2::numeric, attempts_count)), 2147483647)::int
  end
$fn$;

-- cancel_run: end an open run as cancelled, with all of its open steps and tasks; returns the run's row.
-- It waits for no handler: workers learn of it with their next heartbeat or completion. An ended run is returned as it is.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.  Writes: runs, step_states, step_tasks; NOTIFY.
-- Idempotent: yes, the first reason stays.  Raises: PF405 unknown run.
create function pgflow.cancel_run(run_id uuid, reason text default null) returns setof pgflow.runs
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform 1 from pgflow.runs r where r.run_id = cancel_run.run_id for no key update;
  if not found then
    perform pgflow._refuse_unknown_run(cancel_run.run_id);
  end if;
  -- ended runs have nothing open, so nothing happens to them
  perform pgflow._end_runs(array[r.run_id], 'cancelled', cancel_run.reason, pgflow._now())
  from pgflow.runs r where r.run_id = cancel_run.run_id and r.status = 'started';
  return query select r.* from pgflow.runs r where r.run_id = cancel_run.run_id;
end
$fn$;

-- cascade_complete_taskless_steps: complete the ready steps of an open run that have no tasks (empty maps) with [], and all
-- that follows from it; returns how many steps were completed or skipped.
-- The engine does so by itself; this is for states written by hand.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.  Writes: runs, step_states, step_tasks; NOTIFY.
-- Idempotent: yes.  Raises: nothing.
create function pgflow.cascade_complete_taskless_steps(run_id uuid) returns int
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_open bigint;
begin
  perform 1 from pgflow.runs r where r.run_id = cascade_complete_taskless_steps.run_id for no key update;
  select count(*) into v_open from pgflow.step_states st
  where st.run_id = cascade_complete_taskless_steps.run_id and st.status in ('created', 'started');
  perform pgflow._settle_steps(null, null, pgflow._now(), array_agg(v.run_id), array_agg(v.step_slug))
  from pgflow._ready_verdicts(cascade_complete_taskless_steps.run_id) v where v.is_met and v.initial_tasks = 0;
  return v_open - (
    select count(*) from pgflow.step_states st
    where st.run_id = cascade_complete_taskless_steps.run_id and st.status in ('created', 'started'));
end
$fn$;

-- cascade_resolve_conditions: skip or fail the ready steps of an open run whose conditions are unmet, and all that follows
-- from it; false when the run failed by it.
-- The engine does so by itself; this is for states written by hand.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow.cascade_resolve_conditions(run_id uuid) returns bool
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform 1 from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id for no key update;
  perform pgflow._settle_steps(null, null, pgflow._now(), array_agg(v.run_id), array_agg(v.step_slug))
  from pgflow._ready_verdicts(cascade_resolve_conditions.run_id) v where not v.is_met;
  return not exists (
    select from pgflow.runs r where r.run_id = cascade_resolve_conditions.run_id and r.status = 'failed');
end
$fn$;

-- check_invariants: whatever does not fit together in the whole database: what is wrong, where, and a sentence about it. No
-- rows: all is sound. It holds at the end of every transaction, in every state that the core's functions lead to; only rows
-- written by hand, a skip that is forced for an untrue reason, or a mistake in the core break it. All of it sees the state of one moment.
-- Ended runs: what was cancelled or failed with a run stays as it was at that moment, so of those only what is promised is
-- checked: nothing is open, and what had completed is whole.
-- Not checked: attempts_count against max_attempts, which may have been lowered since the attempts were made.
-- Locks: none.  Cost: reads all tables, some of them several times.  Raises: nothing.
create function pgflow.check_invariants()
returns table (violation text, run_id uuid, step_slug text, task_index int, detail text)
language plpgsql stable
set search_path = ''
set enable_nestloop = on
set jit = off
as $fn$
begin
  -- statistics lag behind, and a nested loop over whole tables takes for ever; hash joins do not. In small databases, tests
  -- above all, the planner's own choice is the quicker one. The setting ends with this function.
  if pg_relation_size('pgflow.step_tasks') > 500000 then
    perform set_config('enable_nestloop', 'off', true);
  end if;
  return query
  select * from pgflow._definition_violations()
  union all select * from pgflow._run_violations()
  union all select * from pgflow._step_violations()
  union all select * from pgflow._size_violations()
  union all select * from pgflow._skip_violations()
  union all select * from pgflow._task_violations()
  union all select * from pgflow._output_violations();
end
$fn$;

-- claim_tasks: lease up to max_tasks ready tasks of the worker's lanes to it, highest priority first, oldest first within a lane;
-- zero rows when nothing is ready. All tasks of one call get the same new fence.
-- A suspect (lost with two workers) is given to a worker that holds nothing else, and it gets nothing else meanwhile: so the
-- third loss, which fails the task, is its own doing. When all are busy one of them runs empty for it; the others go on.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED by message_id, lanes and the worker's row SKIP LOCKED; it waits for nobody.
-- Writes: step_tasks, lanes, workers.  Idempotent: no; a claim whose reply was lost is given back by release_strays.
-- Cost: O(max_tasks * log n) through step_tasks_ready_idx, from the lane's claim floor on, whatever the backlog, the
-- history, the sleepers or the statistics.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow.claim_tasks(worker_id uuid, max_tasks int) returns setof pgflow.claimed_task
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  -- a variable, because a volatile function is never an index condition
  v_now timestamptz := pgflow._now();
  v_lane_ids int[];
  v_lane record;
  v_left int := coalesce(max_tasks, 0);
  v_got int;
  v_batch int;
  v_fence bigint;
  v_suspect bool;
  v_isolation text;
begin
  if v_left <= 0 then
    return;
  end if;
  v_lane_ids := pgflow._worker_lanes(claim_tasks.worker_id);
  v_fence := nextval('pgflow.fences');
  -- a loop, because each lane has a floor of its own and the first ones usually fill the batch
  for v_lane in
    select l.lane_id, l.flow_version, l.claim_floor, l.waiting, exists (
      select from pgflow.step_tasks t
      where t.lane_id = l.lane_id and t.status = 'queued' and t.visible_at is null and t.requeued_count >= 2
        and t.message_id >= l.claim_floor) as has_suspect
    from pgflow.lanes l where l.lane_id = any (v_lane_ids)
    -- a worker that ran empty for a suspect must not be filled by another lane first
    order by has_suspect desc, l.priority desc, random()
  loop
    exit when v_left <= 0;
    v_suspect := false;
    if v_lane.has_suspect then
      v_isolation := pgflow._isolate_worker(claim_tasks.worker_id, v_lane.lane_id);
      exit when v_isolation = 'draining';
      v_suspect := v_isolation = 'alone';
      v_left := case when v_suspect then 1 else v_left end;
    end if;
    v_got := 0;
    -- once more when the lane did not fill the batch but has delayed tasks that are due
    for v_look in 1..2 loop
      return query
      with picked as (
        select t.ctid as tid
        from pgflow.step_tasks t
        where t.lane_id = v_lane.lane_id and t.status = 'queued' and t.visible_at is null
          -- a suspect that became ready after the look above waits for the next claim
          and t.message_id >= v_lane.claim_floor and (t.requeued_count >= 2) = v_suspect
        order by t.message_id
        limit v_left
        for update skip locked
      ),
      claimed as (
        update pgflow.step_tasks t set
          status = 'started', attempts_count = t.attempts_count + 1, fence = v_fence,
          last_worker_id = claim_tasks.worker_id, started_at = greatest(v_now, t.queued_at)
        from picked p where t.ctid = p.tid
        returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.attempts_count, t.input
      )
      select
        c.flow_slug, v_lane.flow_version, c.run_id, c.step_slug, c.task_index, c.attempts_count,
        coalesce(s.opt_max_attempts, f.opt_max_attempts), v_fence, coalesce(s.opt_timeout, f.opt_timeout),
        -- the whole inputs are the same for all tasks of a step: they are built and sent once per batch
        case when row_number() over (partition by c.run_id, c.step_slug order by c.task_index) = 1 then
          -- spelt out, because a function with queries in it is never inlined: 200 µs a task on PostgreSQL 15
          coalesce((
            select jsonb_object_agg(d.dep_slug, st.output)
            from pgflow.deps d
            join pgflow.step_states st on st.run_id = c.run_id and st.step_slug = d.dep_slug and st.status = 'completed'
            where d.flow_slug = c.flow_slug and d.flow_version = v_lane.flow_version and d.step_slug = c.step_slug
              and d.dep_slug is distinct from s.map_over
          ), '{}')
          || case
            when s.uses_run_input then (select jsonb_build_object('run', r.input) from pgflow.runs r where r.run_id = c.run_id)
            else '{}' end
        end,
        c.input,
        null::text
      from claimed c
      join pgflow.steps s
        on s.flow_slug = c.flow_slug and s.flow_version = v_lane.flow_version and s.step_slug = c.step_slug
      join pgflow.flows f on f.flow_slug = c.flow_slug
      order by c.run_id, c.step_slug, c.task_index;
      get diagnostics v_batch = row_count;
      v_got := v_got + v_batch;
      v_left := v_left - v_batch;
      exit when v_left <= 0 or v_look = 2
        or pgflow._promote_due_tasks(v_lane.lane_id, v_now, greatest(v_left, 100)) = 0;
    end loop;
    -- a lane that always fills the batch promotes too, if seldom: the timers sweep does it besides
    if v_left <= 0 and random() < 0.02 then
      perform pgflow._promote_due_tasks(v_lane.lane_id, v_now, 100);
    end if;

    if v_lane.waiting <> (v_got = 0) then
      update pgflow.lanes l set waiting = (v_got = 0)
      where l.lane_id = (select x.lane_id from pgflow.lanes x where x.lane_id = v_lane.lane_id for update skip locked);
    end if;
    -- on average once in 500 claimed tasks; see _advance_claim_floor
    if random() * 500 < v_got then
      perform pgflow._advance_claim_floor(v_lane.lane_id);
    end if;
  end loop;
end
$fn$;

-- complete_and_claim_tasks: hand in outputs and lease the next tasks in one round trip and one commit.
-- Rows with refusal set are results that were not taken; the others are claimed tasks.
-- Completing comes first: it waits for runs; claiming waits for nobody, so two calls cannot deadlock.
-- Locks, writes, raises: as complete_tasks, then as claim_tasks.  Idempotent: the first half.
create function pgflow.complete_and_claim_tasks(
  worker_id uuid,
  max_tasks int,
  run_ids uuid[],
  step_slugs text[],
  task_indexes int[],
  fences bigint[],
  outputs jsonb[]
) returns setof pgflow.claimed_task
language plpgsql volatile
set search_path = ''
as $fn$
begin
  if greatest(cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences),
    cardinality(outputs)) > 0
  then
    return query
    select null::text, null::int, r.run_id, r.step_slug, r.task_index, null::int, null::int, r.fence, null::int,
      null::jsonb, null::jsonb, r.reason
    from pgflow.complete_tasks(run_ids, step_slugs, task_indexes, fences, outputs) r;
  end if;
  return query
  select * from pgflow.claim_tasks(complete_and_claim_tasks.worker_id, complete_and_claim_tasks.max_tasks);
end
$fn$;

-- complete_task: complete one task; returns its row, as it is then (no row for an unknown task).
-- fence: the claim this result belongs to; null: whichever is current. A duplicate or late call changes nothing.
-- Locks, writes: as complete_tasks, which it wraps.  Idempotent: yes.
-- Raises: PF413 the fence is not the current claim's.
create function pgflow.complete_task(
  run_id uuid,
  step_slug text,
  task_index int,
  output jsonb,
  fence bigint default null
) returns setof pgflow.step_tasks
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_refusal pgflow.task_refusal;
begin
  select r.* into v_refusal
  from pgflow.step_tasks t
  cross join lateral pgflow.complete_tasks(
    array[t.run_id], array[t.step_slug], array[t.task_index], array[coalesce(complete_task.fence, t.fence)],
    array[complete_task.output]) r
  where t.run_id = complete_task.run_id and t.step_slug = complete_task.step_slug
    and t.task_index = complete_task.task_index
    -- what was ended by hand still has started tasks: they stay as they are
    and (t.status <> 'started' or exists (
      select from pgflow.runs r join pgflow.step_states st on st.run_id = r.run_id
      where r.run_id = t.run_id and r.status = 'started' and st.step_slug = t.step_slug and st.status = 'started'));
  perform pgflow._refuse_stale(v_refusal, complete_task.fence);
  return query
  select t.* from pgflow.step_tasks t
  where t.run_id = complete_task.run_id and t.step_slug = complete_task.step_slug
    and t.task_index = complete_task.task_index;
end
$fn$;

-- complete_tasks: hand in the outputs of claimed tasks, as parallel arrays; returns what was not taken.
-- Each result names the fence of its claim: a claim that is not current is refused (lease_lost), so is one of a run that
-- has ended (run_ended). A result handed in twice is taken once and not refused.
-- Locks: runs FOR NO KEY UPDATE by run_id; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: yes.
-- Cost: four statements, linear in the batch, plus the tasks created.  Raises: PF400 arrays of different length.
create function pgflow.complete_tasks(
  run_ids uuid[],
  step_slugs text[],
  task_indexes int[],
  fences bigint[],
  outputs jsonb[]
) returns setof pgflow.task_refusal
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_taken int;
  v_run_ids uuid[];
  v_slugs text[];
  v_violated bool;
begin
  perform pgflow._check_batch('complete_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences), cardinality(outputs)]);
  -- the run's row is the lock of everything under it; statements after this one see what others committed before
  perform pgflow._lock_runs(complete_tasks.run_ids);

  with completed as (
    update pgflow.step_tasks t set
      status = 'completed', output = g.output, completed_at = greatest(v_now, t.started_at)
    from (
      select o.tid, i.output
      from unnest(run_ids, step_slugs, task_indexes, fences, outputs) i(run_id, step_slug, task_index, fence, output)
      cross join lateral (
        select x.ctid as tid, x.status, x.fence
        from pgflow.step_tasks x
        where x.run_id = i.run_id and x.step_slug = i.step_slug and x.task_index = i.task_index
        offset 0
      ) o
      where o.status = 'started' and o.fence = i.fence
    ) g
    where t.ctid = g.tid
    returning t.run_id, t.step_slug, t.task_index, t.output
  ),
  counted as (
    select c.run_id, c.step_slug, count(*)::int as n, (array_agg(c.output))[1] as output
    from completed c group by c.run_id, c.step_slug
  ),
  located as (
    select c.*, o.tid, s.step_type, s.feeds_map
    from counted c
    cross join lateral (
      select x.ctid as tid, x.status, x.flow_slug, x.flow_version
      from pgflow.step_states x
      where x.run_id = c.run_id and x.step_slug = c.step_slug
      offset 0
    ) o
    join pgflow.steps s on s.flow_slug = o.flow_slug and s.flow_version = o.flow_version and s.step_slug = c.step_slug
    where o.status = 'started'
  ),
  advanced as (
    update pgflow.step_states st set
      remaining_tasks = st.remaining_tasks - c.n,
      status = case when st.remaining_tasks = c.n then 'completed' else st.status end,
      completed_at = case when st.remaining_tasks = c.n then greatest(v_now, st.started_at) end,
      output = case
        when st.remaining_tasks > c.n then null
        when c.step_type = 'single' then c.output
        -- this statement does not see its own updates, so the last outputs of a map come from `completed`
        else (
          select jsonb_agg(o.output order by o.task_index) from (
            select t.task_index, t.output from pgflow.step_tasks t
            where t.run_id = c.run_id and t.step_slug = c.step_slug and t.status = 'completed'
            union all
            select l.task_index, l.output from completed l
            where l.run_id = c.run_id and l.step_slug = c.step_slug
          ) o
        ) end
    from located c
    where st.ctid = c.tid
    returning st.run_id, st.step_slug, st.status,
      c.feeds_map and c.step_type = 'single' and jsonb_typeof(c.output) is distinct from 'array' as violates
  )
  select
    (select count(*) from completed),
    array_agg(a.run_id), array_agg(a.step_slug), coalesce(bool_or(a.violates), false)
  into v_taken, v_run_ids, v_slugs, v_violated
  from advanced a where a.status = 'completed';

  if v_violated then
    select l.run_ids, l.step_slugs into v_run_ids, v_slugs
    from pgflow._fail_type_violations(v_run_ids, v_slugs, v_now) l;
  end if;
  if v_run_ids is not null then
    perform pgflow._settle_steps(v_run_ids, v_slugs, v_now);
  end if;

  if v_taken < cardinality(run_ids) then
    return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['completed', 'violated']);
  end if;
end
$fn$;

-- core_version: the schema version of the installed core; packages refuse another one than their own.
-- Locks: none.  Raises: nothing.
create function pgflow.core_version() returns int
language sql immutable parallel safe
set search_path = ''
as $fn$
  select 3
$fn$;

-- create_flow: define a flow, or its next version; null options are the defaults.
-- version null: the first version, or whatever exists. version n+1: the next version, which new runs get from now on.
-- deadline: seconds from a run's start after which it is failed; null: none.
-- serves_from: the oldest version whose runs workers of this one carry out too; accepts_from: the oldest one whose callers may start
-- this one and read its output; null: only itself.
-- input_schema, output_schema: JSON Schemas of a run's input and output.
-- fingerprint names the version's shape for workers; output_step is the step whose output is the run's.
-- Locks: the flow's row.  Writes: flows, flow_versions.  Idempotent: yes, what exists is returned unchanged.
-- Raises: PF400 bad slug, option or version, PF409 the version exists with another shape.
create function pgflow.create_flow(
  flow_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  max_delay int default null,
  queue text default null,
  priority int default null,
  version int default null,
  fingerprint text default null,
  output_step text default null,
  deadline int default null,
  input_schema jsonb default null,
  output_schema jsonb default null,
  serves_from int default null,
  accepts_from int default null
) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_flow pgflow.flows;
  v_known text;
  v_wrong text;
begin
  perform pgflow._check_slug('flow', create_flow.flow_slug);
  perform pgflow._check_options(
    format('flow %L', create_flow.flow_slug), create_flow.max_attempts, create_flow.base_delay, create_flow.timeout, null,
    create_flow.max_delay, create_flow.queue, create_flow.deadline);

  if create_flow.version < 1 then
    perform pgflow._refuse('PF400', format('flow %L: version must be at least 1, not %s', create_flow.flow_slug,
      create_flow.version), 'Versions count from 1; null is the current one.');
  end if;
  select format('flow %L version %s: %s must be from 1 to the version itself, not %s', create_flow.flow_slug,
    coalesce(create_flow.version, 1), g.name, g.since)
  into v_wrong
  from (values ('serves_from', create_flow.serves_from), ('accepts_from', create_flow.accepts_from)) g(name, since)
  where g.since not between 1 and coalesce(create_flow.version, 1);
  if v_wrong is not null then
    perform pgflow._refuse('PF400', v_wrong, 'Null is the version itself.');
  end if;
  insert into pgflow.flows as f (
    flow_slug, opt_max_attempts, opt_base_delay, opt_timeout, opt_max_delay, opt_queue, opt_priority,
    opt_deadline
  ) values (
    create_flow.flow_slug, coalesce(create_flow.max_attempts, 3), coalesce(create_flow.base_delay, 5),
    coalesce(create_flow.timeout, 60), coalesce(create_flow.max_delay, 3600), create_flow.queue,
    coalesce(create_flow.priority, 0), create_flow.deadline
  ) on conflict (flow_slug) do nothing;
  select f.* into v_flow from pgflow.flows f where f.flow_slug = create_flow.flow_slug for update;

  insert into pgflow.flow_versions (
    flow_slug, flow_version, fingerprint, output_step, input_schema, output_schema, serves_from,
    accepts_from
  ) values (
    create_flow.flow_slug, coalesce(create_flow.version, v_flow.current_version), create_flow.fingerprint,
    create_flow.output_step, create_flow.input_schema, create_flow.output_schema, create_flow.serves_from,
    create_flow.accepts_from)
  on conflict (flow_slug, flow_version) do nothing;
  if not found then
    select fv.fingerprint into v_known
    from pgflow.flow_versions fv
    where fv.flow_slug = create_flow.flow_slug
      and fv.flow_version = coalesce(create_flow.version, v_flow.current_version);
    if v_known is distinct from coalesce(create_flow.fingerprint, v_known) then
      perform pgflow._refuse('PF409',
        format('flow %L has version %s already, with another shape', create_flow.flow_slug,
          coalesce(create_flow.version, v_flow.current_version)),
        'Another migration defined this version. Compile again on top of it.');
    end if;
    return v_flow;
  end if;

  if create_flow.version > v_flow.current_version + 1 or create_flow.version < v_flow.current_version then
    perform pgflow._refuse('PF400',
      format('flow %L is at version %s and cannot get version %s', create_flow.flow_slug, v_flow.current_version,
        create_flow.version),
      format('The next version is %s.', v_flow.current_version + 1));
  end if;
  if create_flow.version > v_flow.current_version then
    update pgflow.flows f set current_version = create_flow.version
    where f.flow_slug = create_flow.flow_slug
    returning f.* into v_flow;
  end if;
  return v_flow;
end
$fn$;

-- delete_flow_and_data: remove a flow: its definition in all versions, and all of its runs, open ones too, with their
-- rows. What workers still hand in for them is refused.
-- Locks: the flow's row, then the table runs against writers and lockers, as drop_flow_version does.
-- Writes: flows, flow_versions, steps, deps, lanes, runs, step_states, step_tasks, task_attempts.
-- Idempotent: yes, an unknown flow is no error.  Raises: nothing.
create function pgflow.delete_flow_and_data(p_flow_slug text) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform 1 from pgflow.flows f where f.flow_slug = p_flow_slug for update;
  -- also waits for transactions that have started a run and are not committed yet
  lock table pgflow.runs in exclusive mode;

  with gone as (
    delete from pgflow.runs r where r.flow_slug = p_flow_slug returning r.run_id
  ),
  gone_states as (
    delete from pgflow.step_states st using gone g where st.run_id = g.run_id
  ),
  gone_tasks as (
    delete from pgflow.step_tasks t using gone g where t.run_id = g.run_id
  )
  delete from pgflow.task_attempts a using gone g where a.run_id = g.run_id;

  -- versions, steps, deps and lanes go with it
  delete from pgflow.flows f where f.flow_slug = p_flow_slug;
end
$fn$;

-- describe_flow: what a caller has to know of a flow's version (null: the current one), as JSON: {"slug", "version", "fingerprint",
-- "isCurrent", "retiredAt", "inputSchema", "outputSchema", "outputStep", "steps": [{"slug", "stepType", "dependencies", "isConditional",
-- "whenUnmet", "whenExhausted", "inputSchema", "outputSchema"}]}, steps in their order; what is unknown is null.
-- Null for a flow or version that does not exist.
-- Locks: none.  Raises: nothing.
create function pgflow.describe_flow(flow_slug text, version int default null) returns jsonb
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
begin
  return (
    select jsonb_build_object(
      'slug', f.flow_slug, 'version', fv.flow_version, 'fingerprint', fv.fingerprint,
      'isCurrent', fv.flow_version = f.current_version, 'retiredAt', f.retired_at,
      'inputSchema', fv.input_schema, 'outputSchema', fv.output_schema, 'outputStep', fv.output_step,
      'steps', coalesce((
        select jsonb_agg(
          jsonb_build_object(
            'slug', s.step_slug, 'stepType', s.step_type, 'isConditional', s.is_conditional, 'whenUnmet', s.when_unmet,
            'whenExhausted', s.when_exhausted, 'inputSchema', s.input_schema, 'outputSchema', s.output_schema,
            'dependencies', to_jsonb(array(
              select d.dep_slug from pgflow.deps d
              where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
              order by d.dep_slug collate "C")))
          order by s.step_index)
        from pgflow.steps s where s.flow_slug = fv.flow_slug and s.flow_version = fv.flow_version
      ), '[]'))
    from pgflow.flows f
    join pgflow.flow_versions fv
      on fv.flow_slug = f.flow_slug and fv.flow_version = coalesce(describe_flow.version, f.current_version)
    where f.flow_slug = describe_flow.flow_slug);
end
$fn$;

-- describe_run: everything about a run for people, as JSON: run, steps with their task counts, at most max_tasks tasks (failed
-- first, then started, then retrying, then the newest), the number of all tasks, and the recorded attempts, latest first.
-- with_values false: without input and outputs, for those who look often.
-- Locks: none.  Cost: linear in the run's tasks.  Raises: PF405 unknown run.
create function pgflow.describe_run(run_id uuid, max_tasks int default 200, with_values bool default true)
returns jsonb
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_run pgflow.runs;
begin
  select r.* into v_run from pgflow.runs r where r.run_id = describe_run.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(describe_run.run_id);
  end if;
  return jsonb_build_object(
    'run', jsonb_build_object(
      'run_id', v_run.run_id, 'flow_slug', v_run.flow_slug, 'flow_version', v_run.flow_version, 'status', v_run.status,
      'input', case when with_values then v_run.input end, 'output', case when with_values then v_run.output end, 'remaining_steps', v_run.remaining_steps,
      'started_at', v_run.started_at, 'ended_at', coalesce(v_run.completed_at, v_run.failed_at, v_run.cancelled_at),
      'end_reason', v_run.end_reason, 'deadline_at', v_run.deadline_at, 'retried_count', v_run.retried_count),
    'steps', pgflow._describe_steps(v_run.run_id, with_values),
    'tasks', pgflow._describe_tasks(v_run.run_id, describe_run.max_tasks),
    'tasks_total', (select count(*) from pgflow.step_tasks t where t.run_id = v_run.run_id),
    'attempts', coalesce((
      select jsonb_agg(to_jsonb(a) - 'attempt_id' - 'flow_slug' - 'run_id' order by a.attempt_id desc)
      from (
        select x.* from pgflow.task_attempts x where x.run_id = v_run.run_id
        order by x.attempt_id desc limit describe_run.max_tasks
      ) a
    ), '[]'));
end
$fn$;

-- drop_flow_version: undo create_flow for one version: its definition and its finished runs; the version before becomes
-- current; with the only version the flow itself goes.
-- Locks: the flow's row, then the table runs against writers and lockers.  Writes: flows, flow_versions, steps, deps, lanes, runs, step_states, step_tasks,
-- task_attempts.  Idempotent: yes, an unknown version is no error.  Raises: PF411 runs of the version are open.
create function pgflow.drop_flow_version(flow_slug text, version int) returns void
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_open bigint;
  v_before int;
begin
  perform 1 from pgflow.flows f where f.flow_slug = drop_flow_version.flow_slug for update;
  -- also waits for transactions that have started a run and are not committed yet
  lock table pgflow.runs in exclusive mode;
  select count(*) into v_open from pgflow.runs r
  where r.flow_slug = drop_flow_version.flow_slug and r.flow_version = drop_flow_version.version and r.status = 'started';
  if v_open > 0 then
    perform pgflow._refuse('PF411',
      format('flow %L version %s has %s', drop_flow_version.flow_slug, drop_flow_version.version,
        case v_open when 1 then '1 open run' else v_open || ' open runs' end),
      format('They could not go on without their definition. Wait until they have ended (pgflow runs --flow %s --status started), '
        'or cancel them (pgflow cancel RUN); then downgrade again.', drop_flow_version.flow_slug));
  end if;

  with gone as (
    delete from pgflow.runs r
    where r.flow_slug = drop_flow_version.flow_slug and r.flow_version = drop_flow_version.version
    returning r.run_id
  ),
  gone_states as (
    delete from pgflow.step_states st using gone g where st.run_id = g.run_id
  ),
  gone_tasks as (
    delete from pgflow.step_tasks t using gone g where t.run_id = g.run_id
  )
  delete from pgflow.task_attempts a using gone g where a.run_id = g.run_id;

  delete from pgflow.steps s
  where s.flow_slug = drop_flow_version.flow_slug and s.flow_version = drop_flow_version.version;
  delete from pgflow.lanes l
  where l.flow_slug = drop_flow_version.flow_slug and l.flow_version = drop_flow_version.version;
  delete from pgflow.flow_versions fv
  where fv.flow_slug = drop_flow_version.flow_slug and fv.flow_version = drop_flow_version.version;

  select max(fv.flow_version) into v_before
  from pgflow.flow_versions fv where fv.flow_slug = drop_flow_version.flow_slug;
  if v_before is null then
    delete from pgflow.flows f where f.flow_slug = drop_flow_version.flow_slug;
  else
    update pgflow.flows f set current_version = v_before where f.flow_slug = drop_flow_version.flow_slug;
  end if;
end
$fn$;

-- enforce_deadlines: fail up to max_runs open runs that are past their deadline; returns how many.
-- Locks: runs FOR NO KEY UPDATE SKIP LOCKED; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: yes.
-- Cost: a range of runs_by_deadline_idx, which holds open runs only.  Raises: nothing.
create function pgflow.enforce_deadlines(max_runs int default 100) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_run_ids uuid[];
begin
  select array_agg(o.run_id) into v_run_ids from (
    select r.run_id from pgflow.runs r
    where r.deadline_at is not null and r.deadline_at <= v_now and r.status = 'started'
    order by r.deadline_at
    limit greatest(enforce_deadlines.max_runs, 0)
    -- a run that somebody works on at this moment is looked at by the next sweep
    for no key update skip locked
  ) o;
  perform pgflow._end_runs(
    array[r.run_id], 'failed',
    format('deadline of %s UTC exceeded', to_char(r.deadline_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')), v_now)
  from pgflow.runs r where r.run_id = any (v_run_ids);
  return coalesce(cardinality(v_run_ids), 0);
end
$fn$;

-- ensure_flow_compiled: see to it that the database has this shape of the flow: {"status", "differences"}.
-- compiled: there was no such flow, it was made; verified: its current version has this shape; mismatch: it has another
-- one, and nothing was changed; recompiled: it had another one and was made anew, without its versions and runs. That
-- happens only with allow_data_loss, which is for development.
-- Locks: an advisory lock per flow, so that of several callers one compiles and the others verify; then as create_flow,
-- add_step and, with allow_data_loss, delete_flow_and_data.  Writes: as those.  Idempotent: yes.
-- Raises: PF400 no shape; as create_flow and add_step.
create function pgflow.ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss bool default false)
returns jsonb
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_status text := 'verified';
  v_differences text[] := '{}';
begin
  perform pgflow._check_slug('flow', ensure_flow_compiled.flow_slug);
  perform pgflow._check_shape(ensure_flow_compiled.flow_slug, shape);
  perform pg_advisory_xact_lock(hashtextextended('pgflow.ensure_flow_compiled ' || ensure_flow_compiled.flow_slug, 0));

  if not exists (select from pgflow.flows f where f.flow_slug = ensure_flow_compiled.flow_slug) then
    perform pgflow._create_flow_from_shape(ensure_flow_compiled.flow_slug, shape);
    v_status := 'compiled';
  else
    v_differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(ensure_flow_compiled.flow_slug));
    if cardinality(v_differences) > 0 and coalesce(allow_data_loss, false) then
      perform pgflow.delete_flow_and_data(ensure_flow_compiled.flow_slug);
      perform pgflow._create_flow_from_shape(ensure_flow_compiled.flow_slug, shape);
      v_status := 'recompiled';
    elsif cardinality(v_differences) > 0 then
      v_status := 'mismatch';
    end if;
  end if;
  return jsonb_build_object('status', v_status, 'differences', to_jsonb(v_differences));
end
$fn$;

-- explain_run: why a run does not move: a row for each of its open steps (task_index null) and open tasks, with what it waits
-- for and a sentence that says so. At most max_tasks task rows; the rows of the steps count all of them. An ended run: one row.
-- waits_for: dependency; lease (a worker has it: worker_id, until its lease ends); worker (its turn); no_worker (nobody serves
-- this flow, version or queue); backoff, start_delay, reserved (until then); run_ended, cancelled.
-- Locks: none.  Cost: linear in the run's tasks, plus the workers.  Raises: PF405 unknown run.
create function pgflow.explain_run(run_id uuid, max_tasks int default 1000) returns table (
  step_slug text,
  task_index int,
  status text,
  waits_for text,
  detail text,
  since timestamptz,
  until timestamptz,
  worker_id uuid
)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_now timestamptz := pgflow._now();
  v_run pgflow.runs;
  v_failed record;
begin
  select r.* into v_run from pgflow.runs r where r.run_id = explain_run.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(explain_run.run_id);
  end if;
  if v_run.status <> 'started' then
    select st.step_slug, st.error_message into v_failed
    from pgflow.step_states st
    where st.run_id = v_run.run_id and st.status = 'failed' and v_run.end_reason is null
    order by st.failed_at limit 1;
    return query
    select null::text, null::int, v_run.status, case v_run.status when 'cancelled' then 'cancelled' else 'run_ended' end,
      format('The run %s at %s%s%s.',
        case v_run.status when 'cancelled' then 'was cancelled' else v_run.status end,
        pgflow._explain_moment(e.ended_at), ' in step ' || quote_literal(v_failed.step_slug),
        ': ' || left(coalesce(v_run.end_reason, v_failed.error_message), 200)),
      e.ended_at, null::timestamptz, null::uuid
    from (select coalesce(v_run.completed_at, v_run.failed_at, v_run.cancelled_at) as ended_at) e;
    return;
  end if;
  return query
  select x.step_slug, x.task_index, x.status, x.waits_for, x.detail, x.since, x.until, x.worker_id
  from (
    select e.step_slug, null::int as task_index, e.status, e.waits_for, e.detail, e.since, e.until, null::uuid as worker_id
    from pgflow._explain_steps(v_run.run_id, v_now) e
    union all
    select t.* from pgflow._explain_tasks(v_run.run_id, explain_run.max_tasks, v_now) t
  ) x
  left join pgflow.steps s
    on s.flow_slug = v_run.flow_slug and s.flow_version = v_run.flow_version and s.step_slug = x.step_slug
  order by s.step_index, x.step_slug, x.task_index nulls first;
end
$fn$;

-- fail_task: fail the current attempt of one task; returns the task's row, as it is then (no row for an unknown task).
-- fence: the claim this failure belongs to; null: whichever is current. A duplicate or late call changes nothing.
-- Locks, writes: as fail_tasks, which it wraps.  Idempotent: yes.
-- Raises: PF413 the fence is not the current claim's.
create function pgflow.fail_task(
  run_id uuid,
  step_slug text,
  task_index int,
  error_message text,
  fence bigint default null
) returns setof pgflow.step_tasks
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_refusal pgflow.task_refusal;
begin
  select r.* into v_refusal
  from pgflow.step_tasks t
  cross join lateral pgflow.fail_tasks(
    array[t.run_id], array[t.step_slug], array[t.task_index], array[coalesce(fail_task.fence, t.fence)],
    array[jsonb_build_object('message', coalesce(fail_task.error_message, ''))]) r
  where t.run_id = fail_task.run_id and t.step_slug = fail_task.step_slug and t.task_index = fail_task.task_index
    -- what was ended by hand still has started tasks: they stay as they are
    and (t.status <> 'started' or exists (
      select from pgflow.runs r join pgflow.step_states st on st.run_id = r.run_id
      where r.run_id = t.run_id and r.status = 'started' and st.step_slug = t.step_slug and st.status = 'started'));
  perform pgflow._refuse_stale(v_refusal, fail_task.fence);
  return query
  select t.* from pgflow.step_tasks t
  where t.run_id = fail_task.run_id and t.step_slug = fail_task.step_slug and t.task_index = fail_task.task_index;
end
$fn$;

-- fail_tasks: hand in failed attempts, as parallel arrays; returns what was not taken.
-- An error is {"class", "classes": [names of the class and its bases], "message", "traceback", "retryable": bool,
-- "retry_after": seconds}, all but message optional. With attempts left, retryable, and of a class in retry_on (if any),
-- the task is queued again after retry_after, or after base_delay * 2^attempts capped by max_delay, plus up to 10 %
-- jitter. Otherwise the task fails for good and its step's when_exhausted decides: step and run fail and what is open in
-- the run ends, or the step is skipped, alone or with all that depends on it.
-- Locks: runs FOR NO KEY UPDATE by run_id; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.
-- Raises: PF400 arrays of different length.
create function pgflow.fail_tasks(
  run_ids uuid[],
  step_slugs text[],
  task_indexes int[],
  fences bigint[],
  errors jsonb[]
) returns setof pgflow.task_refusal
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_exhausted record;
begin
  perform pgflow._check_batch('fail_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences), cardinality(errors)]);
  perform pgflow._lock_runs(fail_tasks.run_ids);

  with judged as (
    select h.*, errors[h.i] as error,
      errors[h.i] -> 'retryable' is distinct from 'false'
        and h.attempts_count < h.max_attempts
        and (h.retry_on is null or coalesce(errors[h.i] -> 'classes' ?| h.retry_on, false)) as retry,
      case
        when jsonb_typeof(errors[h.i] -> 'retry_after') = 'number'
          then least(greatest((errors[h.i] ->> 'retry_after')::numeric, 0), 2147483647)::float8
        -- a cap below the base would be no backoff at all
        else least(
          pgflow.calculate_retry_delay(h.base_delay, h.attempts_count), greatest(h.max_delay, h.base_delay)
        ) * (1 + random() * 0.1)
      end as delay
    from pgflow._held(run_ids, step_slugs, task_indexes, fences) h
  ),
  updated as (
    update pgflow.step_tasks t set
      status = case when j.retry then 'queued' else 'failed' end,
      visible_at = case when j.retry then v_now + j.delay * interval '1 second' end,
      lane_id = j.lane_id,
      started_at = case when j.retry then null else t.started_at end,
      failed_at = case when j.retry then null else greatest(v_now, t.started_at) end,
      error_message = j.error ->> 'message'
    from judged j
    where t.ctid = j.tid
    returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.attempts_count, t.status, t.fence, t.last_worker_id,
      j.started_at, j.error
  ),
  recorded as (
    insert into pgflow.task_attempts (
      flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, traceback, fence,
      worker_id, started_at, ended_at
    )
    select u.flow_slug, u.run_id, u.step_slug, u.task_index, u.attempts_count, 'failed',
      coalesce(u.error ->> 'class', 'Error'), coalesce(u.error ->> 'message', ''),
      coalesce(u.error ->> 'traceback', ''), u.fence, u.last_worker_id, u.started_at, greatest(v_now, u.started_at)
    from updated u
  )
  select count(*) as taken,
    array_agg(u.run_id order by u.task_index) filter (where u.status = 'failed') as run_ids,
    array_agg(u.step_slug order by u.task_index) filter (where u.status = 'failed') as step_slugs,
    array_agg(u.error ->> 'message' order by u.task_index) filter (where u.status = 'failed') as messages
  into v_exhausted
  from updated u;

  if v_exhausted.taken < cardinality(run_ids) then
    return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['queued', 'failed']);
  end if;
  if v_exhausted.run_ids is not null then
    perform pgflow._exhaust_steps(v_exhausted.run_ids, v_exhausted.step_slugs, v_exhausted.messages, v_now);
  end if;
end
$fn$;

-- find_runs: ids of runs that begin with the prefix (hexadecimal, dashes where a uuid has them), at most max_runs.
-- Locks: none.  Cost: a range of the primary key.  Raises: PF400 a prefix that begins no uuid.
create function pgflow.find_runs(prefix text, max_runs int default 2) returns setof uuid
language plpgsql stable
set search_path = ''
as $fn$
declare
  v_low text := lower(find_runs.prefix);
begin
  if v_low is null or length(v_low) > 36
    or v_low || substr('00000000-0000-0000-0000-000000000000', length(v_low) + 1)
      !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    perform pgflow._refuse('PF400', format('%L is not the beginning of a run id', find_runs.prefix),
      'A run id is a uuid: give its first hexadecimal digits.');
  end if;
  return query
  select r.run_id from pgflow.runs r
  where r.run_id >= (v_low || substr('00000000-0000-0000-0000-000000000000', length(v_low) + 1))::uuid
    and r.run_id <= (v_low || substr('ffffffff-ffff-ffff-ffff-ffffffffffff', length(v_low) + 1))::uuid
  order by r.run_id limit greatest(find_runs.max_runs, 0);
end
$fn$;

-- get_run_with_states: a run and its steps as {"run": {...}, "steps": [{...}, ...]}, the rows of runs and step_states as they
-- are, steps in the flow's order; null for an unknown run.
-- Locks: none.  Raises: nothing.
create function pgflow.get_run_with_states(run_id uuid) returns jsonb
language sql stable
set search_path = ''
as $fn$
  select jsonb_build_object(
    'run', to_jsonb(r),
    'steps', coalesce((
      select jsonb_agg(to_jsonb(st) order by s.step_index, st.step_slug)
      from pgflow.step_states st
      left join pgflow.steps s
        on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
      where st.run_id = r.run_id
    ), '[]'))
  from pgflow.runs r where r.run_id = get_run_with_states.run_id
$fn$;

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

-- heartbeat_worker: renew the worker's leases and the lanes it serves; true when it is asked to drain (deprecated).
-- Locks: the worker's row.  Writes: workers.  Idempotent: yes.  Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow.heartbeat_worker(worker_id uuid) returns bool
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_deprecated bool;
begin
  update pgflow.workers w set
    last_heartbeat_at = pgflow._now(),
    lane_ids = array(
      select distinct l.lane_id from unnest(w.flow_slugs, w.fingerprints) s(flow_slug, fingerprint)
      join pgflow.flow_versions v on v.flow_slug = s.flow_slug and v.fingerprint = s.fingerprint
      join pgflow.lanes l on l.flow_slug = v.flow_slug
        and l.flow_version between coalesce(v.serves_from, v.flow_version) and v.flow_version
      where w.queues is null or l.queue_name = any (w.queues)
      order by l.lane_id)
  where w.worker_id = heartbeat_worker.worker_id and w.stopped_at is null
  returning w.deprecated_at is not null into v_deprecated;
  if not found then
    perform pgflow._worker_lanes(heartbeat_worker.worker_id);
  end if;
  return v_deprecated;
end
$fn$;

-- list_flows: the versions of the flows that matter: each flow's current one, and older ones with open runs or live
-- workers; each with its number of steps, its runs by status, and the live workers that serve it: those of its shape, those of
-- a later one that serve it too, and those without a shape that read one of its queues (foreign ones), which do not keep an old version in the list.
-- A worker without a lease lives until it stops.
-- Locks: none.  Cost: reads all runs.  Raises: nothing.
create function pgflow.list_flows() returns table (
  flow_slug text,
  flow_version int,
  is_current bool,
  steps_count int,
  runs jsonb,
  live_workers int
)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_now timestamptz := pgflow._now();
begin
  return query
  with counted as (
    select c.flow_slug, c.flow_version, jsonb_object_agg(c.status, c.n) as runs, bool_or(c.status = 'started') as is_open
    from (select r.flow_slug, r.flow_version, r.status, count(*) as n from pgflow.runs r group by 1, 2, 3) c
    group by c.flow_slug, c.flow_version
  ),
  live as (
    select w.* from pgflow.workers w
    where w.stopped_at is null
      and (w.lease_seconds is null or w.last_heartbeat_at + w.lease_seconds * interval '1 second' >= v_now)
  ),
  serving as (
    select v.flow_slug, v.flow_version, w.worker_id, v.fingerprint = s.fingerprint as by_shape
    from live w
    cross join unnest(w.flow_slugs, w.fingerprints) s(flow_slug, fingerprint)
    join pgflow.flow_versions o on o.flow_slug = s.flow_slug and o.fingerprint = s.fingerprint
    join pgflow.flow_versions v on v.flow_slug = o.flow_slug
      and v.flow_version between coalesce(o.serves_from, o.flow_version) and o.flow_version
    union
    select l.flow_slug, l.flow_version, w.worker_id, false
    from live w
    join pgflow.lanes l on l.queue_name = w.queue_name
    where w.flow_slugs = '{}'
  ),
  served as (
    select s.flow_slug, s.flow_version, count(distinct s.worker_id)::int as workers, bool_or(s.by_shape) as by_shape
    from serving s
    group by s.flow_slug, s.flow_version
  ),
  versions as (
    select f.flow_slug, f.current_version as flow_version, true as is_current from pgflow.flows f
    union all
    select fv.flow_slug, fv.flow_version, false
    from pgflow.flow_versions fv join pgflow.flows f on f.flow_slug = fv.flow_slug
    where fv.flow_version <> f.current_version
  )
  select v.flow_slug, v.flow_version, v.is_current,
    (
      select count(*)::int from pgflow.steps s
      where s.flow_slug = v.flow_slug and s.flow_version = v.flow_version
    ),
    coalesce(c.runs, '{}'), coalesce(s.workers, 0)
  from versions v
  left join counted c on c.flow_slug = v.flow_slug and c.flow_version = v.flow_version
  left join served s on s.flow_slug = v.flow_slug and s.flow_version = v.flow_version
  where v.is_current or c.is_open or s.by_shape
  order by v.flow_slug, v.flow_version desc;
end
$fn$;

-- list_runs: runs, newest first (of the same moment, the greater id first), optionally of one flow or status.
-- before, before_run: go on after the run with this start and this id, the last one listed, missing none; before alone:
-- runs that started earlier; before_run alone: its start is looked up.
-- Locks: none.  Cost: per flow, a range of runs_by_flow_idx.
-- Raises: PF404 unknown flow, PF405 before_run alone is unknown.
create function pgflow.list_runs(
  flow_slug text default null,
  status text default null,
  max_runs int default 50,
  before timestamptz default null,
  before_run uuid default null
) returns table (
  run_id uuid,
  run_flow_slug text,
  flow_version int,
  run_status text,
  remaining_steps int,
  started_at timestamptz,
  ended_at timestamptz
)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_before timestamptz := list_runs.before;
begin
  if list_runs.flow_slug is not null
    and not exists (select from pgflow.flows f where f.flow_slug = list_runs.flow_slug) then
    perform pgflow._refuse('PF404', format('flow %L does not exist', list_runs.flow_slug),
      'List the flows with: pgflow flows.');
  end if;
  if v_before is null and list_runs.before_run is not null then
    select r.started_at into v_before from pgflow.runs r where r.run_id = list_runs.before_run;
    if not found then
      perform pgflow._refuse_unknown_run(list_runs.before_run);
    end if;
  end if;
  return query
  select r.run_id, r.flow_slug, r.flow_version, r.status, r.remaining_steps, r.started_at,
    coalesce(r.completed_at, r.failed_at, r.cancelled_at)
  from pgflow.flows f
  cross join lateral (
    select * from pgflow.runs x
    where x.flow_slug = f.flow_slug
      and (list_runs.status is null or x.status = list_runs.status)
      and (v_before is null or x.started_at <= v_before)
      and (v_before is null or x.started_at < v_before or x.run_id < list_runs.before_run)
    order by x.started_at desc, x.run_id desc
    limit greatest(list_runs.max_runs, 0)
  ) r
  where list_runs.flow_slug is null or f.flow_slug = list_runs.flow_slug
  order by r.started_at desc, r.run_id desc
  limit greatest(list_runs.max_runs, 0);
end
$fn$;

-- lost_tasks: which of these claims are not current any more, and why: run_ended, or lease_lost (recovered, requeued, skipped,
-- retried). A worker asks with each heartbeat and cancels the handlers of those.
-- Locks: none.  Cost: one look-up by key per claim.  Raises: PF400 arrays of different length.
create function pgflow.lost_tasks(run_ids uuid[], step_slugs text[], task_indexes int[], fences bigint[])
returns setof pgflow.task_refusal
language plpgsql stable
set search_path = ''
as $fn$
begin
  perform pgflow._check_batch('lost_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences)]);
  return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['started']);
end
$fn$;

-- mark_worker_stopped: the worker has ended; what it still holds may be recovered at once.
-- Locks: the worker's row.  Writes: workers.  Idempotent: yes, the first time counts.  Raises: nothing.
create function pgflow.mark_worker_stopped(worker_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  update pgflow.workers w set stopped_at = pgflow._now()
  where w.worker_id = mark_worker_stopped.worker_id and w.stopped_at is null;
end
$fn$;

-- maybe_complete_run: complete an open run of which no step remains. The engine does so by itself; this is for states
-- written by hand.
-- Locks: the run.  Writes: runs; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow.maybe_complete_run(run_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  update pgflow.runs r set
    status = 'completed', completed_at = greatest(pgflow._now(), r.started_at), deadline_at = null,
    output = pgflow._run_output(r.run_id, r.flow_slug, r.flow_version)
  where r.run_id = maybe_complete_run.run_id and r.status = 'started' and r.remaining_steps = 0;
  if found then
    perform pg_notify('pgflow_runs', r.run_id::text)
    from pgflow.runs r where r.run_id = maybe_complete_run.run_id and r.watched;
  end if;
end
$fn$;

-- open_runs: how many runs of each version of these flows (null: of all) are open; versions without any are left out.
-- Locks: none.  Cost: reads the runs of these flows.  Raises: nothing.
create function pgflow.open_runs(flow_slugs text[] default null)
returns table (flow_slug text, flow_version int, runs bigint)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
begin
  return query
  select r.flow_slug, r.flow_version, count(*)
  from pgflow.runs r
  where r.status = 'started' and (open_runs.flow_slugs is null or r.flow_slug = any (open_runs.flow_slugs))
  group by r.flow_slug, r.flow_version
  order by r.flow_slug, r.flow_version;
end
$fn$;

-- promote_due_tasks: the timers: at most max_tasks delayed tasks that are due (backoff, start delay, a reservation that
-- was not used) become ready, with fresh message ids, and the workers that sleep are woken. Claims promote what they are
-- about to take anyhow; this is for lanes that nobody looks at. Returns how many.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED; it waits for nobody.  Writes: step_tasks; NOTIFY.  Idempotent: yes.
-- Cost: a probe of step_tasks_delayed_idx per lane, and O(max_tasks).  Raises: nothing.
create function pgflow.promote_due_tasks(max_tasks int default 1000) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_lane_id int;
  v_left int := greatest(max_tasks, 0);
  v_got int;
  v_promoted int := 0;
  v_lanes int[];
begin
  -- a loop, because each lane is a range of its own in the index; in no order, so that one lane with more due tasks than
  -- fit does not hold up the others for ever
  for v_lane_id in select l.lane_id from pgflow.lanes l order by random() loop
    exit when v_left <= 0;
    v_got := pgflow._promote_due_tasks(v_lane_id, v_now, v_left);
    if v_got > 0 then
      v_left := v_left - v_got;
      v_promoted := v_promoted + v_got;
      v_lanes := v_lanes || v_lane_id;
    end if;
  end loop;
  perform pgflow._notify_ready(v_lanes);
  return v_promoted;
end
$fn$;

-- prune_data_older_than: delete runs that ended longer ago than retention_interval, with all of their rows, oldest
-- starts of a flow first, at most max_runs a call; and workers that stopped, or let their lease run out, that long ago
-- and hold no task. Never an open run. Returns the number of runs; call again while it returns max_runs.
-- Locks: workers, then runs, FOR UPDATE SKIP LOCKED: a run that retry_run takes up at this moment is left alone, and a
-- retry that comes later finds no run. Writes: workers, runs, step_states, step_tasks, task_attempts.  Idempotent: yes.
-- Cost: linear in the rows deleted, plus the runs of runs_by_flow_idx that are older but still needed.
-- Raises: PF400 an interval that is null or negative.
create function pgflow.prune_data_older_than(retention_interval interval, max_runs int default 1000) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_before timestamptz := pgflow._now() - retention_interval;
  v_most int := greatest(max_runs, 0);
  v_run_ids uuid[];
begin
  if retention_interval is null or retention_interval < interval '0' then
    perform pgflow._refuse('PF400',
      format('prune_data_older_than: retention_interval must be 0 or more, not %s', coalesce(retention_interval::text, 'null')),
      'Give how long ended runs are kept, such as interval ''30 days''.');
  end if;

  delete from pgflow.workers w
  using (
    select x.worker_id from pgflow.workers x
    where (x.stopped_at < v_before or x.last_heartbeat_at + x.lease_seconds * interval '1 second' < v_before)
      and not pgflow._holds_tasks(x.worker_id)
    limit v_most
    for update of x skip locked
  ) gone
  where w.worker_id = gone.worker_id;

  select array_agg(ended.run_id) into v_run_ids
  from (
    select o.run_id
    from pgflow.flows f
    cross join lateral (
      select r.run_id
      from pgflow.runs r
      where r.flow_slug = f.flow_slug and r.started_at < v_before and r.status <> 'started'
        and coalesce(r.completed_at, r.failed_at, r.cancelled_at, r.started_at) < v_before
      order by r.started_at
      for update skip locked
    ) o
    limit v_most
  ) ended;
  if v_run_ids is null then
    return 0;
  end if;

  delete from pgflow.task_attempts a where a.run_id = any (v_run_ids);
  delete from pgflow.step_tasks t where t.run_id = any (v_run_ids);
  delete from pgflow.step_states st where st.run_id = any (v_run_ids);
  delete from pgflow.runs r where r.run_id = any (v_run_ids);
  return cardinality(v_run_ids);
end
$fn$;

-- read_with_poll: phase one of a foreign worker: reserve up to qty ready tasks of a queue for vt seconds, highest
-- priority first, oldest first within a lane; start_tasks is phase two. Nobody else is given them until vt has passed; a
-- reader that dies costs that wait and no attempt, and the task comes back under a fresh message id. vt 0 only looks.
-- With nothing ready it looks again every poll_interval_ms until max_poll_seconds are over; 0: one look.
-- Each look is a statement with a snapshot of its own, so it must run in READ COMMITTED. While it polls it holds no locks,
-- but the caller's snapshot stays open: a minute is already a long poll.
-- Locks, writes: as _reserve_tasks.  Idempotent: no; an answer that got lost is read again when vt has passed.
-- Raises: PF400 a bound out of its range.
create function pgflow.read_with_poll(
  queue_name text,
  vt int,
  qty int,
  max_poll_seconds int default 5,
  poll_interval_ms int default 100
) returns setof pgflow.message_record
language plpgsql volatile
set search_path = ''
as $fn$
declare
  -- the wall clock, even where a test froze the core's
  v_until timestamptz := clock_timestamp() + coalesce(max_poll_seconds, 0) * interval '1 second';
  v_left float8;
begin
  if vt is null or vt < 0 then
    perform pgflow._refuse('PF400', format('read_with_poll: vt must be 0 or more seconds, not %s', coalesce(vt::text, 'null')),
      'Give how long the messages are reserved; 0 only looks.');
  elsif qty is null or qty < 0 then
    perform pgflow._refuse('PF400', format('read_with_poll: qty must be 0 or more, not %s', coalesce(qty::text, 'null')),
      'Give how many messages to read at most.');
  elsif qty = 0 then
    return;
  end if;
  loop
    return query select * from pgflow._reserve_tasks(read_with_poll.queue_name, read_with_poll.vt, read_with_poll.qty);
    if found then
      return;
    end if;
    v_left := extract(epoch from v_until - clock_timestamp());
    exit when v_left <= 0;
    perform pg_sleep(least(greatest(coalesce(poll_interval_ms, 100), 1) / 1000.0, v_left));
  end loop;
  -- only now, because a lane locked while polling would be locked for seconds: the next start sends a NOTIFY
  update pgflow.lanes l set waiting = true
  from (
    select x.lane_id from pgflow.lanes x
    where x.queue_name = read_with_poll.queue_name and not x.waiting
    for update skip locked
  ) q
  where l.lane_id = q.lane_id;
end
$fn$;

-- recover_tasks: take back up to max_tasks tasks from workers whose lease ran out, or who stopped without giving them
-- back; returns how many. Ready at once, no attempt used; the third worker lost under the same task fails it for good
-- (a poison task), and its step's when_exhausted decides. Any worker may call it at any time; calls do not wait for each other.
-- It also moves tasks that came into a lane while a change of options abandoned it.
-- Locks: workers FOR UPDATE SKIP LOCKED, then runs FOR NO KEY UPDATE by run_id as _lock_free_runs; step_states, step_tasks
-- under them; abandoned tasks SKIP LOCKED.
-- Writes: runs, step_states, step_tasks, task_attempts, lanes; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow.recover_tasks(max_tasks int default 1000) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_max_losses constant int := 3;
  v_workers uuid[];
  v_candidates record;
  v_recovered int;
begin
  select array_agg(lost.worker_id) into v_workers from (
    select w.worker_id from pgflow.workers w
    where (w.stopped_at is not null or w.last_heartbeat_at + w.lease_seconds * interval '1 second' < v_now)
      -- not a join, which may read what all workers have held since the oldest snapshot
      and pgflow._holds_tasks(w.worker_id)
    order by w.worker_id
    limit 100
    for update of w skip locked
  ) lost;
  if v_workers is null then
    perform pgflow._move_abandoned_tasks();
    return 0;
  end if;

  select array_agg(h.run_id) as run_ids, array_agg(h.step_slug) as step_slugs,
    array_agg(h.task_index) as task_indexes, array_agg(h.fence) as fences
  into v_candidates
  from (
    select t.run_id, t.step_slug, t.task_index, t.fence
    from pgflow.step_tasks t
    where t.last_worker_id = any (v_workers) and t.status = 'started'
    limit greatest(recover_tasks.max_tasks, 0)
  ) h;
  v_recovered := pgflow._take_back(
    v_candidates.run_ids, v_candidates.step_slugs, v_candidates.task_indexes, v_candidates.fences, v_max_losses - 1,
    'lost with its worker', 'LeaseLost', 'worker %s stopped or let its lease run out', v_now);
  -- last: it locks lanes and tasks, and whoever does must not wait for a run any more
  perform pgflow._move_abandoned_tasks();
  return v_recovered;
end
$fn$;

-- register_worker: announce a worker that serves these flows, each in the versions whose shape has this fingerprint.
-- queues: only tasks of these queues; null: all. Its leases hold for lease_seconds after each heartbeat.
-- Returns the number of lanes it serves now.
-- Locks: the worker's row.  Writes: workers.  Idempotent: yes, for a worker that has not stopped.
-- Raises: PF400 arrays or lease that do not fit, PF412 the worker stopped, PF414 a flow or shape is not compiled.
create function pgflow.register_worker(
  worker_id uuid,
  flow_slugs text[],
  fingerprints text[],
  queues text[] default null,
  function_name text default '',
  lease_seconds int default 30
) returns int
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_missing text;
begin
  if register_worker.worker_id is null then
    perform pgflow._refuse('PF400', 'register_worker: worker_id is null', 'Make one up: gen_random_uuid().');
  end if;
  perform pgflow._check_batch('register_worker', array[
    cardinality(register_worker.flow_slugs), cardinality(register_worker.fingerprints)]);
  if register_worker.lease_seconds is null or register_worker.lease_seconds < 1 then
    perform pgflow._refuse('PF400',
      format('register_worker: lease_seconds must be at least 1, not %s', coalesce(register_worker.lease_seconds::text, 'null')),
      'Give a few times the interval of the heartbeats; 30 is usual.');
  end if;

  select string_agg(
    case when exists (select from pgflow.flows f where f.flow_slug = g.flow_slug)
      then format('flow %L is in the database, but in another shape than in this program', g.flow_slug)
      else format('flow %L is not in the database', g.flow_slug) end,
    '; ' order by g.i)
  into v_missing
  from unnest(register_worker.flow_slugs, register_worker.fingerprints) with ordinality g(flow_slug, fingerprint, i)
  where not exists (
    select from pgflow.flow_versions fv where fv.flow_slug = g.flow_slug and fv.fingerprint = g.fingerprint);
  if v_missing is not null then
    perform pgflow._refuse('PF414', v_missing, 'Run: pgflow compile, then alembic upgrade head.');
  end if;

  insert into pgflow.workers as w (
    worker_id, queue_name, function_name, started_at, last_heartbeat_at, lease_seconds, flow_slugs, fingerprints, queues
  ) values (
    register_worker.worker_id, coalesce(array_to_string(register_worker.queues, ','), ''),
    coalesce(register_worker.function_name, ''), pgflow._now(), pgflow._now(), register_worker.lease_seconds,
    register_worker.flow_slugs, register_worker.fingerprints, register_worker.queues
  )
  on conflict (worker_id) do update set
    last_heartbeat_at = excluded.last_heartbeat_at, lease_seconds = excluded.lease_seconds,
    flow_slugs = excluded.flow_slugs, fingerprints = excluded.fingerprints, queues = excluded.queues
  where w.stopped_at is null;
  if not found then
    perform pgflow._refuse('PF412', format('worker %s has stopped', register_worker.worker_id),
      'Register under a new worker_id.');
  end if;
  perform pgflow.heartbeat_worker(register_worker.worker_id);
  return (select cardinality(w.lane_ids) from pgflow.workers w where w.worker_id = register_worker.worker_id);
end
$fn$;

-- release_strays: give back what the worker holds under other fences than these: claims whose reply never reached it.
-- Returns how many.
-- Locks, writes: as release_tasks.  Idempotent: yes.  Raises: nothing.
create function pgflow.release_strays(worker_id uuid, fences bigint[]) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_strays record;
begin
  select coalesce(array_agg(t.run_id), '{}') as run_ids, array_agg(t.step_slug) as step_slugs,
    array_agg(t.task_index) as task_indexes, array_agg(t.fence) as fences
  into v_strays
  from pgflow.step_tasks t
  where t.last_worker_id = release_strays.worker_id and t.status = 'started' and t.fence <> all (release_strays.fences);
  if v_strays.run_ids = '{}' then
    return 0;
  end if;
  return cardinality(v_strays.run_ids) - (
    select count(*) from pgflow.release_tasks(
      v_strays.run_ids, v_strays.step_slugs, v_strays.task_indexes, v_strays.fences));
end
$fn$;

-- release_tasks: give claimed tasks back unfinished (a worker that stops): ready at once, no attempt used.
-- Locks: runs FOR NO KEY UPDATE by run_id; step_tasks under them.  Writes: step_tasks; NOTIFY.
-- Idempotent: yes; a second call is refused as lease_lost and changes nothing.  Raises: PF400.
create function pgflow.release_tasks(run_ids uuid[], step_slugs text[], task_indexes int[], fences bigint[])
returns setof pgflow.task_refusal
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_lanes int[];
begin
  perform pgflow._check_batch('release_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences)]);
  perform pgflow._lock_runs(release_tasks.run_ids);

  -- refusals first: a released task does not keep its fence
  return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['started']);

  with released as (
    update pgflow.step_tasks t set
      status = 'queued', started_at = null, fence = 0, attempts_count = greatest(t.attempts_count - 1, 0),
      lane_id = g.lane_id, message_id = nextval('pgflow.message_ids')
    from pgflow._held(run_ids, step_slugs, task_indexes, fences) g
    where t.ctid = g.tid
    returning t.lane_id
  )
  select array_agg(distinct x.lane_id) into v_lanes from released x;
  perform pgflow._notify_ready(v_lanes);
end
$fn$;

-- requeue_stalled_tasks: tasks that were started longer ago than their step's timeout and 30 seconds more go back to the
-- queue, at most max_tasks in one call; returns how many. No attempt is used. A task comes back three times; when it stalls
-- once more it has failed for good, and its step's when_exhausted decides. Workers of ours end attempts at the timeout, so
-- this is for workers without a lease, and for handlers that nobody can stop.
-- Locks: runs FOR NO KEY UPDATE by run_id as _lock_free_runs; step_states, step_tasks under them.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: yes.
-- Cost: reads the tasks that are started at this moment, through step_tasks_held_idx.  Raises: nothing.
create function pgflow.requeue_stalled_tasks(max_tasks int default 1000) returns int
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_max_requeues constant int := 3;
  v_candidates record;
begin
  select array_agg(h.run_id) as run_ids, array_agg(h.step_slug) as step_slugs,
    array_agg(h.task_index) as task_indexes, array_agg(h.fence) as fences
  into v_candidates
  from (
    select t.run_id, t.step_slug, t.task_index, t.fence
    from (
      select x.run_id, x.step_slug, x.task_index, x.fence, x.started_at
      from pgflow.step_tasks x
      where x.status = 'started'
      offset 0
    ) t
    cross join lateral (
      select x.flow_slug, x.flow_version
      from pgflow.step_states x
      where x.run_id = t.run_id and x.step_slug = t.step_slug
      offset 0
    ) st
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = t.step_slug
    join pgflow.flows f on f.flow_slug = st.flow_slug
    where t.started_at < v_now - (coalesce(s.opt_timeout, f.opt_timeout) + 30) * interval '1 second'
    limit greatest(requeue_stalled_tasks.max_tasks, 0)
  ) h;
  if v_candidates.run_ids is null then
    return 0;
  end if;
  return pgflow._take_back(
    v_candidates.run_ids, v_candidates.step_slugs, v_candidates.task_indexes, v_candidates.fences, v_max_requeues,
    'stalled', 'Stalled', 'worker %s had not ended it 30 seconds after its timeout', v_now);
end
$fn$;

-- restore_flow: let a retired flow start runs again.
-- Locks: the flow's row.  Writes: flows.  Idempotent: yes.  Raises: PF404 unknown flow.
create function pgflow.restore_flow(flow_slug text) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_flow pgflow.flows;
begin
  update pgflow.flows f set retired_at = null
  where f.flow_slug = restore_flow.flow_slug
  returning f.* into v_flow;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', restore_flow.flow_slug),
      'Its name is that of the flow in the code; list_flows() shows all.');
  end if;
  return v_flow;
end
$fn$;

-- retire_flow: start no new runs of a flow, in any version; open runs go on, and may be retried. Starts under way may still commit.
-- Locks: the flow's row.  Writes: flows.  Idempotent: yes.  Raises: PF404 unknown flow.
create function pgflow.retire_flow(flow_slug text) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_flow pgflow.flows;
begin
  update pgflow.flows f set retired_at = coalesce(f.retired_at, pgflow._now())
  where f.flow_slug = retire_flow.flow_slug
  returning f.* into v_flow;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', retire_flow.flow_slug),
      'Its name is that of the flow in the code; list_flows() shows all.');
  end if;
  return v_flow;
end
$fn$;

-- retry_run: take an ended run up again, in place; returns its row. What has completed or been skipped stays; failed and
-- cancelled steps go on, with all their attempts anew. from_step: that step and all that depends on it run again from
-- nothing, also in a run that completed; what a skip still cascades to is skipped again. The deadline, if any, begins anew. Recorded attempts stay.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.
-- Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.  Idempotent: no; the second of two calls is refused.
-- Raises: PF405 unknown run, PF407 it has no such step, PF415 it is open, or has completed and no step is named.
create function pgflow.retry_run(run_id uuid, from_step text default null) returns setof pgflow.runs
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
#variable_conflict use_column
declare
  v_now timestamptz := pgflow._now();
  v_run pgflow.runs;
  v_again text[];
  v_lanes int[];
  v_skipped record;
begin
  select r.* into v_run from pgflow.runs r where r.run_id = retry_run.run_id for no key update;
  if not found then
    perform pgflow._refuse_unknown_run(retry_run.run_id);
  elsif v_run.status = 'started' then
    perform pgflow._refuse('PF415', format('run %s is still open', v_run.run_id),
      'Wait for its end, or cancel it first.');
  elsif v_run.status = 'completed' and retry_run.from_step is null then
    perform pgflow._refuse('PF415', format('run %s has completed', v_run.run_id),
      'Name the step to run again from: pgflow retry RUN --from STEP.');
  end if;
  if retry_run.from_step is not null then
    perform pgflow.step_output(v_run.run_id, retry_run.from_step);  -- refuses a step that the run does not have
    with recursive downstream as (
      select retry_run.from_step as step_slug
      union
      select d.step_slug
      from downstream w
      join pgflow.deps d
        on d.flow_slug = v_run.flow_slug and d.flow_version = v_run.flow_version and d.dep_slug = w.step_slug
    )
    select array_agg(w.step_slug) into v_again from downstream w;
  end if;

  update pgflow.runs r set
    status = 'started', output = null, completed_at = null, failed_at = null, cancelled_at = null, end_reason = null,
    retried_count = r.retried_count + 1,
    deadline_at = (select pgflow._visible_at(v_now, f.opt_deadline) from pgflow.flows f where f.flow_slug = r.flow_slug)
  where r.run_id = v_run.run_id;

  delete from pgflow.step_tasks t where t.run_id = v_run.run_id and t.step_slug = any (v_again);

  -- tasks that have not completed are tried again
  with requeued as (
    update pgflow.step_tasks t set
      status = 'queued', attempts_count = 0, requeued_count = 0, fence = 0, output = null, error_message = null,
      queued_at = v_now, started_at = null, failed_at = null, skipped_at = null, cancelled_at = null,
      permanently_stalled_at = null, visible_at = null, lane_id = s.lane_id, message_id = nextval('pgflow.message_ids')
    from pgflow.step_states st, pgflow.steps s
    where st.run_id = v_run.run_id and st.status in ('failed', 'cancelled')
      and s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
      and t.run_id = st.run_id and t.step_slug = st.step_slug and t.status <> 'completed'
    returning t.lane_id
  )
  select array_agg(distinct q.lane_id) into v_lanes from requeued q;

  update pgflow.step_states st set
    status = case when n.open > 0 then 'started' else 'created' end,
    remaining_tasks = nullif(n.open, 0)::int,
    started_at = case when n.open > 0 then st.started_at end,
    output = null, error_message = null, skip_reason = null,
    completed_at = null, failed_at = null, skipped_at = null, cancelled_at = null
  from (
    select o.step_slug, count(t.run_id) as open
    from pgflow.step_states o
    left join pgflow.step_tasks t
      on t.run_id = o.run_id and t.step_slug = o.step_slug and t.status = 'queued'
    where o.run_id = v_run.run_id and (o.status in ('failed', 'cancelled') or o.step_slug = any (v_again))
    group by o.step_slug
  ) n
  where st.run_id = v_run.run_id and st.step_slug = n.step_slug;

  -- counted anew from what is done
  update pgflow.step_states st set
    remaining_deps = n.open,
    initial_tasks = case
      when s.step_type = 'single' then 1
      when s.map_over = 'run' then jsonb_array_length(v_run.input)
      else n.size end,
    input_size = n.bytes + case when s.uses_run_input then pgflow._json_size(v_run.input) else 0 end
  from pgflow.steps s
  cross join lateral (
    select
      count(*) filter (where o.status not in ('completed', 'skipped'))::int as open,
      max(case when o.step_slug = s.map_over and o.status in ('completed', 'skipped')
        then coalesce(jsonb_array_length(o.output), 0) end) as size,
      coalesce(sum(pgflow._json_size(o.output)) filter (where o.step_slug is distinct from s.map_over), 0)::bigint as bytes
    from pgflow.deps d
    join pgflow.step_states o on o.run_id = v_run.run_id and o.step_slug = d.dep_slug
    where d.flow_slug = s.flow_slug and d.flow_version = s.flow_version and d.step_slug = s.step_slug
  ) n
  where st.run_id = v_run.run_id and st.status = 'created'
    and s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug;

  update pgflow.runs r set remaining_steps = (
    select count(*) from pgflow.step_states st where st.run_id = r.run_id and st.status not in ('completed', 'skipped'))
  where r.run_id = v_run.run_id;

  perform pgflow._notify_ready(v_lanes);
  -- steps that were reset although a dependency that stays skipped takes its dependents with it
  select s.run_ids, s.step_slugs into v_skipped
  from (
    select array_agg(distinct st.step_slug) as slugs
    from pgflow.step_states st
    join pgflow.deps d on d.flow_slug = st.flow_slug and d.flow_version = st.flow_version and d.step_slug = st.step_slug
    join pgflow.step_states o on o.run_id = st.run_id and o.step_slug = d.dep_slug and o.status = 'skipped'
    join pgflow.steps os on os.flow_slug = o.flow_slug and os.flow_version = o.flow_version and os.step_slug = o.step_slug
    where st.run_id = v_run.run_id and st.status = 'created' and case o.skip_reason
      when 'condition_unmet' then os.when_unmet = 'skip-cascade'
      when 'handler_failed' then os.when_exhausted = 'skip-cascade'
      else true end
  ) b
  cross join lateral pgflow._skip_steps(
    array_fill(v_run.run_id, array[cardinality(b.slugs)]), b.slugs, 'dependency_skipped', null,
    array_fill(true, array[cardinality(b.slugs)]), v_now) s
  where b.slugs is not null;

  perform pgflow._settle_steps(
    v_skipped.run_ids, v_skipped.step_slugs, v_now, array_agg(st.run_id), array_agg(st.step_slug))
  from pgflow.step_states st
  where st.run_id = v_run.run_id and st.status = 'created' and st.remaining_deps = 0;
  return query select r.* from pgflow.runs r where r.run_id = v_run.run_id;
end
$fn$;

-- run_outcome: where a run stands, its output when completed, the attempt that failed it when failed; and why, when it was
-- cancelled or failed as a whole (error_class DeadlineExceeded).
-- Locks: none.  Raises: PF405 unknown run.
create function pgflow.run_outcome(run_id uuid) returns table (
  status text,
  flow_slug text,
  output jsonb,
  failed_step text,
  task_index int,
  attempt int,
  error_class text,
  error_message text,
  traceback text
)
language plpgsql stable
set search_path = ''
as $fn$
#variable_conflict use_column
begin
  return query
  select r.status, r.flow_slug, r.output, a.step_slug, a.task_index, a.attempt,
    case when r.status = 'failed' and r.end_reason is not null then 'DeadlineExceeded' else a.error_class end,
    coalesce(r.end_reason, a.error_message), a.traceback
  from pgflow.runs r
  left join lateral (
    -- a failed step's last recorded attempt, of its failed task where it has one
    select x.step_slug, x.task_index, x.attempt, x.error_class, x.error_message, x.traceback
    from pgflow.step_states st
    join pgflow.task_attempts x on x.run_id = st.run_id and x.step_slug = st.step_slug
    left join pgflow.step_tasks t
      on t.run_id = x.run_id and t.step_slug = x.step_slug and t.task_index = x.task_index
    where st.run_id = r.run_id and st.status = 'failed' and (t.status = 'failed' or t.status is null)
    order by st.failed_at, x.step_slug, x.task_index, x.attempt_id desc limit 1
  ) a on r.status = 'failed' and r.end_reason is null
  where r.run_id = run_outcome.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(run_outcome.run_id);
  end if;
end
$fn$;

-- run_sweep: do one of the sweeps unless somebody else does the same one at this moment: any worker may call it at any
-- time, and none of them has to be the leader. Returns how many rows it took care of, null when another is at it.
-- recover: tasks of lost workers; stalled: tasks started too long ago; deadlines: overdue runs; timers: delayed tasks that
-- are due; prune: what ended longer ago than retention.
-- Locks: an advisory lock per sweep, tried, until the transaction ends; then as the sweep's own function.
-- Writes: as those functions.  Idempotent: yes.  Raises: PF400 unknown sweep, prune without retention.
create function pgflow.run_sweep(sweep text, max_rows int default 1000, retention interval default null) returns int
language plpgsql volatile
set search_path = ''
as $fn$
begin
  if sweep is null or sweep not in ('recover', 'stalled', 'deadlines', 'timers', 'prune') then
    perform pgflow._refuse('PF400', format('there is no sweep %s', coalesce(quote_literal(sweep), 'null')),
      'The sweeps are recover, stalled, deadlines, timers and prune.');
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('pgflow.run_sweep ' || sweep, 0)) then
    return null;
  end if;
  case sweep
    when 'recover' then return pgflow.recover_tasks(max_rows);
    when 'stalled' then return pgflow.requeue_stalled_tasks(max_rows);
    when 'deadlines' then return pgflow.enforce_deadlines(max_rows);
    when 'timers' then return pgflow.promote_due_tasks(max_rows);
    when 'prune' then return pgflow.prune_data_older_than(retention, max_rows);
  end case;
end
$fn$;

-- set_flow_options: replace a flow's options (null: the default); tasks that wait move to the new queue and priority.
-- A new deadline holds for runs that start from now on.
-- Locks: the flow's row, then step_tasks SKIP LOCKED.  Writes: flows, steps, lanes, step_tasks.  Idempotent: yes.
-- Raises: PF400 bad option, PF404 unknown flow.
create function pgflow.set_flow_options(
  flow_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  max_delay int default null,
  queue text default null,
  priority int default null,
  deadline int default null
) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_flow pgflow.flows;
begin
  perform pgflow._check_options(
    format('flow %L', set_flow_options.flow_slug), set_flow_options.max_attempts, set_flow_options.base_delay,
    set_flow_options.timeout, null, set_flow_options.max_delay, set_flow_options.queue,
    set_flow_options.deadline);
  update pgflow.flows f set
    opt_max_attempts = coalesce(set_flow_options.max_attempts, 3),
    opt_base_delay = coalesce(set_flow_options.base_delay, 5),
    opt_timeout = coalesce(set_flow_options.timeout, 60),
    opt_max_delay = coalesce(set_flow_options.max_delay, 3600),
    opt_queue = set_flow_options.queue,
    opt_priority = coalesce(set_flow_options.priority, 0),
    opt_deadline = set_flow_options.deadline
  where f.flow_slug = set_flow_options.flow_slug
  returning f.* into v_flow;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', set_flow_options.flow_slug),
      'Call create_flow first.');
  end if;
  -- the trigger on these columns finds the lane again
  update pgflow.steps s set opt_queue = s.opt_queue where s.flow_slug = set_flow_options.flow_slug;
  perform pgflow._move_queued_tasks(set_flow_options.flow_slug);
  return v_flow;
end
$fn$;

-- set_step_options: replace a step's options (null: the flow's); tasks that wait move to the new queue and priority.
-- Locks: the flow's row, then the step's, then step_tasks SKIP LOCKED.  Writes: steps, lanes, step_tasks.  Idempotent: yes.
-- Raises: PF400 bad option, PF407 unknown step.
create function pgflow.set_step_options(
  flow_slug text,
  version int,
  step_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  start_delay int default null,
  max_delay int default null,
  retry_on text[] default null,
  queue text default null,
  priority int default null
) returns pgflow.steps
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_name text := format('step %L of flow %L', set_step_options.step_slug, set_step_options.flow_slug);
  v_step pgflow.steps;
begin
  perform pgflow._check_options(
    v_name, set_step_options.max_attempts, set_step_options.base_delay, set_step_options.timeout,
    set_step_options.start_delay, set_step_options.max_delay, set_step_options.queue);
  -- as whoever changes a flow: a change of the flow's options at the same time may make the same lane
  perform 1 from pgflow.flows f where f.flow_slug = set_step_options.flow_slug for no key update;
  update pgflow.steps s set
    opt_max_attempts = set_step_options.max_attempts,
    opt_base_delay = set_step_options.base_delay,
    opt_timeout = set_step_options.timeout,
    opt_start_delay = set_step_options.start_delay,
    opt_max_delay = set_step_options.max_delay,
    opt_retry_on = set_step_options.retry_on,
    opt_queue = set_step_options.queue,
    opt_priority = set_step_options.priority
  where s.flow_slug = set_step_options.flow_slug and s.flow_version = set_step_options.version
    and s.step_slug = set_step_options.step_slug
  returning s.* into v_step;
  if not found then
    perform pgflow._refuse('PF407', format('%s does not exist in version %s', v_name, set_step_options.version),
      'Call add_step first, or look the version up with: pgflow flows.');
  end if;
  perform pgflow._move_queued_tasks(set_step_options.flow_slug);
  return v_step;
end
$fn$;

-- set_vt_batch: move when queued tasks of a queue become visible: message i at vt_offsets[i] seconds from now; 0 or less:
-- at once, with a fresh message id (a task that is ready already keeps its place). Returns the messages that moved, as
-- read_with_poll does; unknown, started and ended ones are left alone, and so is one that is being read or started at
-- this moment. Of a message named twice the last offset counts.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED; it waits for nobody.  Writes: step_tasks; NOTIFY.  Idempotent: yes.
-- Cost: linear in the messages.  Raises: PF400 arrays of different length, an offset that is null.
create function pgflow.set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets int[])
returns setof pgflow.message_record
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_sort = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
begin
  perform pgflow._check_batch('set_vt_batch', array[cardinality(msg_ids), cardinality(vt_offsets)]);
  if array_position(vt_offsets, null) is not null then
    perform pgflow._refuse('PF400', 'set_vt_batch got an offset that is null',
      'Give seconds from now; 0 makes a message visible at once.');
  end if;
  return query
  with given as (
    select distinct on (g.message_id) g.message_id, g.vt_offset
    from unnest(set_vt_batch.msg_ids, set_vt_batch.vt_offsets) with ordinality g(message_id, vt_offset, i)
    order by g.message_id, g.i desc
  ),
  -- offset 0 keeps each look-up one of its own: joined by lane first, it would read the lane whole
  found as (
    -- ready ones, through step_tasks_ready_idx
    select t.tid, g.vt_offset
    from pgflow.lanes l
    cross join given g
    cross join lateral (
      select x.ctid as tid
      from pgflow.step_tasks x
      where x.lane_id = l.lane_id and x.message_id = g.message_id and x.status = 'queued' and x.visible_at is null
      offset 0
    ) t
    where l.queue_name = set_vt_batch.queue_name
    union all
    -- reserved and delayed ones, through step_tasks_delayed_message_idx
    select t.tid, g.vt_offset
    from given g
    cross join lateral (
      -- a range in the index's order, and no sorts: with an equality the index on visible_at, read whole, would do as well
      select x.ctid as tid, x.lane_id
      from pgflow.step_tasks x
      where x.message_id >= g.message_id and x.message_id <= g.message_id and x.status = 'queued'
        and x.visible_at is not null
      order by x.message_id
      offset 0
    ) t
    join pgflow.lanes l on l.lane_id = t.lane_id
    where l.queue_name = set_vt_batch.queue_name
  ),
  picked as (
    select t.ctid as tid, f.vt_offset
    from found f
    join pgflow.step_tasks t on t.ctid = f.tid
    where t.status = 'queued'
    -- the row lock also gives this transaction its id before it draws message ids: the claim floor relies on that
    for update of t skip locked
  ),
  moved as (
    update pgflow.step_tasks t set
      visible_at = case when p.vt_offset > 0 then v_now + p.vt_offset * interval '1 second' end,
      message_id = case
        when p.vt_offset <= 0 and t.visible_at is not null then nextval('pgflow.message_ids') else t.message_id end
    from picked p where t.ctid = p.tid
    returning t.*
  )
  select m.message_id, m.read_count, m.queued_at, coalesce(m.visible_at, v_now), jsonb_build_object(
    'flow_slug', m.flow_slug, 'run_id', m.run_id, 'step_slug', m.step_slug, 'task_index', m.task_index)
  from moved m
  order by m.message_id;
  if 0 >= any (vt_offsets) then
    perform pgflow._notify_ready(array(
      select l.lane_id from pgflow.lanes l where l.queue_name = set_vt_batch.queue_name));
  end if;
end
$fn$;

-- start_flow: start one run; returns its row. With a run_id that exists with the same flow and input: that run's row.
-- Locks, writes, raises: as start_flows, which it wraps.  Idempotent: with run_id.
create function pgflow.start_flow(flow_slug text, input jsonb, run_id uuid default null) returns setof pgflow.runs
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_run_id uuid;
begin
  select s into v_run_id
  from pgflow.start_flows(
    start_flow.flow_slug, array[start_flow.input],
    case when start_flow.run_id is not null then array[start_flow.run_id] end) s;
  return query select r.* from pgflow.runs r where r.run_id = v_run_id;
end
$fn$;

-- start_flow_with_states: start_flow, and the run with its steps as get_run_with_states returns them.
-- Locks, writes, raises: as start_flow.  Idempotent: with run_id.
create function pgflow.start_flow_with_states(flow_slug text, input jsonb, run_id uuid default null) returns jsonb
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_run_id uuid;
begin
  select r.run_id into v_run_id
  from pgflow.start_flow(
    start_flow_with_states.flow_slug, start_flow_with_states.input, start_flow_with_states.run_id) r;
  return pgflow.get_run_with_states(v_run_id);
end
$fn$;

-- start_flows: start one run of the flow's current version per input, all or none; returns the run ids in input order.
-- run_ids: ids given by the caller, so that a call made twice starts once: an id that exists with the same flow and
-- input is returned as it is.
-- fingerprint: the shape the caller knows; refused when it is neither the current version's nor one whose callers that accepts.
-- Locks: runs (insert).  Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: with run_ids.
-- Cost: O(runs * steps + root map elements), one statement per table.
-- Raises: PF400 arrays that do not fit, PF404 unknown flow, PF410 a run id is taken, PF414 another shape, PF416 retired, PF422 an input that is null, or no
-- array where a map runs over it.
create function pgflow.start_flows(flow_slug text, inputs jsonb[], run_ids uuid[] default null, fingerprint text default null)
returns setof uuid
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $fn$
#variable_conflict use_column
declare
  v_now timestamptz := pgflow._now();
  v_version int;
  v_made_at timestamptz[];
  v_steps int;
  v_sized_by_input bool;
  v_has_root_map bool;
  v_judged_roots text[];
  v_deadline int;
  v_is_retired bool;
  v_is_new bool;
  v_given uuid[] := start_flows.run_ids;
  v_inputs jsonb[] := start_flows.inputs;
  v_new uuid[];
  v_empty_run_ids uuid[];
  v_empty_slugs text[];
begin
  select f.current_version, array[f.created_at, fv.created_at], count(s.step_slug), coalesce(bool_or(s.map_over = 'run'), false),
    coalesce(bool_or(s.step_type = 'map' and s.deps_count = 0 and not s.is_conditional), false),
    array_agg(s.step_slug) filter (where s.deps_count = 0 and s.is_conditional), f.opt_deadline,
    f.retired_at is not null
  into v_version, v_made_at, v_steps, v_sized_by_input, v_has_root_map, v_judged_roots, v_deadline, v_is_retired
  from pgflow.flows f
  left join pgflow.flow_versions fv on fv.flow_slug = f.flow_slug and fv.flow_version = f.current_version
  left join pgflow.steps s on s.flow_slug = f.flow_slug and s.flow_version = f.current_version
  where f.flow_slug = start_flows.flow_slug
  group by f.flow_slug, f.current_version, f.opt_deadline, f.retired_at, fv.created_at;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', start_flows.flow_slug),
      'Compile it and apply the migration: pgflow compile, then alembic upgrade head.');
  end if;
  -- A start that comes again is answered as before, whatever has become of the flow since.
  v_is_new := start_flows.run_ids is null or exists (
    select from unnest(start_flows.run_ids) g(run_id)
    where not exists (select from pgflow.runs r where r.run_id = g.run_id));
  if v_is_retired and v_is_new then
    perform pgflow._refuse('PF416', format('flow %L is retired and starts no new runs', start_flows.flow_slug),
      'Open runs go on. To start it again, bring it back: pgflow compile, then alembic upgrade head.');
  end if;
  if start_flows.fingerprint is not null and v_is_new and not exists (
    select from pgflow.flow_versions c
    join pgflow.flow_versions fv on fv.flow_slug = c.flow_slug
      and fv.flow_version between coalesce(c.accepts_from, c.flow_version) and c.flow_version
    where c.flow_slug = start_flows.flow_slug and c.flow_version = v_version
      and fv.fingerprint = start_flows.fingerprint
  ) then
    perform pgflow._refuse('PF414',
      format('flow %L is in the database, but its current version %s has another shape than in this program',
        start_flows.flow_slug, v_version),
      'Run: pgflow compile, then alembic upgrade head. If the database is ahead, update this program.');
  end if;
  if v_given is null then
    v_given := array(select pgflow._new_run_id() from unnest(start_flows.inputs));
  end if;
  perform pgflow._check_start(start_flows.flow_slug, start_flows.inputs, v_given, v_sized_by_input);

  with new_runs as (
    insert into pgflow.runs (run_id, flow_slug, flow_version, input, remaining_steps, started_at, deadline_at)
    select g.run_id, start_flows.flow_slug, v_version, g.input, v_steps, v_now, pgflow._visible_at(v_now, v_deadline)
    from unnest(v_given, start_flows.inputs) g(run_id, input)
    order by g.run_id  -- two calls with the same ids wait for each other instead of deadlocking
    on conflict (run_id) do nothing
    returning run_id
  )
  select coalesce(array_agg(n.run_id), '{}') into v_new from new_runs n;
  if cardinality(v_new) < cardinality(v_given) then
    perform pgflow._check_same_runs(start_flows.flow_slug, v_given, start_flows.inputs);
    v_inputs := array(
      select o.input from unnest(v_given, v_inputs) with ordinality o(id, input, i) where o.id = any (v_new) order by o.i);
    v_given := array(select o.id from unnest(v_given) with ordinality o(id, i) where o.id = any (v_new) order by o.i);
  end if;

  -- From here on drop_flow_version and delete_flow_and_data wait for us; one may have gone before, while the insert waited
  -- for it, and the flow or version may have been made anew since.
  if not exists (
    select from pgflow.flows f
    left join pgflow.flow_versions fv on fv.flow_slug = f.flow_slug and fv.flow_version = f.current_version
    where f.flow_slug = start_flows.flow_slug and f.current_version = v_version
      and array[f.created_at, fv.created_at] = v_made_at and v_steps = (
      select count(*) from pgflow.steps s where s.flow_slug = f.flow_slug and s.flow_version = v_version)
  ) then
    perform pgflow._refuse('PF404', format('flow %L was changed by a migration at this moment', start_flows.flow_slug),
      'Start it again.');
  end if;

  if v_steps = 0 then
    update pgflow.runs r set status = 'completed', completed_at = v_now, deadline_at = null where r.run_id = any (v_given);
  else
    insert into pgflow.step_states (
      run_id, step_slug, flow_slug, flow_version, status, remaining_deps, initial_tasks, remaining_tasks, created_at,
      started_at, input_size
    )
    select
      g.run_id, s.step_slug, s.flow_slug, s.flow_version,
      case when n.starts then 'started' else 'created' end,
      s.deps_count,
      n.tasks,
      case when n.starts then n.tasks end,
      v_now,
      case when n.starts then v_now end,
      case when s.uses_run_input then pgflow._json_size(g.input) else 0 end
    -- the inputs come from the arguments: no join with runs, which statistics could spoil
    from unnest(v_given, v_inputs) with ordinality g(run_id, input, i)
    cross join pgflow.steps s
    cross join lateral (
      select s.deps_count = 0 and not s.is_conditional as starts,
        case when s.step_type = 'single' then 1 when s.map_over = 'run' then jsonb_array_length(g.input) end as tasks
    ) n
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version
    order by g.i, s.step_index;

    insert into pgflow.step_tasks (run_id, step_slug, task_index, flow_slug, lane_id, queued_at, visible_at)
    select g.run_id, s.step_slug, 0, s.flow_slug, s.lane_id, v_now, pgflow._visible_at(v_now, s.opt_start_delay)
    from unnest(v_given) with ordinality g(run_id, i)
    cross join pgflow.steps s
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0
      and s.step_type = 'single' and not s.is_conditional
    order by g.i, s.step_index;
  end if;

  if v_has_root_map then
    insert into pgflow.step_tasks (run_id, step_slug, task_index, flow_slug, lane_id, queued_at, visible_at, input)
    select g.run_id, s.step_slug, (e.i - 1)::int, s.flow_slug, s.lane_id, v_now,
      pgflow._visible_at(v_now, s.opt_start_delay), e.element
    from unnest(v_given, v_inputs) with ordinality g(run_id, input, i)
    cross join pgflow.steps s
    cross join lateral jsonb_array_elements(g.input) with ordinality e(element, i)
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0
      and s.step_type = 'map' and not s.is_conditional
    order by g.i, s.step_index, e.i;

    -- empty root maps are done already
    with completed as (
      update pgflow.step_states st set status = 'completed', output = '[]', completed_at = v_now
      from unnest(v_given) g(run_id), pgflow.steps s
      where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0
        and s.step_type = 'map' and not s.is_conditional and st.run_id = g.run_id and st.step_slug = s.step_slug and st.initial_tasks = 0
      returning st.run_id, st.step_slug
    )
    select array_agg(c.run_id), array_agg(c.step_slug) into v_empty_run_ids, v_empty_slugs from completed c;
  end if;
  if v_empty_run_ids is not null or v_judged_roots is not null then
    perform pgflow._settle_steps(v_empty_run_ids, v_empty_slugs, v_now, j.run_ids, j.slugs)
    from (
      select array_agg(g.run_id) as run_ids, array_agg(s.slug) as slugs
      from unnest(v_given) g(run_id) cross join unnest(v_judged_roots) s(slug)
    ) j;
  end if;

  perform pgflow._notify_ready(array(
    select s.lane_id from pgflow.steps s
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0));
  return query select unnest(case when start_flows.run_ids is null then v_given else start_flows.run_ids end);
end
$fn$;

-- start_ready_steps: start the steps of an open run that are ready, have tasks, and whose conditions are met.
-- The engine does so by itself in the transaction that makes a step ready; this is for states written by hand.
-- Locks: the run FOR NO KEY UPDATE; step_states, step_tasks under it.  Writes: runs, step_states, step_tasks; NOTIFY.
-- Idempotent: yes.  Raises: nothing.
create function pgflow.start_ready_steps(run_id uuid) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform 1 from pgflow.runs r where r.run_id = start_ready_steps.run_id for no key update;
  perform pgflow._settle_steps(null, null, pgflow._now(), array_agg(v.run_id), array_agg(v.step_slug))
  from pgflow._ready_verdicts(start_ready_steps.run_id) v where v.is_met and v.initial_tasks > 0;
end
$fn$;

-- start_tasks: phase two of a foreign worker: those of these messages of the flow that are still queued, in open runs
-- and started steps, become started by this worker and are returned with their inputs (see step_task_record); the others
-- are left out. A task is returned to one caller, once, and what is returned is what was updated.
-- A message that is left out may be asked for again: a claim that just missed it may keep its row until it commits.
-- Run and step are looked at, not locked: whatever ends a run or a step updates its queued tasks in the same transaction,
-- so of the two that update the task's row, the second sees that the first was there.
-- With a lease (register_worker) the tasks come back like claimed ones; without, by requeue_stalled_tasks.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED; it waits for nobody.  Writes: step_tasks.  Idempotent: no; a second call with
-- the same messages returns nothing.
-- Cost: linear in the messages and in what is returned: a map task carries its element, so no array is taken apart.
-- Raises: PF406 unknown worker, PF412 worker stopped.
create function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid)
returns setof pgflow.step_task_record
language plpgsql volatile
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_sort = off
set jit = off
as $fn$
declare
  v_now timestamptz := pgflow._now();
  v_fence bigint;
begin
  if not pgflow._may_start_tasks(start_tasks.worker_id, v_now) or coalesce(cardinality(start_tasks.msg_ids), 0) = 0 then
    return;
  end if;
  v_fence := nextval('pgflow.fences');
  return query
  -- offset 0 keeps each look-up one of its own, by its whole key, whatever the planner believes of the tables
  with given as (
    select distinct m.message_id from unnest(start_tasks.msg_ids) m(message_id)
  ),
  found as (
    -- ready ones, through step_tasks_ready_idx
    select t.tid
    from given g
    cross join pgflow.lanes l
    cross join lateral (
      select x.ctid as tid
      from pgflow.step_tasks x
      where x.lane_id = l.lane_id and x.message_id = g.message_id and x.status = 'queued' and x.visible_at is null
      offset 0
    ) t
    where l.flow_slug = start_tasks.flow_slug
    union all
    -- reserved ones, through step_tasks_delayed_message_idx
    select t.tid
    from given g
    cross join lateral (
      -- a range in the index's order, and no sorts: with an equality the index on visible_at, read whole, would do as well
      select x.ctid as tid, x.flow_slug
      from pgflow.step_tasks x
      where x.message_id >= g.message_id and x.message_id <= g.message_id and x.status = 'queued'
        and x.visible_at is not null
      order by x.message_id
      offset 0
    ) t
    where t.flow_slug = start_tasks.flow_slug
  ),
  picked as (
    select t.ctid as tid
    from found f
    join pgflow.step_tasks t on t.ctid = f.tid
    cross join lateral (
      select x.status from pgflow.runs x where x.run_id = t.run_id offset 0
    ) r
    cross join lateral (
      select x.status from pgflow.step_states x where x.run_id = t.run_id and x.step_slug = t.step_slug offset 0
    ) st
    where t.status = 'queued' and r.status = 'started' and st.status = 'started'
    for update of t skip locked
  ),
  started as (
    update pgflow.step_tasks t set
      status = 'started', attempts_count = t.attempts_count + 1, fence = v_fence, visible_at = null,
      last_worker_id = start_tasks.worker_id, started_at = greatest(v_now, t.queued_at)
    from picked p where t.ctid = p.tid
    returning t.flow_slug, t.run_id, t.step_slug, t.message_id, t.task_index, t.input
  )
  select
    c.flow_slug, c.run_id, c.step_slug,
    case when s.step_type = 'map' then c.input
    else coalesce((
      select jsonb_object_agg(d.dep_slug, o.output)
      from pgflow.deps d
      cross join lateral (
        select x.output, x.status from pgflow.step_states x
        where x.run_id = c.run_id and x.step_slug = d.dep_slug
        offset 0
      ) o
      where d.flow_slug = c.flow_slug and d.flow_version = r.flow_version and d.step_slug = c.step_slug
        and o.status = 'completed'
    ), '{}') end,
    c.message_id, c.task_index,
    case when s.step_type = 'single' and s.deps_count = 0 then r.input end,
    v_fence
  from started c
  cross join lateral (
    select x.input, x.flow_version from pgflow.runs x where x.run_id = c.run_id offset 0
  ) r
  join pgflow.steps s
    on s.flow_slug = c.flow_slug and s.flow_version = r.flow_version and s.step_slug = c.step_slug
  order by c.message_id;
end
$fn$;

-- step_output: a step's status and output in a run.
-- Locks: none.  Raises: PF405 unknown run, PF407 the run has no such step.
create function pgflow.step_output(run_id uuid, step_slug text, out status text, out output jsonb) returns record
language plpgsql stable
set search_path = ''
as $fn$
begin
  select st.status, st.output into step_output.status, step_output.output
  from pgflow.step_states st where st.run_id = step_output.run_id and st.step_slug = step_output.step_slug;
  if not found then
    if not exists (select from pgflow.runs r where r.run_id = step_output.run_id) then
      perform pgflow._refuse_unknown_run(step_output.run_id);
    end if;
    perform pgflow._refuse('PF407', format('run %s has no step %L', step_output.run_id, step_output.step_slug),
      format('Its steps are: %s. Another version of the flow may have others.', (
        select string_agg(st.step_slug, ', ' order by st.step_slug)
        from pgflow.step_states st where st.run_id = step_output.run_id)));
  end if;
end
$fn$;

-- watch_run: ask for a NOTIFY on pgflow_runs (payload: the run id) when the run ends; returns its present status.
-- Locks: the run's row.  Writes: runs.  Idempotent: yes.  Raises: PF405 unknown run.
create function pgflow.watch_run(run_id uuid) returns text
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_status text;
begin
  update pgflow.runs r set watched = true
  where r.run_id = watch_run.run_id and r.status = 'started' and not r.watched;
  select r.status into v_status from pgflow.runs r where r.run_id = watch_run.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(watch_run.run_id);
  end if;
  return v_status;
end
$fn$;

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
