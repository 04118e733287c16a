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
from psycopg import sql

BATCH: Final = 10

WORKER: Final = uuid.UUID(int=1)
"""It claims and completes."""

LOST: Final = uuid.UUID(int=2)
"""It stopped while it held ten tasks."""

# Three steps in a row; tasks of all three and of every age lie in one lane, as they do in production.
_FLOW: Final = """
select pgflow.create_flow('work', fingerprint => 'shape', base_delay => 5, timeout => 60, deadline => 864000, output_step => 'c');
select pgflow.add_step('work', 'a'), pgflow.add_step('work', 'b', array['a']), pgflow.add_step('work', 'c', array['b']);
"""

_START: Final = "select pgflow.start_flows('work', array(select to_jsonb(i) from generate_series(1, {count}) i))"

# Rows as the functions would have left them. Runs are numbered by kind, run ids ascend as _new_run_id's do.
_FILL: Final = """
create function pg_temp.run(n bigint) returns uuid language sql immutable
return ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid;

-- finished, a week ago to an hour ago
insert into pgflow.runs (run_id, flow_slug, status, input, output, remaining_steps, started_at, completed_at)
select pg_temp.run(i), 'work', 'completed', to_jsonb(i), '"done"', 0, t.at, t.at + interval '1 minute'
from generate_series(1, {finished} / 3) i
cross join lateral (select now() - interval '7 days' + i * interval '7 days' / ({finished} / 3.0) - interval '1 hour' as at) t;
-- at their first step: ready, due after a backoff, far in the future; and at their second
insert into pgflow.runs (run_id, flow_slug, status, input, remaining_steps, started_at, deadline_at)
select pg_temp.run({finished} / 3 + i), 'work', 'started', to_jsonb(i), case when i % 5 = 0 then 2 else 3 end,
  now() - interval '30 minutes', now() + interval '10 days'
from generate_series(1, {due} + {future}) i;

insert into pgflow.step_states (
  run_id, step_slug, flow_slug, status, remaining_deps, initial_tasks, remaining_tasks, output, created_at, started_at,
  completed_at, input_size
)
select r.run_id, s.step_slug, 'work', s.status, case when s.status = 'created' then 1 else 0 end, 1,
  case s.status when 'completed' then 0 when 'started' then 1 end, case s.status when 'completed' then '"done"'::jsonb end,
  r.started_at, case when s.status <> 'created' then r.started_at end, case s.status when 'completed' then r.started_at end, 10
from pgflow.runs r
cross join lateral (
  values ('a', case when r.remaining_steps = 3 then 'started' else 'completed' end),
    ('b', case when r.remaining_steps = 3 then 'created' when r.remaining_steps = 2 then 'started' else 'completed' end),
    ('c', case when r.remaining_steps = 0 then 'completed' else 'created' end)
) s(step_slug, status)
where r.run_id >= pg_temp.run(1) and r.run_id <= pg_temp.run(1000000000);

insert into pgflow.step_tasks (
  run_id, step_slug, flow_slug, status, attempts_count, output, queued_at, started_at, completed_at, last_worker_id, lane_id,
  fence
)
select st.run_id, st.step_slug, 'work', 'completed', 1, st.output, st.started_at, st.started_at, st.completed_at,
  '{worker}', {lane}, 1
from pgflow.step_states st
where st.run_id >= pg_temp.run(1) and st.run_id <= pg_temp.run(1000000000) and st.status = 'completed';
insert into pgflow.step_tasks (run_id, step_slug, flow_slug, status, attempts_count, queued_at, lane_id, visible_at)
select r.run_id, case when r.remaining_steps = 3 then 'a' else 'b' end, 'work', 'queued',
  case when x.visible_at is null then 0 else 1 end, r.started_at, {lane}, x.visible_at
from generate_series(1, {due} + {future}) i
join pgflow.runs r on r.run_id = pg_temp.run({finished} / 3 + i)
cross join lateral (
  select case
    when i % 2 = 0 and i / 2 <= {future} then now() + interval '1 day' + i * interval '1 second'
    when i % 17 = 0 then now() - interval '1 minute' end as visible_at
) x;
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
        f"select * from pgflow.fail_tasks({_KEYS}, array_fill('{{\"message\": \"x\"}}'::jsonb, array[10]))",
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
    Call("promote 10 due", nothing, "select pgflow.promote_due_tasks(10)"),
    Call("promote, none due", long_ago, "select pgflow.promote_due_tasks()"),
    Call("recover, none lost", long_ago, "select pgflow.recover_tasks()"),
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
    """Buffers of each call; the first time is not counted, for it plans the statements."""
    figures = {}
    for call in calls:
        buffers(conn, call)
        figures[call.name] = min(buffers(conn, call) for _ in range(2))
    return figures


def prepare(conn: "psycopg.Connection[Any]") -> None:
    """A nearly empty database: a flow, a worker, sixty runs, ten tasks of a worker that is gone."""
    conn.execute(_FLOW)
    for worker in (WORKER, LOST):
        conn.execute(
            "select pgflow.register_worker(%s, array['work'], array['shape'], lease_seconds => 100000)", (worker,)
        )
    conn.execute(_START.format(count=60).encode())
    conn.execute("select pgflow.claim_tasks(%s, %s)", (LOST, BATCH))
    conn.execute("select pgflow.mark_worker_stopped(%s)", (LOST,))


def fill(conn: "psycopg.Connection[Any]", size: Size) -> None:
    """The history and the backlog, in a few statements."""
    lane = conn.execute("select lane_id from pgflow.lanes").fetchone()
    assert lane is not None
    values = {"due": size.due, "finished": size.finished, "future": size.future, "worker": WORKER, "lane": lane[0]}
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
    statement = sql.SQL(
        """
        with done as (
          select coalesce(array_agg(run_id), '{{}}') as run_ids, array_agg(step_slug) as step_slugs,
            array_agg(task_index) as task_indexes, array_agg(fence) as fences, array_agg('"done"'::jsonb) as outputs
          from pgflow.step_tasks where last_worker_id = {worker} and status = 'started'
        )
        select c.run_id from done, pgflow.complete_and_claim_tasks(
          {worker}, {batch}, done.run_ids, done.step_slugs, done.task_indexes, done.fences, done.outputs) c
        """
    ).format(worker=sql.Literal(WORKER), batch=sql.Literal(batch))
    for _ in range(tasks // batch):
        assert conn.execute(statement).rowcount == batch


def latencies(conn: "psycopg.Connection[Any]", claims: int = 300) -> tuple[float, float]:
    """Milliseconds of a committed claim of ten: median and 95th percentile."""
    seconds = []
    for _ in range(claims):
        begin = time.perf_counter()
        rows = conn.execute("select * from pgflow.claim_tasks(%s, %s)", (WORKER, BATCH)).rowcount
        seconds.append(time.perf_counter() - begin)
        assert rows == BATCH
    return statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[-1] * 1000
