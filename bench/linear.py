"""How many steps a second one worker process works off: a flow of three no-op steps, all runs started beforehand.

    python -m bench.linear [--runs N] [--repeat K] [--database-url URL]

Without a URL it starts a PostgreSQL 18 server of its own, with fsync and synchronous_commit on as they are by default.
The time is the database's: from the first claim to the last completion. For comparison the same runs are worked off
without handlers, by a loop that hands each claimed batch straight back: what the SQL core allows on one connection.
"""

import argparse
import asyncio
import contextlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from pydantic import BaseModel

from flowdsl import Flow
from flowdsl.client import Client
from flowdsl.compiler.diff import diff
from flowdsl.compiler.migration import upgrade_statements
from flowdsl.core.manifest import install_sql
from flowdsl.gateway import calls
from flowdsl.gateway.rows import Completed
from flowdsl.postgres import PostgresServer, bundled_programs, reachable_programs, server_account
from flowdsl.runtime.worker import Worker

SETTINGS = ((1, 1), (10, 10), (100, 50), (200, 100))
"""Pairs of concurrency and batch."""


class Item(BaseModel):
    """About 100 bytes of JSON."""

    number: int
    text: str = "x" * 80


async def first(item: Item) -> Item:
    """Do nothing."""
    return item


async def second(item: Item) -> Item:
    """Do nothing."""
    return item


async def third(item: Item) -> Item:
    """Do nothing."""
    return item


linear = Flow("linear", Item).step(first).step(second, first).step(third, second).returns(third)


def compiled_sql() -> str:
    """The SQL that defines the flow, as in the migration that `pgflow compile` writes."""
    change = diff((), linear.shape())
    return "\n".join(upgrade_statements([change])) if change else ""


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    """The URL of an empty database."""
    if url is not None:
        yield url
        return
    directory = Path(tempfile.mkdtemp(prefix="pgflow-bench-"))
    directory.chmod(0o755)  # the server may run under another account
    account = server_account()
    own = PostgresServer(
        programs=reachable_programs(bundled_programs(18), account, directory / "programs"),
        data=directory / "data",
        sockets=directory / "socket",
        account=account,
    )
    try:
        own.create()
        own.start()
        yield own.url()
    finally:
        own.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def empty(conn: "psycopg.Connection[Any]") -> None:
    """Back to a database without runs, vacuumed."""
    conn.execute("truncate pgflow.runs, pgflow.step_states, pgflow.step_tasks, pgflow.task_attempts")
    conn.execute("update pgflow.lanes set claim_floor = 0, next_floor = null, next_floor_xid = null")
    conn.execute("vacuum analyze")
    conn.execute("checkpoint")


async def start_runs(url: str, runs: int) -> float:
    """Start the runs in batches; returns runs per second."""
    begin = asyncio.get_running_loop().time()
    async with Client(url) as client:
        await client.start_many(linear, [Item(number=n) for n in range(runs)])
    return runs / (asyncio.get_running_loop().time() - begin)


def elapsed(conn: "psycopg.Connection[Any]", runs: int) -> float | None:
    """Seconds from the first claim to the last completion; None while runs are open."""
    row = conn.execute(
        "select count(*), extract(epoch from max(completed_at))::float from pgflow.runs where status = 'completed'"
    ).fetchone()
    begin = conn.execute("select extract(epoch from min(started_at))::float from pgflow.step_tasks").fetchone()
    if row is None or begin is None or row[0] < runs:
        return None
    return float(row[1]) - float(begin[0])


def until_done(url: str, runs: int) -> float:
    """Wait for the runs to complete, asking seldom enough not to disturb; returns the seconds they took."""
    with psycopg.connect(url, autocommit=True) as conn:
        while (seconds := elapsed(conn, runs)) is None:
            time.sleep(0.25)
    return seconds


def work_off(url: str, runs: int, concurrency: int, batch: int) -> float:
    """Work the runs off with a worker in a process of its own; returns steps per second."""
    command = [sys.executable, "-m", "bench.linear", "--serve", url, str(concurrency), str(batch)]
    with subprocess.Popen(command) as process:
        try:
            return 3 * runs / until_done(url, runs)
        finally:
            process.terminate()


async def drive(url: str, runs: int, batch: int) -> float:
    """Work the runs off without handlers; returns steps per second."""
    output = Item(number=1).model_dump_json().encode()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        worker_id = uuid.uuid4()
        await calls.register_worker(conn, worker_id, [(linear.slug, linear.shape().fingerprint)], None, "driver", 3600)
        done: list[Completed] = []
        while True:
            tasks, _ = await calls.complete_and_claim_tasks(conn, worker_id, batch, done)
            done = [Completed(task.ref, output) for task in tasks]
            if not tasks:
                break
    return 3 * runs / until_done(url, runs)


def summary(values: list[float]) -> str:
    """Median with the extremes."""
    return f"{statistics.median(values):8,.0f}  ({min(values):,.0f}-{max(values):,.0f})"


def measure(url: str, runs: int, repeat: int) -> None:
    """Measure all settings and print them."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(install_sql().encode())
        conn.execute(compiled_sql().encode())
        version = conn.execute("select current_setting('server_version')").fetchone()
        print(f"PostgreSQL {version and version[0]}, Python {platform.python_version()}, {platform.machine()}")
        print(f"3-step flow, {runs:,} runs started first, median (min-max) of {repeat}\n")
        print("concurrency  batch   steps/s, one worker       steps/s, no handlers")
        starts: list[float] = []
        for concurrency, batch in SETTINGS:
            count = max(runs // 10, 1) if batch == 1 else runs
            worked, driven = [], []
            for _ in range(repeat):
                empty(conn)
                starts.append(asyncio.run(start_runs(url, count)))
                worked.append(work_off(url, count, concurrency, batch))
                empty(conn)
                asyncio.run(start_runs(url, count))
                driven.append(asyncio.run(drive(url, count, batch)))
            print(f"{concurrency:11}  {batch:5}   {summary(worked):24}  {summary(driven)}", flush=True)
        print(f"\nstart_many: {statistics.median(starts):,.0f} runs/s")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description="Steps per second of one worker process.")
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--database-url", help="an empty database; the core is installed into it")
    parser.add_argument("--serve", nargs=3, metavar=("URL", "CONCURRENCY", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        url, concurrency, batch = options.serve
        asyncio.run(Worker([linear], url, concurrency=int(concurrency), batch=int(batch)).run())
        return
    with server(options.database_url) as url:
        measure(url, options.runs, options.repeat)


if __name__ == "__main__":
    main()
