"""W4: what a step costs the server, counted, not timed: statements, WAL, rows, dead rows, size.

Starts and steps are counted apart. The worker has been through a warm-up, and the counters are read when it has gone, for
PostgreSQL's are complete only then.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from flowdsl.bench import flows
from flowdsl.bench.processes import working
from flowdsl.bench.progress import one, until_completed
from flowdsl.bench.relay import Relay
from flowdsl.bench.stage import Connection, connect
from flowdsl.bench.starting import items, start_many
from flowdsl.bench.tables import Table, grown, tables
from flowdsl.bench.workload import Bench, Workload, sizes

RUNS = sizes(tiny=4, quick=1_000, full=4_000)
WARM_UP = sizes(tiny=1, quick=200, full=500)
_STEPS = 3
_OPTIONS = {"batch": 50, "concurrency": 100}
_WAL = "select pg_current_wal_insert_lsn() - '0/0'"
_PAGES = "select wal_fpi from pg_stat_wal"


def measure(bench: Bench) -> None:
    """Count once."""
    runs = bench.size(RUNS)
    bench.say(f"counting {_STEPS * runs:,} steps")
    with bench.stage.database() as url:
        _work_off(url, url, bench.size(WARM_UP), 0)
        with connect(url) as conn:
            begin, wal = tables(conn), _wal(conn)
            asyncio.run(start_many(url, flows.linear, items(runs)))
            bench.samples.add("wal_bytes_per_start", "WAL per start", "bytes", (_wal(conn) - wal) / runs)
            started, wal, pages = tables(conn), _wal(conn), _full_pages(conn)
            with _relay(bench, url, _STEPS * runs) as through:
                _work_off(url, through, 0, bench.size(WARM_UP) + runs)
            steps = _STEPS * runs
            bench.samples.add("wal_bytes_per_step", "WAL per step", "bytes", (_wal(conn) - wal) / steps)
            bench.samples.add(
                "full_pages_per_step", "whole pages in the WAL, per step", "pages", (_full_pages(conn) - pages) / steps
            )
            ended = tables(conn)
    _rows(bench, grown(started, ended), steps)
    size = sum(table.size for table in grown(begin, ended))
    bench.samples.add("size_per_run", "database size per run, with indexes", "bytes", size / runs)


def _work_off(url: str, through: str, to_start: int, completed: int) -> None:
    if to_start:
        asyncio.run(start_many(url, flows.linear, items(to_start)))
    with working("worker", through, flows.linear.slug, **_OPTIONS) as children:
        until_completed(url, completed or to_start, children)


@contextmanager
def _relay(bench: Bench, url: str, steps: int) -> Iterator[str]:
    """Count what is sent over connections to the yielded URL; where the server takes none like that, count nothing."""
    with Relay(url) as relay:
        try:
            connect(relay.url).close()
        except psycopg.OperationalError:
            bench.samples.note("Statements were not counted, for the server takes encrypted connections only.")
            yield url
            return
        before, trips = relay.statements, relay.round_trips
        yield relay.url
        samples = bench.samples
        samples.add(
            "statements_per_step", "client statements per step", "statements", (relay.statements - before) / steps
        )
        samples.add("round_trips_per_step", "round trips per step", "round trips", (relay.round_trips - trips) / steps)


def _rows(bench: Bench, found: Sequence[Table], steps: int) -> None:
    samples = bench.samples
    written = sum(table.written for table in found)
    updated = sum(table.updated for table in found)
    samples.add("rows_per_step", "rows written per step", "rows", written / steps)
    if updated:
        samples.add("hot_share", "HOT share of updates", "%", 100 * sum(table.hot for table in found) / updated)
    samples.add("dead_per_step", "dead rows left per step", "rows", sum(table.dead for table in found) / steps)
    for table in found:
        name = table.name
        samples.add(f"{name}.rows", f"{name}: rows written per step", "rows", table.written / steps)
        if table.updated:
            samples.add(f"{name}.hot", f"{name}: HOT share of updates", "%", 100 * table.hot / table.updated)


def _wal(conn: Connection) -> int:
    return int(one(conn, _WAL)[0])


def _full_pages(conn: Connection) -> int:
    return int(one(conn, _PAGES)[0])


WORKLOAD = Workload(
    key="W4",
    title="cost of a step",
    description="The three steps of W1 at batch 50, after a warm-up; counted by the server and on the wire.",
    measure=measure,
)
