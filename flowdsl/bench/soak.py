"""W7: twenty minutes at half of the rate that was measured just before: does memory stay, do tables stay, does latency stay?

Runs are started at a fixed pace, whether or not earlier ones have ended. Autovacuum is as it comes with our tables' settings, and
the worker deletes runs some minutes after their end, so the tables have a size to come to. Once a second one run more is
started, as a user would, and its result awaited: that is the latency.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from flowdsl.bench import flows
from flowdsl.bench.figures import percentile
from flowdsl.bench.linear import RUNS
from flowdsl.bench.processes import Child, go, server_bytes, waiting, working
from flowdsl.bench.progress import until_completed
from flowdsl.bench.stage import connect
from flowdsl.bench.starting import items, start_many
from flowdsl.bench.tables import tables
from flowdsl.bench.workload import Bench, Workload, sizes
from flowdsl.client import Client

SECONDS = sizes(tiny=4, quick=10, full=1_200)
RETENTION = sizes(tiny=1, quick=3, full=180)
LOAD = 0.5
"""Of the rate measured just before."""

_TICK_SECONDS = 0.02
_PROBE_SECONDS = 1.0
_LOOKS = 240
_LOOK_SECONDS_MIN = 1.0
_ROWS = 10
_TIMEOUT_SECONDS = 60.0
_STEPS = 3
_MEGABYTE = 1_000_000
_MS = 1000
_BACKENDS = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at a moment, seconds after the begin. Bytes; `server` is None when it is another machine's."""

    at: float
    worker: float | None
    server: float | None
    size: int
    live: int
    dead: int


@dataclass(slots=True)
class Record:
    """What was seen in the course of it."""

    looks: list[Look] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    started: int = 0


def measure(bench: Bench) -> None:
    """Soak once."""
    rate = _full_rate(bench)
    seconds = bench.soak_seconds or bench.size(SECONDS)
    pace = rate * LOAD / _STEPS
    bench.say(f"{seconds:.0f} s at {pace:,.0f} runs/s")
    retention = {"retention_seconds": bench.size(RETENTION)}
    with bench.stage.database() as url, working("worker", url, flows.linear.slug, **retention) as (child,):
        record = asyncio.run(_soak(url, child, pace, seconds))
    _report(bench, record, rate, seconds)


def _full_rate(bench: Bench) -> float:
    bench.say("the rate without a limit")
    runs = bench.size(RUNS)
    with bench.stage.database() as url, waiting("worker", url, flows.linear.slug) as children:
        asyncio.run(start_many(url, flows.linear, items(runs)))
        go(children)
        return until_completed(url, runs, children).rate


async def _soak(url: str, child: Child, pace: float, seconds: float) -> Record:
    record = Record()
    async with Client(url) as client, asyncio.timeout(seconds + _TIMEOUT_SECONDS), asyncio.TaskGroup() as group:
        # The worker is up once it has done one.
        await (await client.start(flows.linear, flows.Item(number=0))).result(_TIMEOUT_SECONDS)
        end = time.monotonic() + seconds
        group.create_task(_start(client, record, pace, end))
        group.create_task(_probe(client, record, end))
        group.create_task(asyncio.to_thread(_look, url, child, record, seconds))
    return record


async def _start(client: Client, record: Record, pace: float, end: float) -> None:
    began = time.monotonic()
    while (now := time.monotonic()) < end:
        due = round((now - began) * pace) - record.started
        if due > 0:
            await client.start_many(flows.linear, items(due))
            record.started += due
        await asyncio.sleep(_TICK_SECONDS)


async def _probe(client: Client, record: Record, end: float) -> None:
    while time.monotonic() < end:
        began = time.perf_counter()
        await (await client.start(flows.linear, flows.Item(number=0))).result(_TIMEOUT_SECONDS)
        record.latencies.append(time.perf_counter() - began)
        await asyncio.sleep(_PROBE_SECONDS)


def _look(url: str, child: Child, record: Record, seconds: float) -> None:
    began = time.monotonic()
    pause = min(max(seconds / _LOOKS, _LOOK_SECONDS_MIN), seconds / _ROWS)
    with connect(url) as conn:
        while (at := time.monotonic() - began) < seconds:
            child.check()
            found = tables(conn).values()
            backends = [server_bytes(pid) for (pid,) in psycopg.Cursor(conn).execute(_BACKENDS)]
            known = [size for size in backends if size is not None]
            record.looks.append(
                Look(
                    at=at,
                    worker=child.resident_bytes(),
                    server=sum(known) if known else None,
                    size=sum(table.size for table in found),
                    live=sum(table.live for table in found),
                    dead=sum(table.dead for table in found),
                )
            )
            time.sleep(pause)


def _report(bench: Bench, record: Record, rate: float, seconds: float) -> None:
    samples, looks = bench.samples, record.looks
    samples.add("full_rate", "rate without a limit, just before", "steps/s", rate)
    samples.add("pace", "runs started a second", "runs/s", record.started / seconds)
    samples.add("started", "runs started", "runs", record.started)
    for key, label, found in (
        ("worker", "worker's memory", [look.worker for look in looks]),
        ("server", "memory of the server's processes for it, without shared buffers", [look.server for look in looks]),
    ):
        known = [size / _MEGABYTE for size in found if size is not None]
        if known:
            first, _, last = thirds(known)
            samples.add(f"{key}_first", f"{label}, median of the first third", "MB", first)
            samples.add(f"{key}_last", f"{label}, median of the last third", "MB", last)
    sizes_seen = [look.size / _MEGABYTE for look in looks]
    third = max(1, len(sizes_seen) // 3)
    samples.add(
        "size_middle",
        "largest size of the tables in the middle third",
        "MB",
        max(sizes_seen[third:-third] or sizes_seen),
    )
    samples.add("size_last", "largest size of the tables in the last third", "MB", max(sizes_seen[-third:]))
    samples.add(
        "dead_share", "most dead rows at a time, of all rows", "%", 100 * max(_dead_share(look) for look in looks)
    )
    samples.add("p50_ms", "start to result, p50", "ms", percentile(record.latencies, 0.5) * _MS)
    samples.add("p99_ms", "start to result, p99", "ms", percentile(record.latencies, 0.99) * _MS)
    samples.add("max_ms", "start to result, longest", "ms", max(record.latencies) * _MS)
    samples.note(f"It took {seconds:,.0f} s; ended runs are deleted after {bench.size(RETENTION)} s.")
    for look in itertools.islice(looks, 0, None, max(1, len(looks) // _ROWS)):
        at = f"after {look.at:,.0f} s"
        samples.row("Size of the tables over time, MB", at, look.size / _MEGABYTE)
        samples.row("Dead rows over time", at, look.dead)
        if look.worker is not None:
            samples.row("Worker's memory over time, MB", at, look.worker / _MEGABYTE)


def thirds(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of the first, the middle and the last third; the first tenth, a warm-up, does not count.

    >>> thirds([99, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    (1, 2, 3)
    """
    warm = values[len(values) // 10 :]
    third = max(1, len(warm) // 3)
    middle = warm[third:-third] or warm
    return statistics.median(warm[:third]), statistics.median(middle), statistics.median(warm[-third:])


def _dead_share(look: Look) -> float:
    return look.dead / (look.dead + look.live) if look.dead else 0.0


WORKLOAD = Workload(
    key="W7",
    title="soak",
    description="W1 at half of its rate for twenty minutes, with retention and default autovacuum.",
    measure=measure,
    once=True,
)
