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
  constraint flows_pkey primary key (flow_slug),
  constraint flow_slug_is_valid check (pgflow.is_valid_slug(flow_slug)),
  constraint flow_has_at_least_one_attempt check (opt_max_attempts >= 1),
  constraint flow_base_delay_is_not_negative check (opt_base_delay >= 0),
  constraint flow_timeout_is_positive check (opt_timeout > 0),
  constraint flow_max_delay_is_not_negative check (opt_max_delay >= 0),
  constraint flow_queue_is_valid check (pgflow._is_valid_queue(opt_queue)),
  constraint flow_version_is_positive check (current_version >= 1)
);

-- flow_versions: one row per compiled shape of a flow; a run ends on the version it began with.
-- fingerprint: names the shape, so that a worker finds the version its code belongs to.
create table pgflow.flow_versions (
  flow_slug text not null,
  flow_version int not null,
  fingerprint text,
  output_step text,                               -- the step whose output is the run's; null: the leaf steps' by slug
  created_at timestamptz not null default now(),
  constraint flow_versions_pkey primary key (flow_slug, flow_version),
  constraint flow_version_belongs_to_a_flow foreign key (flow_slug) references pgflow.flows on delete cascade,
  constraint flow_version_number_is_positive check (flow_version >= 1)
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
  constraint steps_pkey primary key (flow_slug, flow_version, step_slug),
  constraint step_index_is_unique_in_a_flow unique (flow_slug, flow_version, step_index),
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
  lease_seconds int not null default 30,
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
  constraint runs_pkey primary key (run_id),
  constraint run_status_is_known check (status in ('started', 'completed', 'failed', 'cancelled')),
  constraint run_remaining_steps_are_not_negative check (remaining_steps >= 0),
  constraint run_has_at_most_one_end check (num_nonnulls(completed_at, failed_at, cancelled_at) <= 1),
  constraint run_output_only_when_completed check (output is null or status = 'completed'),
  constraint run_ends_after_its_start check (coalesce(completed_at, failed_at, cancelled_at, started_at) >= started_at)
) with (fillfactor = 70);
-- listings; started_at never changes, so updates of a run stay HOT
create index runs_by_flow_idx on pgflow.runs (flow_slug, started_at);

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
      where x.lane_id = p_lane_id and x.next_floor is null
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

-- _check_batch: refuse parallel arrays of different length; null counts as a length of its own.
-- Locks: none.  Raises: PF400.
create function pgflow._check_batch(p_function text, p_lengths int[]) returns void
language plpgsql immutable
set search_path = ''
as $fn$
begin
  if array_position(p_lengths, null) is not null or p_lengths[1] <> any (p_lengths) then
    perform pgflow._refuse('PF400',
      format('%s got arrays of different length: %s', p_function, array_to_string(p_lengths, ', ', 'null')));
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
  p_queue text
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
    when not pgflow._is_valid_queue(p_queue) then format('queue %L must have 1 to 128 characters', p_queue)
  end;
begin
  if v_problem is not null then
    perform pgflow._refuse('PF400', format('%s: %s', p_what, v_problem));
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
    perform pgflow._refuse('PF400', 'start_flows got a null run id, or the same one twice');
  end if;
  if p_need_arrays then
    select (i - 1)::int into v_bad from unnest(p_inputs) with ordinality g(input, i)
    where jsonb_typeof(input) <> 'array' order by i limit 1;
    if found then
      perform pgflow._refuse('PF422',
        format('flow %L maps over its input, which must be a JSON array, but input %s is of type %s', p_flow_slug,
          v_bad, jsonb_typeof(p_inputs[v_bad + 1])));
    end if;
  end if;
end
$fn$;

-- _check_step: refuse a step whose parts do not fit; returns what a map runs over (null for a single step).
-- Locks: none.  Raises: PF400, PF501.
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
    perform pgflow._refuse('PF400', format('%s: step_type must be single or map, not %L', p_what, p_step_type));
  end if;
  if p_when_unmet is null or p_when_unmet not in ('fail', 'skip', 'skip-cascade') then
    perform pgflow._refuse('PF400',
      format('%s: when_unmet must be fail, skip or skip-cascade, not %L', p_what, p_when_unmet));
  end if;
  if p_when_exhausted is null or p_when_exhausted not in ('fail', 'skip', 'skip-cascade') then
    perform pgflow._refuse('PF400',
      format('%s: when_exhausted must be fail, skip or skip-cascade, not %L', p_what, p_when_exhausted));
  end if;
  if p_required_input_pattern is not null or p_forbidden_input_pattern is not null or p_when_unmet <> 'skip'
    or p_when_exhausted <> 'fail' then
    perform pgflow._refuse('PF501',
      format('%s: this core does not evaluate conditions and skip modes yet', p_what),
      'Leave required_input_pattern, forbidden_input_pattern, when_unmet and when_exhausted at their defaults.');
  end if;
  if cardinality(p_deps) > (select count(distinct dep) from unnest(p_deps) dep where dep is not null) then
    perform pgflow._refuse('PF400', format('%s: deps_slugs has a null or the same step twice', p_what));
  end if;
  if p_step_type = 'single' then
    if p_map_over is not null then
      perform pgflow._refuse('PF400', format('%s: only a map has map_over', p_what));
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
    perform pgflow._refuse('PF400', format('%s: map_over %L is not among its dependencies', p_what, v_map_over));
  end if;
  return v_map_over;
end
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
    'visible_at', t.visible_at, 'last_worker_id', t.last_worker_id
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
  perform pgflow._fail_runs(p_run_ids, p_now);
end
$fn$;

-- _fail_runs: end runs in failure; what is open in them ends with them, in this transaction.
-- Locks: step_states, step_tasks under the runs' locks, which the caller holds.
-- Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: yes.  Raises: nothing.
create function pgflow._fail_runs(p_run_ids uuid[], p_now timestamptz) returns void
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
  update pgflow.runs r set status = 'failed', failed_at = greatest(p_now, r.started_at)
  where r.run_id = any (p_run_ids) and r.status = 'started';
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
    join pgflow.step_states st on st.run_id = g.run_id and st.step_slug = g.step_slug
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    where s.feeds_map and s.step_type = 'single' and jsonb_typeof(st.output) is distinct from 'array'
  ),
  failed_tasks as (
    update pgflow.step_tasks t
    set status = 'failed', completed_at = null, failed_at = t.completed_at, error_message = v.message
    from violating v where t.run_id = v.run_id and t.step_slug = v.step_slug
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
    from violating v where st.run_id = v.run_id and st.step_slug = v.step_slug
    returning st.run_id
  )
  select array_agg(distinct f.run_id) into v_failed from failed_steps f;

  perform pgflow._fail_runs(v_failed, p_now);
  select array_agg(g.run_id), array_agg(g.step_slug)
  into _fail_type_violations.run_ids, _fail_type_violations.step_slugs
  from unnest(p_run_ids, p_step_slugs) g(run_id, step_slug)
  where g.run_id <> all (v_failed);
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
-- The core's own inserts name it, so the trigger costs them one null test.
-- Locks: none.  Writes: the new row.  Raises: nothing.
create function pgflow._fill_task_lane() returns trigger
language plpgsql volatile
set search_path = ''
as $fn$
begin
  select s.lane_id into new.lane_id
  from pgflow.step_states st
  join pgflow.steps s on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  where st.run_id = new.run_id and st.step_slug = new.step_slug;
  return new;
end
$fn$;
create trigger fill_task_lane before insert on pgflow.step_tasks
for each row when (new.lane_id is null) execute function pgflow._fill_task_lane();

-- _heal_claim_floors: lower a lane's claim floor to a ready task below it. The core never makes one; a hand-written
-- insert that names an old message_id does, and would wait for ever. It also forgets a note whose transaction id is from
-- another cluster (dump and restore) and would hold up the floor.
-- Locks: lanes SKIP LOCKED.  Writes: lanes.  Idempotent: yes.  Raises: nothing.
create function pgflow._heal_claim_floors() returns void
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
  update pgflow.lanes l set
    claim_floor = coalesce(o.message_id, l.claim_floor), next_floor = null, next_floor_xid = null
  from (
    select x.lane_id, (
      select t.message_id from pgflow.step_tasks t
      where t.lane_id = x.lane_id and t.status = 'queued' and t.visible_at is null and t.message_id < x.claim_floor
      order by t.message_id limit 1
    ) as message_id
    from pgflow.lanes x
    for update of x skip locked
  ) o
  where l.lane_id = o.lane_id and (
    o.message_id is not null or l.next_floor_xid > pg_current_xact_id());
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

-- _isolate_worker: reserve a worker that holds nothing for one suspect; false when it holds something.
-- Locks: the worker's row, SKIP LOCKED.  Writes: workers.  Idempotent: yes.  Raises: nothing.
create function pgflow._isolate_worker(p_worker_id uuid) returns bool
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
  if pgflow._holds_tasks(p_worker_id) then
    return false;
  end if;
  update pgflow.workers w set isolating = true
  where w.worker_id = (
    select x.worker_id from pgflow.workers x where x.worker_id = p_worker_id for update skip locked);
  return found;
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

-- _promote_due_tasks: delayed tasks of a lane that are due become ready, with fresh message ids, oldest due first.
-- Locks: step_tasks FOR UPDATE SKIP LOCKED.  Writes: step_tasks.  Cost: O(p_limit) through step_tasks_delayed_idx.
-- Raises: nothing.
create function pgflow._promote_due_tasks(p_lane_id int, p_now timestamptz, p_limit int) returns void
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
end
$fn$;

-- _refusals: which of these claims were not taken, and why. Taken means: the task carries the claim's fence and has one of
-- the statuses that taking it leads to; so a result that arrives twice is no refusal.
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
  left join pgflow.runs r on r.run_id = g.run_id
  where not exists (
    select from pgflow.step_tasks t
    where t.run_id = g.run_id and t.step_slug = g.step_slug and t.task_index = g.task_index
      and t.fence = g.fence and t.status = any (p_taken_statuses))
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

-- _settle_completed_steps: what follows from steps that have just completed: dependents count down, maps over them are
-- sized, ready steps start with their tasks, empty maps complete at once and settle in the next round, runs count down
-- and complete. A step whose whole inputs are beyond 100 MB fails with its run: a claim could not build them.
-- The caller holds the runs' locks (or has just inserted the runs) and has stored the steps' outputs.
-- Locks: step_states, step_tasks under the runs' locks.  Writes: runs, step_states, step_tasks, task_attempts; NOTIFY.
-- Cost: linear in the edges out of the steps and in the tasks created; one round per level of empty maps.
-- Raises: nothing.
create function pgflow._settle_completed_steps(p_run_ids uuid[], p_step_slugs text[], p_now timestamptz) returns void
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
  v_lanes int[];
  v_max_input_size constant bigint := 100000000;
  v_too_large uuid[];
  v_ready_lanes int[] := '{}';
begin
  -- one round per level: a chain of empty maps may be as long as the flow
  while v_run_ids is not null loop
    with done as (
      select d.run_id, d.step_slug, st.flow_slug, st.flow_version, st.output
      from unnest(v_run_ids, v_slugs) d(run_id, step_slug)
      join pgflow.step_states st on st.run_id = d.run_id and st.step_slug = d.step_slug
    ),
    met as (
      select done.run_id, d.step_slug, count(*)::int as n,
        max(case when s.map_over = done.step_slug then jsonb_array_length(done.output) end) as size,
        sum(case when s.map_over = done.step_slug then 0 else pgflow._json_size(done.output) end) as bytes
      from done
      join pgflow.deps d
        on d.flow_slug = done.flow_slug and d.flow_version = done.flow_version and d.dep_slug = done.step_slug
      join pgflow.steps s
        on s.flow_slug = done.flow_slug and s.flow_version = done.flow_version and s.step_slug = d.step_slug
      group by done.run_id, d.step_slug
    ),
    advanced as (
      update pgflow.step_states st set
        remaining_deps = st.remaining_deps - m.n,
        initial_tasks = coalesce(st.initial_tasks, m.size),
        input_size = st.input_size + m.bytes,
        status = case
          when st.remaining_deps > m.n then st.status
          when st.input_size + m.bytes > v_max_input_size then 'failed'
          when coalesce(st.initial_tasks, m.size) = 0 then 'completed'
          else 'started' end,
        remaining_tasks = case when st.remaining_deps = m.n then coalesce(st.initial_tasks, m.size) end,
        output = case
          when st.remaining_deps = m.n and coalesce(st.initial_tasks, m.size) = 0
            and st.input_size + m.bytes <= v_max_input_size then '[]'::jsonb end,
        started_at = case when st.remaining_deps = m.n then greatest(p_now, st.created_at) end,
        completed_at = case
          when st.remaining_deps = m.n and coalesce(st.initial_tasks, m.size) = 0
            and st.input_size + m.bytes <= v_max_input_size then greatest(p_now, st.created_at) end,
        failed_at = case
          when st.remaining_deps = m.n and st.input_size + m.bytes > v_max_input_size then greatest(p_now, st.created_at)
        end
      from met m
      where st.run_id = m.run_id and st.step_slug = m.step_slug and st.status = 'created'
      returning st.run_id, st.step_slug, st.flow_slug, st.flow_version, st.status
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
      select done.run_id, count(*)::int as n from done group by done.run_id
    ),
    counted_down as (
      update pgflow.runs r set
        remaining_steps = r.remaining_steps - c.n,
        status = case when r.remaining_steps = c.n then 'completed' else r.status end,
        completed_at = case when r.remaining_steps = c.n then greatest(p_now, r.started_at) end,
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
      where r.run_id = c.run_id
      returning r.run_id, r.status, r.watched
    ),
    announced as (
      select count(pg_notify('pgflow_runs', c.run_id::text)) as n
      from counted_down c where c.watched and c.status = 'completed'
    )
    select
      (select array_agg(a.run_id) from advanced a where a.status = 'completed'),
      (select array_agg(a.step_slug) from advanced a where a.status = 'completed'),
      (select array_agg(distinct c.lane_id) from created c),
      (select array_agg(distinct a.run_id) from advanced a where a.status = 'failed'),
      announced.n
    into v_run_ids, v_slugs, v_lanes, v_too_large
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

-- _worker_lanes: the lanes that a live worker serves; none while it is deprecated, its lease has run out (others would take
-- the tasks away at once), or it holds a suspect alone.
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
    if pgflow._holds_tasks(p_worker_id) then
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
-- it maps over it.
-- Locks: the flow's row.  Writes: steps, deps.  Idempotent: yes, the same step is returned unchanged.
-- Raises: PF400 bad slug, type, mode or option, PF404 unknown flow, PF407 unknown dependency, PF409 the step exists with
-- other dependencies or another type, PF501 conditions and skip modes, which this core does not evaluate yet.
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
  version int default null
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
    uses_run_input, opt_max_delay, opt_retry_on, opt_queue, opt_priority
  )
  select
    add_step.flow_slug, v_version, add_step.step_slug, coalesce(max(o.step_index) + 1, 0), add_step.step_type,
    cardinality(v_deps), add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay,
    add_step.required_input_pattern, add_step.forbidden_input_pattern, add_step.when_unmet, add_step.when_exhausted,
    v_map_over, coalesce(add_step.uses_run_input, v_map_over is distinct from 'run'), add_step.max_delay, add_step.retry_on, add_step.queue,
    add_step.priority
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

-- claim_tasks: lease up to max_tasks ready tasks of the worker's lanes to it, highest priority first, oldest first within a lane;
-- zero rows when nothing is ready. All tasks of one call get the same new fence.
-- A suspect (lost with two workers) is given to a worker that holds nothing else, and it gets nothing else meanwhile:
-- so the third loss, which fails the task, is its own doing. A lane with a suspect lets its workers run empty first.
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
  v_fence bigint;
  v_suspect bool;
begin
  if v_left <= 0 then
    return;
  end if;
  v_lane_ids := pgflow._worker_lanes(claim_tasks.worker_id);
  v_fence := nextval('pgflow.fences');
  -- a loop, because each lane has a floor of its own and the first ones usually fill the batch
  for v_lane in
    select l.lane_id, l.flow_version, l.claim_floor, l.waiting
    from pgflow.lanes l where l.lane_id = any (v_lane_ids)
    order by l.priority desc, random()
  loop
    exit when v_left <= 0;
    perform pgflow._promote_due_tasks(v_lane.lane_id, v_now, greatest(v_left, 100));
    v_suspect := exists (
      select from pgflow.step_tasks t
      where t.lane_id = v_lane.lane_id and t.status = 'queued' and t.visible_at is null and t.requeued_count >= 2
        and t.message_id >= v_lane.claim_floor);
    if v_suspect then
      continue when not pgflow._isolate_worker(claim_tasks.worker_id);
      v_left := 1;
    end if;
    return query
    with picked as (
      select t.ctid as tid
      from pgflow.step_tasks t
      where t.lane_id = v_lane.lane_id and t.status = 'queued' and t.visible_at is null
        and t.message_id >= v_lane.claim_floor and (not v_suspect or t.requeued_count >= 2)
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
    get diagnostics v_got = row_count;
    v_left := v_left - v_got;

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
  if cardinality(run_ids) > 0 then
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
    and t.task_index = complete_task.task_index;
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
  perform 1 from pgflow.runs r where r.run_id = any (complete_tasks.run_ids) order by r.run_id for no key update;

  with completed as (
    update pgflow.step_tasks t set
      status = 'completed', output = g.output, completed_at = greatest(v_now, t.started_at)
    from unnest(run_ids, step_slugs, task_indexes, fences, outputs) g(run_id, step_slug, task_index, fence, output)
    where t.run_id = g.run_id and t.step_slug = g.step_slug and t.task_index = g.task_index
      and t.status = 'started' and t.fence = g.fence
    returning t.run_id, t.step_slug, t.task_index, t.output
  ),
  counted as (
    select c.run_id, c.step_slug, count(*)::int as n, (array_agg(c.output))[1] as output
    from completed c group by c.run_id, c.step_slug
  ),
  advanced as (
    update pgflow.step_states st set
      remaining_tasks = st.remaining_tasks - c.n,
      status = case when st.remaining_tasks = c.n then 'completed' else st.status end,
      completed_at = case when st.remaining_tasks = c.n then greatest(v_now, st.started_at) end,
      output = case
        when st.remaining_tasks > c.n then null
        when s.step_type = 'single' then c.output
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
    from counted c, pgflow.steps s
    where st.run_id = c.run_id and st.step_slug = c.step_slug and st.status = 'started'
      and s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    returning st.run_id, st.step_slug, st.status,
      s.feeds_map and s.step_type = 'single' and jsonb_typeof(c.output) is distinct from 'array' as violates
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
    perform pgflow._settle_completed_steps(v_run_ids, v_slugs, v_now);
  end if;

  if v_taken < cardinality(run_ids) then
    return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['completed', 'failed']);
  end if;
end
$fn$;

-- core_version: the schema version of the installed core; packages refuse another one than their own.
-- Locks: none.  Raises: nothing.
create function pgflow.core_version() returns int
language sql immutable parallel safe
set search_path = ''
as $fn$
  select 1
$fn$;

-- create_flow: define a flow, or its next version; null options are the defaults.
-- version null: the first version, or whatever exists. version n+1: the next version, which new runs get from now on.
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
  output_step text default null
) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
#variable_conflict use_column
declare
  v_flow pgflow.flows;
  v_known text;
begin
  perform pgflow._check_slug('flow', create_flow.flow_slug);
  perform pgflow._check_options(
    format('flow %L', create_flow.flow_slug), create_flow.max_attempts, create_flow.base_delay, create_flow.timeout, null,
    create_flow.max_delay, create_flow.queue);

  if create_flow.version < 1 then
    perform pgflow._refuse('PF400', format('flow %L: version must be at least 1, not %s', create_flow.flow_slug,
      create_flow.version));
  end if;
  insert into pgflow.flows as f (
    flow_slug, opt_max_attempts, opt_base_delay, opt_timeout, opt_max_delay, opt_queue, opt_priority
  ) values (
    create_flow.flow_slug, coalesce(create_flow.max_attempts, 3), coalesce(create_flow.base_delay, 5),
    coalesce(create_flow.timeout, 60), coalesce(create_flow.max_delay, 3600), create_flow.queue,
    coalesce(create_flow.priority, 0)
  ) on conflict (flow_slug) do nothing;
  select f.* into v_flow from pgflow.flows f where f.flow_slug = create_flow.flow_slug for update;

  insert into pgflow.flow_versions (flow_slug, flow_version, fingerprint, output_step)
  values (
    create_flow.flow_slug, coalesce(create_flow.version, v_flow.current_version), create_flow.fingerprint,
    create_flow.output_step)
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
      'started_at', v_run.started_at, 'ended_at', coalesce(v_run.completed_at, v_run.failed_at, v_run.cancelled_at)),
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
      format('flow %L version %s has %s open runs', drop_flow_version.flow_slug, drop_flow_version.version, v_open),
      'Let them finish first: they could not go on without their definition.');
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
  where t.run_id = fail_task.run_id and t.step_slug = fail_task.step_slug and t.task_index = fail_task.task_index;
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
-- jitter. Otherwise task, step and run fail, and what is open in the run ends.
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
  v_taken int;
  v_failed_runs uuid[];
begin
  perform pgflow._check_batch('fail_tasks', array[
    cardinality(run_ids), cardinality(step_slugs), cardinality(task_indexes), cardinality(fences), cardinality(errors)]);
  perform 1 from pgflow.runs r where r.run_id = any (fail_tasks.run_ids) order by r.run_id for no key update;

  with judged as (
    select g.run_id, g.step_slug, g.task_index, g.fence, g.error, t.attempts_count, t.started_at, s.lane_id,
      g.error -> 'retryable' is distinct from 'false'
        and t.attempts_count < coalesce(s.opt_max_attempts, f.opt_max_attempts)
        and (s.opt_retry_on is null or coalesce(g.error -> 'classes' ?| s.opt_retry_on, false)) as retry,
      case
        when jsonb_typeof(g.error -> 'retry_after') = 'number'
          then least(greatest((g.error ->> 'retry_after')::numeric, 0), 2147483647)::float8
        -- a cap below the base would be no backoff at all
        else least(
          pgflow.calculate_retry_delay(coalesce(s.opt_base_delay, f.opt_base_delay), t.attempts_count),
          greatest(coalesce(s.opt_max_delay, f.opt_max_delay), coalesce(s.opt_base_delay, f.opt_base_delay))
        ) * (1 + random() * 0.1)
      end as delay
    from unnest(run_ids, step_slugs, task_indexes, fences, errors) g(run_id, step_slug, task_index, fence, error)
    join pgflow.step_tasks t
      on t.run_id = g.run_id and t.step_slug = g.step_slug and t.task_index = g.task_index
      and t.status = 'started' and t.fence = g.fence
    join pgflow.step_states st on st.run_id = g.run_id and st.step_slug = g.step_slug
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    join pgflow.flows f on f.flow_slug = s.flow_slug
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
    where t.run_id = j.run_id and t.step_slug = j.step_slug and t.task_index = j.task_index
      and t.status = 'started' and t.fence = j.fence
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
  ),
  failed_steps as (
    update pgflow.step_states st set
      status = 'failed', failed_at = greatest(v_now, st.started_at), error_message = u.message
    from (
      select distinct on (f.run_id, f.step_slug) f.run_id, f.step_slug, f.error ->> 'message' as message
      from updated f where f.status = 'failed' order by f.run_id, f.step_slug, f.task_index
    ) u
    where st.run_id = u.run_id and st.step_slug = u.step_slug and st.status = 'started'
    returning st.run_id
  )
  select (select count(*) from updated), array_agg(distinct f.run_id) into v_taken, v_failed_runs from failed_steps f;

  if v_taken < cardinality(run_ids) then
    return query select * from pgflow._refusals(run_ids, step_slugs, task_indexes, fences, array['queued', 'failed']);
  end if;
  if v_failed_runs is not null then
    perform pgflow._fail_runs(v_failed_runs, v_now);
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
    perform pgflow._refuse('PF400', format('%L is not the beginning of a run id', find_runs.prefix));
  end if;
  return query
  select r.run_id from pgflow.runs r
  where r.run_id >= (v_low || substr('00000000-0000-0000-0000-000000000000', length(v_low) + 1))::uuid
    and r.run_id <= (v_low || substr('ffffffff-ffff-ffff-ffff-ffffffffffff', length(v_low) + 1))::uuid
  order by r.run_id limit greatest(find_runs.max_runs, 0);
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
      select l.lane_id from unnest(w.flow_slugs, w.fingerprints) s(flow_slug, fingerprint)
      join pgflow.flow_versions v on v.flow_slug = s.flow_slug and v.fingerprint = s.fingerprint
      join pgflow.lanes l on l.flow_slug = v.flow_slug and l.flow_version = v.flow_version
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
-- workers; each with its number of steps, its runs by status, and the live workers that serve it.
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
  served as (
    select v.flow_slug, v.flow_version, count(distinct w.worker_id)::int as workers
    from pgflow.workers w
    cross join unnest(w.flow_slugs, w.fingerprints) s(flow_slug, fingerprint)
    join pgflow.flow_versions v on v.flow_slug = s.flow_slug and v.fingerprint = s.fingerprint
    where w.stopped_at is null and w.last_heartbeat_at + w.lease_seconds * interval '1 second' >= v_now
    group by v.flow_slug, v.flow_version
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
  where v.is_current or c.is_open or s.workers > 0
  order by v.flow_slug, v.flow_version desc;
end
$fn$;

-- list_runs: runs, newest first, optionally of one flow or status; before continues a listing at a started_at.
-- Locks: none.  Cost: per flow, a range of runs_by_flow_idx.  Raises: PF404 unknown flow.
create function pgflow.list_runs(
  flow_slug text default null,
  status text default null,
  max_runs int default 50,
  before timestamptz default null
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
begin
  if list_runs.flow_slug is not null
    and not exists (select from pgflow.flows f where f.flow_slug = list_runs.flow_slug) then
    perform pgflow._refuse('PF404', format('flow %L does not exist', list_runs.flow_slug),
      'List the flows with: pgflow flows.');
  end if;
  return query
  select r.run_id, r.flow_slug, r.flow_version, r.status, r.remaining_steps, r.started_at,
    coalesce(r.completed_at, r.failed_at, r.cancelled_at)
  from pgflow.flows f
  cross join lateral (
    select * from pgflow.runs x
    where x.flow_slug = f.flow_slug
      and (list_runs.status is null or x.status = list_runs.status)
      and (list_runs.before is null or x.started_at < list_runs.before)
    order by x.started_at desc
    limit greatest(list_runs.max_runs, 0)
  ) r
  where list_runs.flow_slug is null or f.flow_slug = list_runs.flow_slug
  order by r.started_at desc, r.run_id desc
  limit greatest(list_runs.max_runs, 0);
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

-- recover_tasks: take back up to max_tasks tasks from workers whose lease ran out, or who stopped without giving them
-- back; returns how many. Ready at once, no attempt used; the third worker lost under the same task fails the task, its
-- step and its run (a poison task). Any worker may call it at any time; calls do not wait for each other.
-- It also heals claim floors that a hand-written insert with an old message_id fell below, and moves tasks that came
-- into a lane while a change of options abandoned it.
-- Locks: lanes and abandoned tasks SKIP LOCKED, workers FOR UPDATE SKIP LOCKED, then runs FOR NO KEY UPDATE by run_id; step_states, step_tasks under them.
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
  v_lanes int[];
  v_failed_runs uuid[];
begin
  perform pgflow._heal_claim_floors();
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

  select array_agg(lost.worker_id) into v_workers from (
    select w.worker_id from pgflow.workers w
    where (w.stopped_at is not null or w.last_heartbeat_at + w.lease_seconds * interval '1 second' < v_now)
      and exists (select from pgflow.step_tasks t where t.last_worker_id = w.worker_id and t.status = 'started')
    order by w.worker_id
    limit 100
    for update of w skip locked
  ) lost;
  if v_workers is null then
    return 0;
  end if;

  select array_agg(h.run_id) as run_ids, array_agg(h.step_slug) as step_slugs,
    array_agg(h.task_index) as task_indexes, array_agg(h.fence) as fences
  into v_candidates
  from (
    select t.run_id, t.step_slug, t.task_index, t.fence
    from pgflow.step_tasks t
    where t.last_worker_id = any (v_workers) and t.status = 'started'
    limit recover_tasks.max_tasks
  ) h;
  perform 1 from pgflow.runs r where r.run_id = any (v_candidates.run_ids) order by r.run_id for no key update;

  with held as (
    -- as they are now that the runs are locked
    select t.run_id, t.step_slug, t.task_index, t.attempts_count, t.fence, t.last_worker_id, t.started_at,
      t.requeued_count + 1 >= v_max_losses as poison, s.lane_id
    from unnest(v_candidates.run_ids, v_candidates.step_slugs, v_candidates.task_indexes, v_candidates.fences)
      g(run_id, step_slug, task_index, fence)
    join pgflow.step_tasks t
      on t.run_id = g.run_id and t.step_slug = g.step_slug and t.task_index = g.task_index
      and t.fence = g.fence and t.status = 'started'
    join pgflow.step_states st on st.run_id = t.run_id and st.step_slug = t.step_slug
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
  ),
  taken as (
    update pgflow.step_tasks t set
      status = case when h.poison then 'failed' else 'queued' end,
      started_at = case when h.poison then t.started_at end,
      fence = 0,
      lane_id = h.lane_id,
      attempts_count = case when h.poison then t.attempts_count else greatest(t.attempts_count - 1, 0) end,
      requeued_count = t.requeued_count + 1,
      last_requeued_at = v_now,
      message_id = nextval('pgflow.message_ids'),
      failed_at = case when h.poison then greatest(v_now, t.started_at) end,
      permanently_stalled_at = case when h.poison then v_now end,
      error_message = case when h.poison then format('lost with its worker %s times', t.requeued_count + 1)
        else t.error_message end
    from held h
    where t.run_id = h.run_id and t.step_slug = h.step_slug and t.task_index = h.task_index
    returning t.flow_slug, t.run_id, t.step_slug, t.task_index, t.lane_id, t.error_message, h.poison, h.attempts_count,
      h.fence, h.last_worker_id, h.started_at
  ),
  recorded as (
    insert into pgflow.task_attempts (
      flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message, fence, worker_id,
      started_at, ended_at
    )
    select x.flow_slug, x.run_id, x.step_slug, x.task_index, x.attempts_count, 'lost', 'LeaseLost',
      format('worker %s stopped or let its lease run out', x.last_worker_id), x.fence, x.last_worker_id, x.started_at,
      greatest(v_now, x.started_at)
    from taken x
  ),
  failed_steps as (
    update pgflow.step_states st set
      status = 'failed', failed_at = greatest(v_now, st.started_at), error_message = p.error_message
    from (
      select distinct on (x.run_id, x.step_slug) x.run_id, x.step_slug, x.error_message
      from taken x where x.poison order by x.run_id, x.step_slug, x.task_index
    ) p
    where st.run_id = p.run_id and st.step_slug = p.step_slug and st.status = 'started'
    returning st.run_id
  )
  select (select count(*) from taken), (select array_agg(distinct x.lane_id) from taken x where not x.poison),
    (select array_agg(distinct f.run_id) from failed_steps f)
  into v_recovered, v_lanes, v_failed_runs;

  if v_failed_runs is not null then
    perform pgflow._fail_runs(v_failed_runs, v_now);
  end if;
  perform pgflow._notify_ready(v_lanes);
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
    perform pgflow._refuse('PF400', 'register_worker: worker_id is null');
  end if;
  perform pgflow._check_batch('register_worker', array[
    cardinality(register_worker.flow_slugs), cardinality(register_worker.fingerprints)]);
  if register_worker.lease_seconds is null or register_worker.lease_seconds < 1 then
    perform pgflow._refuse('PF400',
      format('register_worker: lease_seconds must be at least 1, not %s', coalesce(register_worker.lease_seconds::text, 'null')));
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
  perform 1 from pgflow.runs r where r.run_id = any (release_tasks.run_ids) order by r.run_id for no key update;

  -- refusals first: a released task does not keep its fence
  return query
  select g.run_id, g.step_slug, g.task_index, g.fence,
    case when r.status <> 'started' then 'run_ended' else 'lease_lost' end
  from unnest(run_ids, step_slugs, task_indexes, fences) g(run_id, step_slug, task_index, fence)
  left join pgflow.runs r on r.run_id = g.run_id
  where not exists (
    select from pgflow.step_tasks t
    where t.run_id = g.run_id and t.step_slug = g.step_slug and t.task_index = g.task_index
      and t.fence = g.fence and t.status = 'started');

  with released as (
    update pgflow.step_tasks t set
      status = 'queued', started_at = null, fence = 0, attempts_count = greatest(t.attempts_count - 1, 0),
      lane_id = s.lane_id, message_id = nextval('pgflow.message_ids')
    from unnest(run_ids, step_slugs, task_indexes, fences) g(run_id, step_slug, task_index, fence)
    join pgflow.step_states st on st.run_id = g.run_id and st.step_slug = g.step_slug
    join pgflow.steps s
      on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
    where t.run_id = g.run_id and t.step_slug = g.step_slug and t.task_index = g.task_index
      and t.fence = g.fence and t.status = 'started'
    returning t.lane_id
  )
  select array_agg(distinct x.lane_id) into v_lanes from released x;
  perform pgflow._notify_ready(v_lanes);
end
$fn$;

-- run_outcome: where a run stands, its output when completed, and the attempt that failed it when failed.
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
  select r.status, r.flow_slug, r.output, a.step_slug, a.task_index, a.attempt, a.error_class, a.error_message,
    a.traceback
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
  ) a on r.status = 'failed'
  where r.run_id = run_outcome.run_id;
  if not found then
    perform pgflow._refuse_unknown_run(run_outcome.run_id);
  end if;
end
$fn$;

-- set_flow_options: replace a flow's options (null: the default); tasks that wait move to the new queue and priority.
-- Locks: the flow's row, then step_tasks SKIP LOCKED.  Writes: flows, steps, lanes, step_tasks.  Idempotent: yes.
-- Raises: PF400 bad option, PF404 unknown flow.
create function pgflow.set_flow_options(
  flow_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  max_delay int default null,
  queue text default null,
  priority int default null
) returns pgflow.flows
language plpgsql volatile
set search_path = ''
as $fn$
declare
  v_flow pgflow.flows;
begin
  perform pgflow._check_options(
    format('flow %L', set_flow_options.flow_slug), set_flow_options.max_attempts, set_flow_options.base_delay,
    set_flow_options.timeout, null, set_flow_options.max_delay, set_flow_options.queue);
  update pgflow.flows f set
    opt_max_attempts = coalesce(set_flow_options.max_attempts, 3),
    opt_base_delay = coalesce(set_flow_options.base_delay, 5),
    opt_timeout = coalesce(set_flow_options.timeout, 60),
    opt_max_delay = coalesce(set_flow_options.max_delay, 3600),
    opt_queue = set_flow_options.queue,
    opt_priority = coalesce(set_flow_options.priority, 0)
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
-- Locks: the step's row, then step_tasks SKIP LOCKED.  Writes: steps, lanes, step_tasks.  Idempotent: yes.
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
    perform pgflow._refuse('PF407', format('%s does not exist in version %s', v_name, set_step_options.version));
  end if;
  perform pgflow._move_queued_tasks(set_step_options.flow_slug);
  return v_step;
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

-- start_flows: start one run of the flow's current version per input, all or none; returns the run ids in input order.
-- run_ids: ids given by the caller, so that a call made twice starts once: an id that exists with the same flow and
-- input is returned as it is.
-- fingerprint: the shape the caller knows; refused when the current version has another one.
-- Locks: runs (insert).  Writes: runs, step_states, step_tasks; NOTIFY.  Idempotent: with run_ids.
-- Cost: O(runs * steps + root map elements), one statement per table.
-- Raises: PF400 arrays that do not fit, PF404 unknown flow, PF410 a run id is taken, PF414 another shape, PF422 an input that is null, or no
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
  v_steps int;
  v_sized_by_input bool;
  v_has_root_map bool;
  v_given uuid[] := start_flows.run_ids;
  v_inputs jsonb[] := start_flows.inputs;
  v_new uuid[];
  v_empty_run_ids uuid[];
  v_empty_slugs text[];
begin
  select f.current_version, count(s.step_slug), coalesce(bool_or(s.map_over = 'run'), false),
    coalesce(bool_or(s.step_type = 'map' and s.deps_count = 0), false)
  into v_version, v_steps, v_sized_by_input, v_has_root_map
  from pgflow.flows f
  left join pgflow.steps s on s.flow_slug = f.flow_slug and s.flow_version = f.current_version
  where f.flow_slug = start_flows.flow_slug
  group by f.flow_slug, f.current_version;
  if not found then
    perform pgflow._refuse('PF404', format('flow %L does not exist', start_flows.flow_slug),
      'Compile it and apply the migration: pgflow compile, then alembic upgrade head.');
  end if;
  if start_flows.fingerprint is not null and not exists (
    select from pgflow.flow_versions fv
    where fv.flow_slug = start_flows.flow_slug and fv.flow_version = v_version
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
    insert into pgflow.runs (run_id, flow_slug, flow_version, input, remaining_steps, started_at)
    select g.run_id, start_flows.flow_slug, v_version, g.input, v_steps, v_now
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

  -- From here on drop_flow_version waits for us; it may have gone before, while the insert waited for it.
  if not exists (
    select from pgflow.flows f
    where f.flow_slug = start_flows.flow_slug and f.current_version = v_version and v_steps = (
      select count(*) from pgflow.steps s where s.flow_slug = f.flow_slug and s.flow_version = v_version)
  ) then
    perform pgflow._refuse('PF404', format('flow %L was changed by a migration at this moment', start_flows.flow_slug),
      'Start it again.');
  end if;

  if v_steps = 0 then
    update pgflow.runs r set status = 'completed', completed_at = v_now where r.run_id = any (v_given);
  else
    insert into pgflow.step_states (
      run_id, step_slug, flow_slug, flow_version, status, remaining_deps, initial_tasks, remaining_tasks, created_at,
      started_at, input_size
    )
    select
      g.run_id, s.step_slug, s.flow_slug, s.flow_version,
      case when s.deps_count = 0 then 'started' else 'created' end,
      s.deps_count,
      n.tasks,
      case when s.deps_count = 0 then n.tasks end,
      v_now,
      case when s.deps_count = 0 then v_now end,
      case when s.uses_run_input then pgflow._json_size(g.input) else 0 end
    -- the inputs come from the arguments: no join with runs, which statistics could spoil
    from unnest(v_given, v_inputs) with ordinality g(run_id, input, i)
    cross join pgflow.steps s
    cross join lateral (
      select case when s.step_type = 'single' then 1 when s.map_over = 'run' then jsonb_array_length(g.input) end as tasks
    ) n
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version
    order by g.i, s.step_index;

    insert into pgflow.step_tasks (run_id, step_slug, task_index, flow_slug, lane_id, queued_at, visible_at)
    select g.run_id, s.step_slug, 0, s.flow_slug, s.lane_id, v_now, pgflow._visible_at(v_now, s.opt_start_delay)
    from unnest(v_given) with ordinality g(run_id, i)
    cross join pgflow.steps s
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0
      and s.step_type = 'single'
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
      and s.step_type = 'map'
    order by g.i, s.step_index, e.i;

    -- empty root maps are done already
    with completed as (
      update pgflow.step_states st set status = 'completed', output = '[]', completed_at = v_now
      from unnest(v_given) g(run_id), pgflow.steps s
      where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0
        and s.step_type = 'map' and st.run_id = g.run_id and st.step_slug = s.step_slug and st.initial_tasks = 0
      returning st.run_id, st.step_slug
    )
    select array_agg(c.run_id), array_agg(c.step_slug) into v_empty_run_ids, v_empty_slugs from completed c;
    if v_empty_run_ids is not null then
      perform pgflow._settle_completed_steps(v_empty_run_ids, v_empty_slugs, v_now);
    end if;
  end if;

  perform pgflow._notify_ready(array(
    select s.lane_id from pgflow.steps s
    where s.flow_slug = start_flows.flow_slug and s.flow_version = v_version and s.deps_count = 0));
  return query select unnest(case when start_flows.run_ids is null then v_given else start_flows.run_ids end);
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
      'The run may belong to another flow, or to a version of it without this step.');
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

-- Functions are executable by everyone unless told otherwise; here only the owner is.
revoke all on all functions in schema pgflow from public;
