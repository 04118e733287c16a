"""Handlers on a Dask cluster: pi by throwing darts, with one of the cluster's two workers killed in the middle.

    pip install 'flowdsl[dask,embedded]'        in a checkout: pip install '.[dask,embedded]'
    python dask_cluster.py                      starts a cluster, a worker and a run, and ends them

The migrations go to `.demo/dask`. The database is DATABASE_URL, or else an embedded PostgreSQL in that directory.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel

from flowdsl import Flow, collect

DARTS = 50_000
HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / ".demo" / "dask"
PGFLOW = ("-m", "flowdsl.cli.app")
DASK_SECONDS = 60
RUN_SECONDS = "300"
Process: TypeAlias = "subprocess.Popen[bytes]"


class Hits(BaseModel):
    """How many darts hit the circle, and which process threw them."""

    hits: int
    process: int


def throw(seed: int) -> Hits:
    """Throw darts; it takes a while, which is why it runs on a cluster."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    hits = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(DARTS))
    if "THROWN" in os.environ:  # for `main`, which waits for the right moment
        with Path(os.environ["THROWN"]).open("a") as thrown:
            thrown.write(f"{os.getpid()}\n")
    return Hits(hits=hits, process=os.getpid())


def pi(throws: list[Hits]) -> str:
    """Put the results together."""
    per_process = ", ".join(f"{count} by {process}" for process, count in Counter(t.process for t in throws).items())
    return f"pi = {4 * sum(t.hits for t in throws) / (DARTS * len(throws)):.3f} ({len(throws)} throws: {per_process})"


darts = Flow("darts", list[int], timeout=120).map(throw).step(pi, collect(throw), executor="thread").returns(pi)


class Demo:
    """The processes of the demonstration; those that are still there at its end are ended."""

    def __init__(self, project: Path, scratch: Path, processes: ExitStack) -> None:
        self.project = project
        self.scratch = scratch
        self.thrown = scratch / "thrown.txt"
        self.thrown.touch()
        self._processes = processes
        # All of them import this file by its name.
        self._environment = os.environ | {"PYTHONPATH": str(HERE), "THROWN": str(self.thrown)}
        self._log = processes.enter_context((scratch / "dask.log").open("wb"))
        self.watched: dict[str, Process] = {}

    def prepare(self) -> None:
        """Bring the flow into the database with the commands of any project: init, compile, upgrade."""
        self.project.mkdir(parents=True, exist_ok=True)
        for command in ((*PGFLOW, "init"), (*PGFLOW, "compile", "dask_cluster"), ("-m", "alembic", "upgrade", "head")):
            subprocess.run(  # noqa: S603 - our own interpreter, arguments as a list
                [sys.executable, *command], cwd=self.project, env=self._environment, check=True, stdout=sys.stderr
            )

    def pgflow(self, *arguments: str) -> Process:
        """Start a command of pgflow; what it has to say goes to the terminal."""
        return self._ended_with_us(
            subprocess.Popen([sys.executable, *PGFLOW, *arguments], cwd=self.project, env=self._environment)  # noqa: S603 - our own interpreter, arguments as a list
        )

    def dask(self, *arguments: str) -> Process:
        """Start a process of Dask; its log is told only when something goes wrong."""
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        return self._ended_with_us(
            subprocess.Popen(command, cwd=self.scratch, env=self._environment, stdout=self._log, stderr=self._log)  # noqa: S603 - our own interpreter, arguments as a list
        )

    def _ended_with_us(self, process: Process) -> Process:
        self._processes.callback(process.wait)
        self._processes.callback(process.terminate)
        return process

    def failure(self, what: str) -> int:
        """Say what went wrong, with the end of Dask's log; return the exit code."""
        last = (self.scratch / "dask.log").read_text().splitlines()[-15:]
        print(f"{what}. The end of Dask's log:", *last, sep="\n  ", file=sys.stderr)
        return 1

    def ended(self) -> str | None:
        """Tell which process has ended that should be there to the end."""
        codes = {name: process.poll() for name, process in self.watched.items()}
        return next((f"{name} ended with exit code {code}" for name, code in codes.items() if code is not None), None)

    def show(self) -> int:
        """Start a cluster, a worker and a run; kill a worker of the cluster meanwhile; return the run's exit code."""
        from distributed import Client

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        address = f"tcp://127.0.0.1:{port}"
        self.watched["the Dask scheduler"] = self.dask("scheduler", "--host", "127.0.0.1", "--port", port)
        victim, other = (self.dask("worker", address, "--nthreads", "1", "--no-nanny") for _ in range(2))
        try:
            with Client(address, timeout=DASK_SECONDS, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=DASK_SECONDS)
        except (OSError, TimeoutError):
            return self.failure(f"The Dask cluster is not there after {DASK_SECONDS} s")
        self.watched["the other Dask worker"] = other
        self.watched["pgflow worker"] = self.pgflow(
            "worker", "dask_cluster", "--executor", f"dask:{address}", "--concurrency", "8"
        )
        numbers = str(list(range(60)))
        run = self.pgflow("start", "dask_cluster:darts", "--input", numbers, "--wait", "--timeout", RUN_SECONDS)
        killed = False
        while run.poll() is None:
            ended = self.ended()
            if ended is not None:
                return self.failure(ended)
            if not killed and self.thrown.read_text().split().count(str(victim.pid)) >= 5:
                victim.kill()
                killed = True
                print(f"killed the Dask worker {victim.pid} in the middle of the map", flush=True)
            time.sleep(0.05)
        if run.returncode == 0 and not killed:
            return self.failure(
                f"The run has ended, but the Dask worker {victim.pid} could not be killed in the middle"
            )
        return run.returncode


def main() -> int:
    """Look whether all that is needed is there, and show it."""
    arguments = argparse.ArgumentParser(description="Run handlers on a Dask cluster, one of whose workers is killed.")
    arguments.add_argument("--project", type=Path, default=PROJECT, help="directory of the migrations")
    project = arguments.parse_args().project.resolve()
    try:
        import distributed  # noqa: F401 - to see whether it is there
    except ModuleNotFoundError:
        print(
            "Dask is not installed. Install it: pip install 'flowdsl[dask]', or in a checkout of flowdsl: "
            "pip install '.[dask]'",
            file=sys.stderr,
        )
        return 3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes are ended, too
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as processes:
        demo = Demo(project, Path(scratch), processes)
        try:
            demo.prepare()
        except subprocess.CalledProcessError as error:
            print("The flow could not be brought into the database; nothing was started.", file=sys.stderr)
            return error.returncode
        return demo.show()


if __name__ == "__main__":
    sys.exit(main())
