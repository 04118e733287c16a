"""Handlers on a Dask cluster: pi by throwing darts, with one of the cluster's two workers killed in the middle.

pip install 'flowdsl[dask]'; pgflow init && pgflow compile dask_cluster.py && alembic upgrade head
python dask_cluster.py
"""

import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from pydantic import BaseModel

from flowdsl import Flow, collect

DARTS = 50_000
THROWN = Path("thrown.txt")


class Hits(BaseModel):
    """How many darts hit the circle, and which process threw them."""

    hits: int
    process: int


def throw(seed: int) -> Hits:
    """Throw darts; it takes a while, which is why it runs on a cluster."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    hits = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(DARTS))
    with THROWN.open("a") as thrown:
        thrown.write(f"{os.getpid()}\n")
    return Hits(hits=hits, process=os.getpid())


def pi(throws: list[Hits]) -> str:
    """Put the results together."""
    per_process = ", ".join(f"{count} by {process}" for process, count in Counter(t.process for t in throws).items())
    return f"pi = {4 * sum(t.hits for t in throws) / (DARTS * len(throws)):.3f} ({len(throws)} throws: {per_process})"


darts = Flow("darts", list[int], timeout=120).map(throw).step(pi, collect(throw), executor="thread").returns(pi)


def main() -> None:
    """Start a scheduler and two workers of Dask, and one of pgflow; run the flow; kill a worker of Dask meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask, pgflow = [sys.executable, "-m", "dask"], [sys.executable, "-m", "flowdsl.cli.app"]
    here = os.environ | {"PYTHONPATH": str(Path.cwd())}  # so that the cluster's workers can import this file
    THROWN.write_text("")
    with ExitStack() as processes, Path("dask.log").open("wb") as log:

        def start(*command: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(command, env=here, stderr=log)  # noqa: S603
            processes.callback(process.wait)
            processes.callback(process.terminate)
            return process

        start(*dask, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2])
        victim, _ = (start(*dask, "worker", address, "--nthreads", "1", "--no-nanny") for _ in range(2))
        time.sleep(5)  # until both are there
        start(*pgflow, "worker", "dask_cluster.py", "--executor", f"dask:{address}", "--concurrency", "8")
        run = start(*pgflow, "start", "dask_cluster.py", "--input", str(list(range(60))), "--wait")
        while run.poll() is None and THROWN.read_text().split().count(str(victim.pid)) < 5:
            time.sleep(0.1)
        victim.kill()
        print(f"killed the Dask worker {victim.pid} in the middle of the map", flush=True)
        sys.exit(run.wait())


if __name__ == "__main__":
    main()
