"""What a fleet does: steps a second with 2, 4 and 8 workers, of which one is cut off and comes back; few large or many small.

    python -m bench.fleet [--workers N …] [--sizes] [--pooler N] [--seconds S] [--repeat K] [--json]

Each worker is a process in a network namespace of its own (root is needed, and Linux), the server in another one; a three-step
flow of no-op handlers, all runs started beforehand. The time is the database's. One worker's cable is cut for longer than its
lease, and mended: the rates before, meanwhile and afterwards, when its first result is taken again, and how many executions
were in vain. `--sizes` leaves the cables alone and compares fleets of equal concurrency: one worker with large batches, up
to eight with small ones. `--pooler N` leads through PgBouncer in transaction mode, which has N connections to the server.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from pydantic import BaseModel

from bench.server import SETTINGS
from flowdsl import Flow
from flowdsl.client import Client
from flowdsl.compiler.diff import diff
from flowdsl.compiler.migration import upgrade_statements
from flowdsl.core.manifest import install_sql
from flowdsl.postgres import PostgresServer, bundled_programs, reachable_programs, server_account
from flowdsl.runtime.worker import Worker
from tests.networks import Network, network, why_no_network
from tests.poolers import PORT, pgbouncer

FLEETS = (2, 4, 8)
SIZES = ((1, 200, 100), (2, 100, 50), (4, 50, 25), (8, 25, 12))
"""Workers, concurrency and batch of each."""
LEASE_SECONDS = 3
STEPS_PER_SECOND_MAX = 12_000
"""So many are queued for each second that is measured."""


class Item(BaseModel):
    """About 100 bytes of JSON."""

    number: int
    text: str = "x" * 80


class Executed:
    """What this process has executed."""

    count = 0


async def first(item: Item) -> Item:
    """Count."""
    Executed.count += 1
    return item


async def second(item: Item) -> Item:
    """Count."""
    Executed.count += 1
    return item


async def third(item: Item) -> Item:
    """Count."""
    Executed.count += 1
    return item


linear = Flow("fleet", Item).step(first).step(second, first).step(third, second).returns(third)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Rates are steps per second of the whole fleet; `back_after` seconds from the mending to the first result taken.

    `commits` and the microseconds of processor time are per step, before the cut: they depend on the machine's load less than
    rates do.
    """

    workers: int
    concurrency: int
    batch: int
    before: float
    meanwhile: float | None = None
    afterwards: float | None = None
    back_after: float | None = None
    commits: float
    server_us: float
    workers_us: float
    completed: int
    executed: int
    leases_lost: int

    @property
    def in_vain(self) -> int:
        """Executions whose result was not taken."""
        return self.executed - self.completed


@contextlib.contextmanager
def server(made: Network) -> Iterator[PostgresServer]:
    """A server in the network's hub; from outside it is reached by its socket."""
    directory = Path(tempfile.mkdtemp(prefix="pgflow-bench-"))
    directory.chmod(0o755)  # the server may run under another account
    account = server_account()
    own = PostgresServer(
        programs=reachable_programs(bundled_programs(18), account, directory / "programs"),
        data=directory / "data",
        sockets=directory / "socket",
        account=account,
        settings={**SETTINGS, "listen_addresses": made.address},
    )
    try:
        own.create()
        with (own.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        with made.hub.entered():
            own.start()
        yield own
    finally:
        own.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


async def start_runs(url: str, runs: int) -> None:
    """Start so many runs; they show all at once."""
    async with Client(url) as client:
        await client.start_many(linear, [Item(number=n) for n in range(runs)])


def now(conn: "psycopg.Connection[Any]") -> float:
    """The database's time."""
    row = conn.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    return float(row[0]) if row else 0.0


def rate(conn: "psycopg.Connection[Any]", begin: float, end: float) -> float:
    """Steps a second that were completed between two moments."""
    row = conn.execute(
        "select count(*) from pgflow.step_tasks where completed_at >= to_timestamp(%s) and completed_at < to_timestamp(%s)",
        (begin, end),
    ).fetchone()
    return (row[0] if row else 0) / (end - begin)


def first_result(conn: "psycopg.Connection[Any]", name: str, since: float) -> float | None:
    """Seconds from a moment to the next result of a worker that was taken."""
    row = conn.execute(
        "select extract(epoch from min(t.completed_at))::float8 - %(since)s from pgflow.step_tasks t"
        " join pgflow.workers w on w.worker_id = t.last_worker_id"
        " where w.function_name = %(name)s and t.completed_at >= to_timestamp(%(since)s)",
        {"name": name, "since": since},
    ).fetchone()
    return row[0] if row else None


class Meter:
    """Commits and processor time from now on, of the server with all of its processes, and of the workers."""

    def __init__(self, conn: "psycopg.Connection[Any]", own: PostgresServer, workers: list[int]) -> None:
        self._conn = conn
        self._server = own.pid() or 0
        self._workers = workers
        self._before = self._read()

    def per(self, steps: float) -> tuple[float, float, float]:
        """Return what was used since: commits, microseconds of the server and of the workers, per step."""
        commits, server, workers = (after - before for after, before in zip(self._read(), self._before, strict=True))
        return commits / steps, server / steps * 1e6, workers / steps * 1e6

    def _read(self) -> tuple[float, float, float]:
        self._conn.execute("select pg_stat_clear_snapshot()")
        row = self._conn.execute("select sum(xact_commit)::float8 from pg_stat_database").fetchone()
        return row[0] if row else 0.0, family_seconds(self._server), sum(map(family_seconds, self._workers))


def family_seconds(pid: int) -> float:
    """Processor time that a process and its living children have used."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if pid in (int(entry.name), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(workers: int, concurrency: int, batch: int, seconds: float, *, cut: bool, pooler: int | None) -> Outcome:
    """Measure a fleet on a server of its own, behind a pooler of so many connections if a number is given."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(network(workers))
        own = stack.enter_context(server(made))
        conn = stack.enter_context(psycopg.connect(own.url(), autocommit=True))
        conn.execute(install_sql().encode())
        change = diff((), linear.shape())
        conn.execute("\n".join(upgrade_statements([change] if change else [])).encode())
        asyncio.run(start_runs(own.url(), int(seconds * (3 if cut else 1) * STEPS_PER_SECOND_MAX / 3)))
        conn.execute("vacuum analyze")
        url = f"postgresql://postgres@{made.address}/postgres"
        if pooler is not None:
            url = f"postgresql://postgres@{made.address}:{PORT}/postgres"
            with made.hub.entered():
                stack.enter_context(pgbouncer(own.sockets, "transaction", pooler, listen_addr=made.address))
        processes = []
        for number, spoke in enumerate(made.spokes, 1):
            command = [sys.executable, "-m", "bench.fleet", "--serve", url, f"w{number}", str(concurrency), str(batch)]
            with spoke.namespace.entered():
                process = subprocess.Popen(command, stdout=subprocess.PIPE)
            stack.callback(process.kill)
            processes.append(process)
        until_all_work(conn, workers)

        meter = Meter(conn, own, [process.pid for process in processes])
        marks = [now(conn)]
        time.sleep(seconds)
        marks.append(now(conn))
        costs = meter.per(rate(conn, marks[0], marks[1]) * (marks[1] - marks[0]))
        if cut:
            for act in (made.spokes[0].cut, made.spokes[0].mend):
                act()
                marks.append(now(conn))
                time.sleep(seconds)
            marks.append(now(conn))
        for process in processes:
            process.terminate()
        executed = sum(int(process.communicate(timeout=60)[0]) for process in processes)
        return outcome(conn, marks, (workers, concurrency, batch), costs, executed)


def outcome(
    conn: "psycopg.Connection[Any]",
    marks: list[float],
    size: tuple[int, int, int],
    costs: tuple[float, float, float],
    executed: int,
) -> Outcome:
    """Put what was measured together. `marks`: begin, end; or begin, end, cut, mended, end."""
    counted = conn.execute(
        "select (select count(*) from pgflow.step_tasks where status = 'completed'),"
        " (select count(*) from pgflow.task_attempts where outcome = 'lost')"
    ).fetchone()
    if (
        counted is None
        or conn.execute("select from pgflow.step_tasks where status = 'queued' limit 1").fetchone() is None
    ):
        raise RuntimeError("the fleet ran out of work: raise STEPS_PER_SECOND_MAX")
    cut = len(marks) > 2
    return Outcome(
        workers=size[0],
        concurrency=size[1],
        batch=size[2],
        before=rate(conn, marks[0], marks[1]),
        meanwhile=rate(conn, marks[2], marks[3]) if cut else None,
        afterwards=rate(conn, marks[3], marks[4]) if cut else None,
        back_after=first_result(conn, "w1", marks[3]) if cut else None,
        commits=costs[0],
        server_us=costs[1],
        workers_us=costs[2],
        completed=counted[0],
        executed=executed,
        leases_lost=counted[1],
    )


def until_all_work(conn: "psycopg.Connection[Any]", workers: int) -> None:
    """Wait until each worker has completed something."""
    deadline = time.monotonic() + 60
    while True:
        row = conn.execute(
            "select count(*) from pgflow.workers w where exists (select from pgflow.step_tasks t"
            " where t.last_worker_id = w.worker_id and t.status = 'completed')"
        ).fetchone()
        if row and row[0] == workers:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{row and row[0]} of {workers} workers came to work")
        time.sleep(0.1)


def serve(url: str, name: str, concurrency: int, batch: int) -> None:
    """Be a worker; print how many handlers were called."""
    worker = Worker([linear], url, name=name, concurrency=concurrency, batch=batch, lease_seconds=LEASE_SECONDS)
    asyncio.run(worker.run())
    print(Executed.count)


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description="Steps per second of a fleet in network namespaces.")
    parser.add_argument("--workers", type=int, nargs="+", default=FLEETS)
    parser.add_argument("--sizes", action="store_true", help="compare fleets of equal concurrency")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each phase; longer than the lease of 3")
    parser.add_argument("--pooler", type=int, metavar="N", help="lead through PgBouncer with N connections")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=4, metavar=("URL", "NAME", "CONCURRENCY", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        url, name, concurrency, batch = options.serve
        serve(url, name, int(concurrency), int(batch))
        return
    if (reason := why_no_network()) is not None:
        sys.exit(reason)
    # Namespaces and servers outlive us unless we remove them; a shell's background job ignores Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(130))
    fleets = SIZES if options.sizes else tuple((workers, 100, 50) for workers in options.workers)
    cut = not options.sizes and options.pooler is None
    measured: dict[tuple[int, int, int], list[Outcome]] = {fleet: [] for fleet in fleets}
    for _ in range(options.repeat):
        for fleet, outcomes in measured.items():
            outcomes.append(measure(*fleet, seconds=options.seconds, cut=cut, pooler=options.pooler))
            if options.json:
                print(json.dumps({**asdict(outcomes[-1]), "in_vain": outcomes[-1].in_vain}), flush=True)
    if not options.json:
        for outcomes in measured.values():
            print(line(outcomes))


def line(outcomes: list[Outcome]) -> str:
    """Describe what came out for one fleet: medians, and sums of what is counted."""

    def median(field: str) -> float:
        return statistics.median(float(getattr(outcome, field)) for outcome in outcomes)

    one = outcomes[0]
    words = [f"{one.workers} workers of {one.concurrency}/{one.batch}: {median('before'):,.0f}"]
    if one.meanwhile is not None:
        words.append(f"-> {median('meanwhile'):,.0f} -> {median('afterwards'):,.0f}")
    words.append("steps/s;")
    if all(outcome.back_after is not None for outcome in outcomes) and one.back_after is not None:
        words.append(f"back after {median('back_after'):.1f} s;")
    words.append(
        f"per step {median('commits'):.3f} commits, {median('server_us'):.0f} µs of the server and"
        f" {median('workers_us'):.0f} µs of the workers;"
    )
    counted = ("completed", "in_vain", "leases_lost")
    completed, in_vain, lost = (sum(getattr(outcome, field) for outcome in outcomes) for field in counted)
    return " ".join([*words, f"{completed:,} completed, {in_vain} executed in vain, {lost} leases lost"])


if __name__ == "__main__":
    main()
