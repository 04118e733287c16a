"""A process that works: a real worker, or the driver without handlers. `processes` starts it.

It is told on standard input what to be (the URL may hold a password, so it is no argument), says `ready` when everything is
imported, waits for `go`, and works until its standard input closes, which also happens when whoever started it dies.

    python -m flowdsl.bench.child
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flowdsl.bench.driver import Driver
from flowdsl.bench.flows import FLOWS
from flowdsl.runtime.worker import Worker


async def work(url: str, flow: str, options: dict[str, Any]) -> None:
    """Run a worker."""
    retention = options.pop("retention_seconds", None)
    worker = Worker(
        [FLOWS[flow]],
        url,
        name="bench",
        retention=None if retention is None else timedelta(seconds=retention),
        **options,
    )
    _at_the_end_of_input(worker.stop)
    await worker.run(stop_signals=False)


async def drive(url: str, flow: str, options: dict[str, Any]) -> None:
    """Run the driver."""
    driver = Driver(url, FLOWS[flow], **options)
    _at_the_end_of_input(driver.stop)
    await driver.run()


ROLES = {"worker": work, "driver": drive}


def _at_the_end_of_input(stop: Callable[[], None]) -> None:
    def wait() -> None:
        sys.stdin.read()
        stop()

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Become what standard input says."""
    told = json.loads(sys.stdin.readline())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.readline().strip() == "go":
        asyncio.run(ROLES[told["role"]](told["url"], told["flow"], told["options"]))


if __name__ == "__main__":
    main()
