"""A database with a long history and a large backlog, and what a call costs there: used by test_plans.py and bench/plans.py.

The figure is buffers: pages that the statements of one call touch. It does not depend on the machine or on what else it
does, and a plan that reads a table from end to end cannot hide in it.
"""

import json
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg

BATCH: Final = 10

WORKER: Final = uuid.UUID(int=1)
"""It claims and completes."""

LOST: Final = uuid.UUID(int=2)
"""It stopped while it held ten tasks."""

# Half of the tasks in flows of three steps, the rest in maps of a hundred: tasks of all ages lie in two lanes.
_FLOWS: Final = """
select pgflow.create_flow('work', fingerprint => 'shape', base_delay => 5, timeout => 60, deadline => 864000, output_step => 'c');
select pgflow.add_step('work', 'a'), pgflow.add_step('work', 'b', array['a']), pgflow.add_step('work', 'c', array['b']);
select pgflow.create_flow('fan', fingerprint => 'shape', base_delay => 5, timeout => 60);
select pgflow.add_step('fan', 'm', step_type => 'map'), pgflow.add_step('fan', 'z', array['m']);
"""

# Rows as the functions would have left them. Runs are numbered by kind, run ids ascend as _new_run_id's do.
_FILL: Final = """
create function pg_temp.run(kind int, n bigint) returns uuid language sql immutable
return ('01900000-0000-7000-800' || kind || '-' || lpad(to_hex(n), 12, '0'))::uuid;
create function pg_temp.kind(run_id uuid) returns text language sql immutable return substr(run_id::text, 23, 1);

-- finished between a week and an hour ago
insert into pgflow.runs (run_id, flow_slug, status, input, output, remaining_steps, started_at, completed_at)
select pg_temp.run(k.kind, i), k.flow, 'completed', '1', '"done"', 0, t.at, t.at + interval '1 minute'
from (values (1, 'work', {finished} / 6), (2, 'fan', {finished} / 200)) k(kind, flow, n)
cross join generate_series(1, k.n) i
cross join lateral (select now() - interval '2 hours' - (1 - i / k.n::float8) * interval '7 days' as at) t;
-- open: the first steps of the three, the maps
insert into pgflow.runs (run_id, flow_slug, status, input, remaining_steps, started_at, deadline_at)
select pg_temp.run(k.kind, i), k.flow, 'started', '1', k.open, now() - interval '1 hour', now() + k.deadline
from (values (3, 'work', 3, interval '9 days', {waiting} / 5), (4, 'fan', 2, null, {waiting} / 125)) k(kind, flow, open, deadline, n)
cross join generate_series(1, k.n) i;

insert into pgflow.step_states (
  run_id, step_slug, flow_slug, status, remaining_deps, initial_tasks, remaining_tasks, output, created_at, started_at,
  completed_at, input_size
)
select r.run_id, s.step_slug, r.flow_slug, s.status, case when s.status = 'created' then 1 else 0 end, s.tasks,
  case s.status when 'completed' then 0 when 'started' then s.tasks end,
  case s.status when 'completed' then '"done"'::jsonb end,
  r.started_at, case when s.status <> 'created' then r.started_at end, r.completed_at, 10
from pgflow.runs r
join (values ('1', 'a', 'completed', 1), ('1', 'b', 'completed', 1), ('1', 'c', 'completed', 1),
  ('2', 'm', 'completed', 100), ('2', 'z', 'completed', 1), ('3', 'a', 'started', 1), ('3', 'b', 'created', 1),
  ('3', 'c', 'created', 1), ('4', 'm', 'started', 100), ('4', 'z', 'created', 1)) s(kind, step_slug, status, tasks)
  on s.kind = pg_temp.kind(r.run_id)
where r.run_id between pg_temp.run(1, 0) and pg_temp.run(4, 1000000000);

insert into pgflow.step_tasks (
  run_id, step_slug, task_index, flow_slug, status, attempts_count, output, queued_at, started_at, completed_at,
  last_worker_id, lane_id, fence
)
select st.run_id, st.step_slug, i, st.flow_slug, 'completed', 1, st.output, st.started_at, st.started_at, st.completed_at,
  '{worker}', l.lane_id, 1
from pgflow.step_states st
join pgflow.lanes l on l.flow_slug = st.flow_slug
cross join generate_series(0, st.initial_tasks - 1) i
where st.run_id between pg_temp.run(1, 0) and pg_temp.run(2, 1000000000);
-- far in the future, due after a backoff, and ready, in turn
insert into pgflow.step_tasks (
  run_id, step_slug, task_index, flow_slug, status, attempts_count, queued_at, lane_id, input, visible_at
)
select st.run_id, st.step_slug, i, st.flow_slug, 'queued', 0, st.started_at, l.lane_id,
  case when st.flow_slug = 'fan' then '1'::jsonb end,
  case
    when x.n % {waiting} < {future} then now() + interval '1 day' + random() * interval '9 days'
    when x.n % 17 = 0 then now() - random() * interval '1 hour' end
from pgflow.step_states st
join pgflow.lanes l on l.flow_slug = st.flow_slug
cross join generate_series(0, st.initial_tasks - 1) i
cross join lateral (select (hashtextextended(st.run_id::text || i, 0) & 1073741823) as n) x
where st.run_id between pg_temp.run(3, 0) and pg_temp.run(4, 1000000000) and st.status = 'started';
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How many tasks of each kind."""

    due: int = 200_000
    finished: int = 1_000_000
    future: int = 200_000


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the core: what must have happened before in its transaction, and the call."""

    name: str
    before: Callable[["psycopg.Connection[Any]"], list[Any]]
    query: LiteralString


def nothing(_: "psycopg.Connection[Any]") -> list[Any]:
    """No preparation, no parameters."""
    return []


def claimed(conn: "psycopg.Connection[Any]") -> list[Any]:
    """Claim ten tasks; return their keys as parallel arrays."""
    rows = conn.execute(
        "select run_id, step_slug, task_index, fence from pgflow.claim_tasks(%s, %s)", (WORKER, BATCH)
    ).fetchall()
    assert len(rows) == BATCH, f"only {len(rows)} tasks to claim"
    return [list(column) for column in zip(*rows, strict=True)]


def reserved(conn: "psycopg.Connection[Any]") -> list[Any]:
    """Reserve ten tasks as a foreign worker; return their message ids."""
    rows = conn.execute("select msg_id from pgflow.read_with_poll('work', 60, %s, 0)", (BATCH,)).fetchall()
    return [[row[0] for row in rows]]


def open_run(conn: "psycopg.Connection[Any]") -> list[Any]:
    """The run of a claimed task."""
    return [claimed(conn)[0][0]]


def failed_run(conn: "psycopg.Connection[Any]") -> list[Any]:
    """A run that has been cancelled."""
    (run_id,) = open_run(conn)
    conn.execute("select pgflow.cancel_run(%s)", (run_id,))
    return [run_id]


def all_well(conn: "psycopg.Connection[Any]") -> list[Any]:
    """No worker has stopped."""
    conn.execute("update pgflow.workers set stopped_at = null")
    return []


def long_ago(conn: "psycopg.Connection[Any]") -> list[Any]:
    """Set the clock back: nothing is due, overdue, stalled or lost."""
    conn.execute("set local pgflow.now = '2020-01-01'")
    return []


_KEYS: Final = "%s::uuid[], %s::text[], %s::int[], %s::bigint[]"
_OUTPUTS: Final = "array_fill('\"done\"'::jsonb, array[10])"

CALLS: Final = (
    Call("claim 10", nothing, f"select * from pgflow.claim_tasks('{WORKER}', {BATCH})"),
    Call("complete 10", claimed, f"select * from pgflow.complete_tasks({_KEYS}, {_OUTPUTS})"),
    Call(
        "complete and claim 10",
        claimed,
        f"select * from pgflow.complete_and_claim_tasks('{WORKER}', {BATCH}, {_KEYS}, {_OUTPUTS})",
    ),
    Call(
        "fail 10, retry",
        claimed,
        f'select * from pgflow.fail_tasks({_KEYS}, array_fill(\'{{"message": "x"}}\'::jsonb, array[10]))',
    ),
    Call(
        "fail 10 for good",
        claimed,
        f"select * from pgflow.fail_tasks({_KEYS}, array_fill('{{\"retryable\": false}}'::jsonb, array[10]))",
    ),
    Call("release 10", claimed, f"select * from pgflow.release_tasks({_KEYS})"),
    Call("recover 10", nothing, "select pgflow.recover_tasks()"),
    Call("heartbeat", nothing, f"select pgflow.heartbeat_worker('{WORKER}')"),
    Call("which of 10 are lost", claimed, f"select * from pgflow.lost_tasks({_KEYS})"),
    Call("start 10 runs", nothing, "select pgflow.start_flows('work', array_fill('1'::jsonb, array[10]))"),
    Call("cancel a run", open_run, "select pgflow.cancel_run(%s)"),
    Call("retry a run", failed_run, "select pgflow.retry_run(%s)"),
    Call("reserve 10", nothing, "select * from pgflow.read_with_poll('work', 60, 10, 0)"),
    Call("start 10 reserved", reserved, f"select * from pgflow.start_tasks('work', %s, '{WORKER}')"),
    Call("make 10 visible", reserved, "select * from pgflow.set_vt_batch('work', %s, array_fill(0, array[10]))"),
    Call("promote 10 due", nothing, "select pgflow.promote_due_tasks(10)"),
    Call("promote, none due", long_ago, "select pgflow.promote_due_tasks()"),
    Call("recover, none lost", all_well, "select pgflow.recover_tasks()"),
    Call("deadlines, none over", long_ago, "select pgflow.enforce_deadlines()"),
    Call("stalled, none", long_ago, "select pgflow.requeue_stalled_tasks()"),
    Call("prune 10", nothing, "select pgflow.prune_data_older_than('1 day', 10)"),
    Call("prune, none old", nothing, "select pgflow.prune_data_older_than('1000 days')"),
)


def connect(url: str) -> "psycopg.Connection[Any]":
    """A connection in autocommit mode that prepares nothing by itself."""
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)


def buffers(conn: "psycopg.Connection[Any]", call: Call) -> int:
    """Pages touched by one call, which is then undone."""
    with conn.transaction(force_rollback=True):
        parameters = call.before(conn)
        statement: LiteralString = "explain (analyze, buffers, timing off, format json) " + call.query
        row = conn.execute(statement, parameters).fetchone()
        assert row is not None
        plan = row[0][0]["Plan"] if not isinstance(row[0], str) else json.loads(row[0])[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def costs(conn: "psycopg.Connection[Any]", calls: tuple[Call, ...] = CALLS) -> dict[str, int]:
    """Buffers of each call: the upper median of six, for a claim looks at the lanes in no order, and seldom promotes.

    The very first call is not counted: it plans the statements.
    """
    figures = {}
    for call in calls:
        buffers(conn, call)
        figures[call.name] = sorted(buffers(conn, call) for _ in range(6))[3]
    return figures


def prepare(conn: "psycopg.Connection[Any]", runs: int = 30) -> None:
    """A nearly empty database: two flows, two workers, a few runs; one worker is gone and held ten tasks."""
    conn.execute(_FLOWS)
    for worker in (WORKER, LOST):
        conn.execute(
            "select pgflow.register_worker(%s, '{work,fan}', '{shape,shape}', lease_seconds => 100000)", (worker,)
        )
    conn.execute("select pgflow.start_flows('work', array_fill('1'::jsonb, array[%s]))", (runs,))
    conn.execute(
        "select pgflow.start_flows('fan', array['[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]'::jsonb])"
    )
    conn.execute("select pgflow.claim_tasks(%s, %s)", (LOST, BATCH))
    conn.execute("select pgflow.mark_worker_stopped(%s)", (LOST,))


def fill(conn: "psycopg.Connection[Any]", size: Size) -> None:
    """The history and the backlog, in a few statements."""
    values = {
        "finished": size.finished, "waiting": size.due + size.future, "future": size.future, "worker": WORKER
    }  # fmt: skip
    conn.execute(_FILL.format(**values).encode())


def forget_statistics(conn: "psycopg.Connection[Any]") -> None:
    """As if the tables had never been analysed."""
    conn.execute(
        """
        delete from pg_statistic
        where starelid in (select c.oid from pg_class c where c.relnamespace = 'pgflow'::regnamespace)
        """
    )
    conn.execute(
        """
        update pg_class set reltuples = -1, relpages = 0, relallvisible = 0
        where relnamespace = 'pgflow'::regnamespace and relkind in ('r', 'i')
        """
    )


@contextmanager
def old_snapshot(url: str) -> Iterator[None]:
    """A reader that has begun and does not end: what dies from now on cannot be removed."""
    with psycopg.connect(url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("select count(*) from pgflow.lanes")
        yield


def flow_through(conn: "psycopg.Connection[Any]", tasks: int, batch: int = 1000) -> None:
    """Work off so many tasks, each batch handed in with the next one's claim."""
    keys: list[list[Any]] = [[], [], [], []]
    for _ in range(tasks // batch):
        rows = conn.execute(
            "select run_id, step_slug, task_index, fence from pgflow.complete_and_claim_tasks("
            f" %s, %s, {_KEYS}, array_fill('1'::jsonb, array[%s]))",
            (WORKER, batch, *keys, len(keys[0])),
        ).fetchall()
        assert len(rows) == batch
        keys = [list(column) for column in zip(*rows, strict=True)]
    conn.execute(f"select pgflow.complete_tasks({_KEYS}, array_fill('1'::jsonb, array[%s]))", (*keys, batch))


def latencies(conn: "psycopg.Connection[Any]", claims: int = 400) -> tuple[float, float]:
    """Milliseconds of a committed claim of ten: median and 95th percentile. The tasks are completed afterwards."""
    seconds: list[float] = []
    tasks: list[Any] = []
    for _ in range(claims):
        begin = time.perf_counter()
        rows = conn.execute(
            "select run_id, step_slug, task_index, fence from pgflow.claim_tasks(%s, %s)", (WORKER, BATCH)
        ).fetchall()
        seconds.append(time.perf_counter() - begin)
        assert len(rows) == BATCH
        tasks += rows
    keys = [list(column) for column in zip(*tasks, strict=True)]
    conn.execute(f"select pgflow.complete_tasks({_KEYS}, array_fill('1'::jsonb, array[%s]))", (*keys, len(tasks)))
    return statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[-1] * 1000
