"""A worker in a process of its own, for tests that kill, stop and signal it.

    python -m tests.integration.worker_app DSN DIRECTORY OPTIONS-AS-JSON

Handlers talk to the test through files in the directory: what they did stands in `journal`, one line each; they wait
until the test creates the files they need. The log goes to standard output.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.runtime.worker import Worker

DIRECTORY = Path(os.environ.get("WORKER_APP_DIRECTORY", "."))


def note(*words: object) -> None:
    """Add a line to the journal, whole even when several processes write."""
    with (DIRECTORY / "journal").open("ab", buffering=0) as journal:
        journal.write((" ".join(map(str, words)) + "\n").encode())


def journal(directory: Path) -> list[str]:
    """Return the journal's lines."""
    path = directory / "journal"
    return path.read_text().splitlines() if path.exists() else []


async def work(gate: str) -> str:
    """Wait for the file named by the element (none when empty), then finish."""
    note("begin", gate)
    while gate and not (DIRECTORY / gate).exists():  # noqa: ASYNC110 - the file is made by another process
        await asyncio.sleep(0.01)
    note("end", gate)
    return gate


gates = Flow("gates", list[str], timeout=600).map(work).returns(collect(work))


async def count(number: int, context: Context) -> int:
    """From 20 on, wait for the file `go`."""
    while number >= 20 and not (DIRECTORY / "go").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    note("count", number, context.attempt)
    return number


def report(numbers: list[int]) -> dict[int, int]:
    return {number: numbers.count(number) for number in numbers}


counting = Flow("counting", list[int], timeout=600).map(count).step(report, collect(count)).returns(report)


async def block(seconds: float) -> float:
    """Keep the event loop busy, as no handler should."""
    note("blocking")
    time.sleep(seconds)  # noqa: ASYNC251 - the point of it
    note("blocked")
    return seconds


blocking = Flow("blocking", float).step(block).returns(block)


async def hold(gate: str) -> str:
    """Wait as `work` does, but without letting the event loop do anything else."""
    note("begin", gate)
    while not (DIRECTORY / gate).exists():
        time.sleep(0.01)  # noqa: ASYNC251 - the point of it
    return gate


holding = Flow("holding", str, timeout=600).step(hold).returns(hold)

FLOWS: list[Flow[Any, Any]] = [gates, counting, blocking, holding]


class WorkerProcess:
    """The app as a child process."""

    def __init__(self, dsn: str, directory: Path, **options: Any) -> None:
        self.log = directory / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.worker_app", dsn, json.dumps(options)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "WORKER_APP_DIRECTORY": str(directory)},
                cwd=Path(__file__).parents[2],
            )

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(30)

    def said(self, text: str) -> Callable[[], bool]:
        """A condition: the log contains the text."""
        return lambda: text in self.log.read_text()


def main(dsn: str, options: str) -> None:
    """Run the worker until a signal ends it."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
    asyncio.run(Worker(FLOWS, dsn, **json.loads(options)).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
