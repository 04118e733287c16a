"""The processes that work, seen from the one that measures: started, let go together, looked at, ended."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flowdsl.bench.errors import BenchError

_STOP_SECONDS = 20.0
_KIB = 1024


class Child:
    """A process of `child`. It has imported everything, and waits."""

    def __init__(self, role: str, url: str, flow: str, options: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flowdsl.bench.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the one who measures, who then ends its children.
            start_new_session=True,
        )
        self.role = role
        self._tell(json.dumps({"role": role, "url": url, "flow": flow, "options": options}))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until it has imported everything."""
        if self._process.stdout is None or self._process.stdout.readline().strip() != "ready":
            raise BenchError(f"a {self.role} process did not start; what it said is above")

    def go(self) -> None:
        """Let it work."""
        self._tell("go")

    def check(self) -> None:
        """Make sure that it is alive."""
        if (code := self._process.poll()) is not None:
            raise BenchError(f"a {self.role} process ended with {code} while it was measured; what it said is above")

    def peak_bytes(self) -> float | None:
        """Return the most memory it ever had resident, or None where the system does not tell."""
        return _status_bytes(self.pid, "VmHWM")

    def resident_bytes(self) -> float | None:
        """Return the memory it has resident."""
        return resident_bytes(self.pid)

    def end(self) -> None:
        """Let it drain, and wait until it has gone."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            # One that is dead is noticed by whoever asks next.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{line}\n")
                self._process.stdin.flush()


@contextlib.contextmanager
def waiting(role: str, url: str, flow: str, count: int = 1, **options: Any) -> Iterator[list[Child]]:
    """Start so many processes that wait for `go`, and end them."""
    children: list[Child] = []
    try:
        while len(children) < count:
            children.append(Child(role, url, flow, options))
        for child in children:
            child.wait_until_ready()
        yield children
    finally:
        for child in children:
            child.end()


@contextlib.contextmanager
def working(role: str, url: str, flow: str, count: int = 1, **options: Any) -> Iterator[list[Child]]:
    """Start so many processes that work at once, and end them."""
    with waiting(role, url, flow, count, **options) as children:
        go(children)
        yield children


def go(children: Sequence[Child]) -> None:
    """Let them all work."""
    for child in children:
        child.go()


def resident_bytes(pid: int) -> float | None:
    """Return the memory a process has resident, or None where nobody tells."""
    return _status_bytes(pid, "VmRSS")


def server_bytes(pid: int) -> float | None:
    """Return the memory of a process of PostgreSQL that is its own, not shared; None when it is not of this machine."""
    # A server elsewhere has process ids, too, and here they may be anybody's.
    return _status_bytes(pid, "RssAnon") if _status(pid).get("Name") == "postgres" else None


def _status_bytes(pid: int, name: str) -> float | None:
    size = _status(pid).get(name)
    return None if size is None else float(size.split()[0]) * _KIB


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
