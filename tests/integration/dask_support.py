"""A Dask cluster of real processes: a scheduler and workers that a test starts, kills and starts again."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

HANDLERS = """
import os
import time
from pathlib import Path

DIRECTORY = Path(__file__).parent


def note(*words):
    with (DIRECTORY / "journal").open("ab", buffering=0) as journal:
        journal.write((" ".join(map(str, words)) + "\\n").encode())


def process(number):
    note("process", number, os.getpid())
    return os.getpid()


def wait_for(gate):
    note("begin", gate, os.getpid())
    while not (DIRECTORY / gate).exists():
        time.sleep(0.01)
    note("end", gate, os.getpid())
    return gate


def fail(number):
    raise KeyError(number)
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class DaskCluster:
    """A scheduler on a port of its own, and workers of one thread each, which look for modules in `directory`.

    Workers run without Dask's nanny, so one that is killed stays dead until the test starts another.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._environment = os.environ | {"PYTHONPATH": str(directory)}
        # `allowed_failures="0"` is what `distributed.scheduler.allowed-failures: 0` is in Dask's configuration file.
        self._settings = {f"DASK_DISTRIBUTED__SCHEDULER__{name.upper()}": value for name, value in settings.items()}
        self._processes = ExitStack()
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._processes.close()

    def start_scheduler(self, *, knows_modules: bool = False) -> None:
        """Start it, at the address it always has. It knows none of the test's modules, unless it is told to."""
        elsewhere = self.directory / "scheduler"
        elsewhere.mkdir(exist_ok=True)
        host, port = self.address.removeprefix("tcp://").split(":")
        self.scheduler = self._started(
            "scheduler", "--host", host, "--port", port, "--no-dashboard", "--no-show",
            cwd=self.directory if knows_modules else elsewhere, environment=os.environ | self._settings,
        )  # fmt: skip

    def start_worker(self, *options: str, directory: Path | None = None) -> "subprocess.Popen[bytes]":
        """Start a worker; with a directory of its own it knows no module of the test."""
        environment = self._environment | ({} if directory is None else {"PYTHONPATH": str(directory)})
        worker = self._started(
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60",
            "--local-directory", str(self.directory / "scratch"), *options,
            cwd=directory or self.directory, environment=environment,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def kill(self, process: "subprocess.Popen[bytes] | None") -> None:
        """Kill a process of the cluster and wait until it is gone."""
        assert process is not None
        process.kill()
        process.wait(30)

    def _started(
        self, *arguments: str, cwd: Path, environment: "os._Environ[str] | dict[str, str]"
    ) -> "subprocess.Popen[bytes]":
        with (self.directory / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                cwd=cwd, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._processes.callback(self.kill, process)
        return process


def journal(directory: Path, first: str = "") -> list[list[str]]:
    """Return the words of the journal's lines that begin so."""
    file = directory / "journal"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.split() for line in lines if line.startswith(first)]


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for what another process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
