"""Flows whose handlers run in threads, in processes or hold the interpreter, and a worker for them in a process of its own.

    python -m tests.integration.executors_app DSN OPTIONS-AS-JSON

The log goes to standard output.
"""

import asyncio
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.runtime.worker import Worker


class Where(BaseModel):
    """The process, the thread and the kind of place a handler ran in."""

    pid: int
    thread: str
    in_loop: bool


class Order(BaseModel):
    """What the handlers below are to do, and in which directory they may leave files."""

    directory: str
    number: int = 0
    seconds: float = 0.0


def here() -> Where:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        in_loop = False
    else:
        in_loop = True
    return Where(pid=os.getpid(), thread=threading.current_thread().name, in_loop=in_loop)


def plain(_: int) -> Where:
    return here()


async def coroutine(_: int) -> Where:
    return here()


async def report(wheres: list[Where]) -> list[Where]:
    return wheres


def once(directory: str, name: str) -> bool:
    """Tell whether this is the first time it is asked for, across all processes."""
    try:
        (Path(directory) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


async def numbered(order: Order) -> list[Order]:
    return [order.model_copy(update={"number": number}) for number in range(order.number)]


def dies_once(order: Order, context: Context) -> int:
    """In the first attempt of number 3 the process is gone; the others take a moment."""
    if order.number == 3 and once(order.directory, "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return context.attempt


def hangs_once(order: Order, context: Context) -> int:
    """The first attempt holds the interpreter of its process for a minute."""
    if once(order.directory, "hung"):
        ctypes.PyDLL(None).sleep(60)
    return context.attempt


def exits(order: Order) -> int:
    os._exit(order.number)


def holds(order: Order, context: Context) -> int:
    """Hold the interpreter: not a thread of this process runs meanwhile."""
    once(order.directory, f"began-{context.attempt}")
    ctypes.PyDLL(None).sleep(int(order.seconds))
    return context.attempt


def sleeps(order: Order) -> int:
    Path(order.directory, f"pid-{os.getpid()}").touch()
    time.sleep(order.seconds)
    return order.number


dying = (
    Flow("dying", Order, base_delay=0)
    .step(numbered)
    .map(dies_once, numbered, executor="process")
    .returns(collect(dies_once))
)
hanging = Flow("hanging", Order, base_delay=0, timeout=1).step(hangs_once, executor="process").returns(hangs_once)
exiting = Flow("exiting", Order, base_delay=0, max_attempts=2).step(exits, executor="process").returns(exits)
holding = Flow("holding", Order, base_delay=0, timeout=60).step(holds).returns(holds)
hung = Flow("hung", Order, base_delay=0, timeout=1).step(hangs_once).returns(hangs_once)
sleeping = Flow("sleeping", Order, timeout=60).step(sleeps, executor="process").returns(sleeps)

IN_CHILDREN: list[Flow[Any, Any]] = [dying, hanging, exiting, sleeping]
HOLDING: list[Flow[Any, Any]] = [holding, hung]


class WorkerProcess:
    """The app as a child process of the test."""

    def __init__(self, dsn: str, directory: Path, **options: Any) -> None:
        self.log = directory / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.executors_app", dsn, json.dumps(options)],
                stdout=output, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[2],
            )  # fmt: skip

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(30)

    def said(self, text: str) -> Callable[[], bool]:
        """A condition: the log contains the text."""
        return lambda: text in self.log.read_text()


def main(dsn: str, options: str) -> None:
    """Run a worker for the flows of the list that is named, until a signal ends it."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
    given = json.loads(options)
    flows = globals()[given.pop("flows")]
    asyncio.run(Worker(flows, dsn, **given).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
