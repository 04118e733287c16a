"""A long history or a large backlog, made fast: some real runs, and copies of their rows under other run ids.

A million runs take minutes to start and to work off. Their rows are what matters here, and those of copies are the same but
for the ids: run ids as the core makes them, message ids as the queue gives them, the steps of the flow mixed as in a queue
that has been served for a while.
"""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from psycopg import Cursor, sql

from flowdsl.bench import flows
from flowdsl.bench.errors import BenchError
from flowdsl.bench.progress import one
from flowdsl.bench.stage import Connection, connect
from flowdsl.bench.starting import items
from flowdsl.client import Client
from flowdsl.gateway import calls, connections
from flowdsl.gateway.rows import ClaimedTask, Completed

TEMPLATES = 20
"""Real runs of each kind that the others are copied from."""

_STEPS = 3
_LEASE_SECONDS = 3600
# Identities and generated columns are the database's to fill.
_COLUMNS = """
select c.relname, array_agg(a.attname::text order by a.attnum)
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attidentity = '' and a.attgenerated = ''
where c.relnamespace = 'pgflow'::regnamespace and c.relkind = 'r'
  and exists (select from pg_attribute r where r.attrelid = c.oid and r.attname = 'run_id' and not r.attisdropped)
group by c.relname order by c.relname
"""
_COPIES = """
create temporary table copies as
select o.run_id as old, pgflow._new_run_id() as new, row_number() over (order by n, random()) as number
from generate_series(1, %s) n cross join unnest(%s::uuid[]) o(run_id)
"""
# Of each step that waits in the queue, some runs.
_SOME_QUEUED = """
select t.run_id
from pgflow.steps s
cross join lateral (
  select t.run_id from pgflow.step_tasks t where t.status = 'queued' and t.step_slug = s.step_slug limit %s
) t
where s.flow_slug = 'bench_linear'
"""


def complete_runs(url: str, count: int) -> list[uuid.UUID]:
    """Work off some runs of the linear flow, and return their ids."""
    return asyncio.run(_complete_runs(url, count))


def mixed_runs(url: str, count: int) -> list[uuid.UUID]:
    """Bring runs of the linear flow to where its first step waits, so many its second, and so many its third; their ids."""
    return asyncio.run(_mixed_runs(url, count))


def copy_runs(url: str, run_ids: Sequence[uuid.UUID], copies: int) -> None:
    """Copy each of these runs so many times, all the copies of one round after those of the round before."""
    if copies < 1:
        return
    with connect(url) as conn:
        Cursor(conn).execute(_COPIES, (copies, list(run_ids)))
        conn.execute("analyze copies")
        for table, columns in Cursor(conn).execute(_COLUMNS).fetchall():
            conn.execute(_copying(table, columns))


def queue_runs(url: str, count: int) -> None:
    """See to it that so many runs are open and queued, their steps mixed; there may be some already."""
    with connect(url) as conn:
        (there,) = one(conn, "select count(*) from pgflow.runs where status = 'started'")
        queued = [row[0] for row in Cursor(conn).execute(_SOME_QUEUED, (TEMPLATES,))]
    if not queued:
        queued = mixed_runs(url, max(1, min(TEMPLATES, count // _STEPS)))
        there = len(queued)
    copy_runs(url, queued, (count - there) // len(queued))


def settle_statistics(url: str) -> None:
    """Let the planner know the tables as they are now, and autovacuum look after them from now on."""
    with connect(url) as conn:
        _each_table(conn, "alter table pgflow.{} reset (autovacuum_enabled)")
        conn.execute("vacuum analyze")


def freeze_statistics(url: str) -> None:
    """Let the planner know the tables as they are now for ever: autovacuum does not look after them any more."""
    with connect(url) as conn:
        conn.execute("vacuum analyze")
        _each_table(conn, "alter table pgflow.{} set (autovacuum_enabled = off)")


def _each_table(conn: Connection, statement: Any) -> None:
    for (name,) in Cursor(conn).execute("select tablename from pg_tables where schemaname = 'pgflow'").fetchall():
        conn.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _copying(table: str, columns: Sequence[str]) -> sql.Composed:
    # A message id is drawn anew, in the order of the copies, by the column's default.
    taken = [name for name in columns if name != "message_id"]
    values = [sql.SQL("c.new") if name == "run_id" else sql.SQL("t.{}").format(sql.Identifier(name)) for name in taken]
    return sql.SQL(
        "insert into pgflow.{table} ({names}) select {values} from copies c join pgflow.{table} t on t.run_id = c.old"
        " order by c.number"
    ).format(
        table=sql.Identifier(table),
        names=sql.SQL(", ").join(map(sql.Identifier, taken)),
        values=sql.SQL(", ").join(values),
    )


async def _complete_runs(url: str, count: int) -> list[uuid.UUID]:
    ids = await _start(url, count)
    await _pass(url, _STEPS * count)
    return ids


async def _mixed_runs(url: str, count: int) -> list[uuid.UUID]:
    # Claims take the oldest first: the first third moves on, then the second third with it.
    at_third = await _start(url, count)
    await _pass(url, count)
    at_second = await _start(url, count)
    await _pass(url, 2 * count)
    return [*at_third, *at_second, *await _start(url, count)]


async def _start(url: str, count: int) -> list[uuid.UUID]:
    async with Client(url, min_size=1, max_size=1) as client:
        return [run.run_id for run in await client.start_many(flows.linear, items(count))]


async def _pass(url: str, count: int) -> None:
    """Complete so many tasks, the oldest first, and claim no other."""
    output = flows.Item(number=1).model_dump_json().encode()
    worker_id = uuid.uuid4()
    conn = await connections.connect(connections.conninfo(url, "pgflow bench seeding"))
    try:
        served = [(flows.linear.slug, flows.linear.shape().fingerprint)]
        await calls.register_worker(conn, worker_id, served, None, "seeding", _LEASE_SECONDS)
        while count:
            tasks: list[ClaimedTask] = await calls.claim_tasks(conn, worker_id, count)
            if not tasks:
                raise BenchError(f"{count} more tasks were to be claimed, and there are none")
            count -= len(tasks)
            await calls.complete_tasks(conn, [Completed(task.ref, output) for task in tasks])
        await calls.mark_worker_stopped(conn, worker_id)
    finally:
        await connections.close(conn)
