"""A worker of a fleet, in a process of its own, whose every execution is written down.

    python -m tests.integration.fleet_app DSN DIRECTORY NAME

Each call of the handler is a line in the file `executions`: the run, the element, a token that goes into the output, the
worker; each end of a call is one in `endings`. While the file `hold-NAME` exists, the handlers of that worker begin and do
not end; the element GATE waits for the file `go`, unless it was held so when it began.
"""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.runtime.worker import Worker

LEASE_SECONDS = 2
CONCURRENCY = 8
GATE = -1
_HANDLER_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Execution:
    """One call of the handler."""

    run_id: str
    task_index: int
    token: str
    worker: str


class Place:
    """This process's directory and name."""

    directory = Path()
    name = ""


async def touch(number: int, context: Context) -> str:
    """Write the execution down; return its token."""
    token = uuid4().hex
    _note("executions", context, token)
    hold, go = Place.directory / f"hold-{Place.name}", Place.directory / "go"
    gated = number == GATE and not hold.exists()
    await asyncio.sleep(_HANDLER_SECONDS)
    while hold.exists() or (gated and not go.exists()):  # noqa: ASYNC110 - changed by another process
        await asyncio.sleep(_HANDLER_SECONDS)
    _note("endings", context, token)
    return token


def _note(kind: str, context: Context, token: str) -> None:
    with (Place.directory / kind).open("ab", buffering=0) as file:
        file.write(f"{context.run_id} {context.task_index} {token} {Place.name}\n".encode())


spread = Flow("spread", list[int], timeout=600).map(touch).returns(collect(touch))


def executions(directory: Path, kind: Literal["executions", "endings"] = "executions") -> list[Execution]:
    """Return the calls that have begun, or ended, so far."""
    path = directory / kind
    fields = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [Execution(run_id, int(index), token, worker) for run_id, index, token, worker in fields]


class FleetWorker:
    """The app as a child process, which lives in the network namespace of the thread that makes it."""

    def __init__(self, dsn: str, directory: Path, name: str) -> None:
        self.name = name
        self.log = directory / f"log-{name}"
        self.hold = directory / f"hold-{name}"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.fleet_app", dsn, str(directory), name],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(os.environ),
                cwd=Path(__file__).parents[2],
            )

    def said(self, text: str) -> Callable[[], bool]:
        """A condition: the log contains the text."""
        return lambda: text in self.log.read_text()

    def end(self) -> None:
        """Kill it, if it has not ended."""
        self.process.kill()
        self.process.wait(30)


def main(dsn: str, directory: str, name: str) -> None:
    """Serve until a signal ends it."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
    Place.directory, Place.name = Path(directory), name
    worker = Worker(
        [spread],
        dsn,
        name=name,
        lease_seconds=LEASE_SECONDS,
        poll_seconds=0.2,
        grace_seconds=2,
        concurrency=CONCURRENCY,
        batch=4,
    )
    asyncio.run(worker.run())


if __name__ == "__main__":
    main(*sys.argv[1:])
