"""Handlers that compute: in threads, which share one interpreter, against child processes, which do not.

    python -m bench.cpu [--elements N] [--loops N] [--processes N] [--rounds N] [--database-url URL]

Each round runs the same map once with executor="thread" and once with executor="process", each time by a worker that is there
already, and the same loops in as many bare processes, without any worker: what the machine gives at that moment.
"""

import argparse
import asyncio
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Literal

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel

from bench.server import own_server
from flowdsl import Flow, collect
from flowdsl.client import Client
from flowdsl.compiler.diff import diff
from flowdsl.core.manifest import install_sql
from flowdsl.runtime.pool import default_size
from flowdsl.runtime.worker import Worker


class Piece(BaseModel):
    """A piece of work: so many turns of a loop."""

    number: int
    loops: int


def compute(piece: Piece) -> int:
    """Keep a processor busy in Python's own code."""
    total = 0
    for turn in range(piece.loops):
        total += turn * turn % 7
    return total


async def count(totals: list[int]) -> int:
    """Take in all results."""
    return len(totals)


computing = Flow("computing", list[Piece], timeout=600).map(compute).step(count, collect(compute)).returns(count)


@contextmanager
def database(url: str) -> Iterator[str]:
    """Make a database with the flow, and drop it at the end."""
    name = f"pgflow_bench_cpu_{time.time_ns()}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            made = make_conninfo(url, dbname=name)
            with psycopg.connect(made, autocommit=True) as inside:
                inside.execute(install_sql().encode())
                change = diff((), computing.shape())
                for operation in change.operations if change is not None else ():
                    inside.execute(operation.sql().encode())
            yield made
        finally:
            conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def by_worker(url: str, pieces: list[Piece], executor: Literal["thread", "process"], processes: int) -> float:
    """Return how many pieces a second a worker does."""
    worker = Worker([computing], url, executor=executor, processes=processes, concurrency=50, batch=25)
    async with asyncio.TaskGroup() as group, Client(url) as client:
        group.create_task(worker.run(stop_signals=False))
        # Twice as many as there are children, so that each is there before the clock runs.
        await (await client.start(computing, pieces[: 2 * processes])).result(600)
        began = time.perf_counter()
        await (await client.start(computing, pieces)).result(600)
        seconds = time.perf_counter() - began
        worker.stop()
    return len(pieces) / seconds


def bare(pieces: list[Piece], processes: int) -> float:
    """Return how many pieces a second bare processes do."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(compute, pieces[: 4 * processes]))
        began = time.perf_counter()
        list(pool.map(compute, pieces, chunksize=max(len(pieces) // (8 * processes), 1)))
        return len(pieces) / (time.perf_counter() - began)


def measure(url: str, options: argparse.Namespace) -> None:
    """Measure in alternating rounds, and print medians, least and most, and the ratio of each round."""
    pieces = [Piece(number=number, loops=options.loops) for number in range(options.elements)]
    found: dict[str, list[float]] = {"one bare process": [], "bare processes": [], "thread": [], "process": []}
    for turn in range(options.rounds):
        found["one bare process"].append(bare(pieces, 1))
        found["bare processes"].append(bare(pieces, options.processes))
        for executor in ("thread", "process") if turn % 2 == 0 else ("process", "thread"):
            with database(url) as made:
                rate = asyncio.run(by_worker(made, pieces, executor, options.processes))
            found[executor].append(rate)
        print(f"round {turn + 1}: " + ", ".join(f"{name} {rates[-1]:,.0f}/s" for name, rates in found.items()))
    for name, rates in found.items():
        print(f"{name:>16}: {statistics.median(rates):8,.1f} pieces/s ({min(rates):,.1f} to {max(rates):,.1f})")
    for label, many, one in (
        ("process / thread", "process", "thread"),
        (f"{options.processes} bare / 1", "bare processes", "one bare process"),
    ):
        ratios = [a / b for a, b in zip(found[many], found[one], strict=True)]
        print(f"{label}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """Parse the arguments, start a server if none is given, measure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server is not to stay behind
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=200)
    parser.add_argument("--loops", type=int, default=200_000, help="turns of the loop for each element")
    parser.add_argument("--processes", type=int, default=default_size())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database-url")
    options = parser.parse_args()
    if options.database_url:
        measure(options.database_url, options)
    else:
        with own_server() as url:
            measure(url, options)


if __name__ == "__main__":
    main()
