"""What `make demo` runs, as it is run: without a terminal and stdin, a second time, interrupted, with its worker killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.examples_support import EXAMPLES
from tests.servers import removed, scratch_directory

AT_WORK = re.compile(r"audit_module +started")
WORKER = re.compile(r"\[[0-9]+\] ([0-9]+)")


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    # Shared: each test finds what the one before left, as a user does who runs the demo again.
    with removed(scratch_directory()) as scratch:
        yield scratch / "demo"


class Demo:
    """The demo as a process of its own, read line by line."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "demo.py"), str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "DATABASE_URL": "postgresql://nobody@nowhere.invalid/none"},
            start_new_session=True,
        )

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.communicate()

    def until_at_work(self) -> None:
        """Read on until the modules are being audited."""
        for line in self._lines():
            if AT_WORK.match(line):
                return
        pytest.fail("".join(self.said))

    def worker_pid(self) -> int:
        """Return the process id of the worker that was started last."""
        found = [int(match[1]) for line in self.said if (match := WORKER.match(line))]
        return found[-1]

    def signal_all(self, number: int) -> None:
        """Send a signal to the demo and the command it runs, as a terminal does."""
        os.killpg(self._process.pid, number)

    def signal(self, number: int) -> None:
        """Send a signal to the demo alone."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Return its exit code and all it said."""
        list(self._lines())
        return self._process.wait(), "".join(self.said)

    def _lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)
            yield line


def assert_nothing_runs(demo: Demo) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(demo.worker_pid(), 0)
    # PostgreSQL removes this file when it stops.
    assert not (demo.directory / ".pgflow" / "postgres" / "postmaster.pid").exists()


def test_the_first_demo_sets_everything_up_and_shows_the_report(directory: Path) -> None:
    with Demo(directory) as demo:
        code, said = demo.end()
    assert code == 0, said
    typed = [line.removeprefix("$ ") for line in said.splitlines() if line.startswith("$ ")]
    assert [line for line in typed if line.startswith(("pgflow", "alembic"))] == [
        "pgflow init",
        "pgflow compile",
        "alembic upgrade head",
        "pgflow worker --lease 5 > worker.log 2>&1 &",
        """pgflow start stdlib_audit --input '{"directory": "report"}' --wait""",
        "pgflow runs --limit 3",
    ]
    assert "# Audit of the standard library" in said
    assert "\033" not in said
    assert (directory / "report" / "chart.svg").is_file()
    assert_nothing_runs(demo)


def test_a_second_demo_has_nothing_to_set_up_and_outlives_the_killing_of_its_worker(directory: Path) -> None:
    with Demo(directory) as demo:
        demo.until_at_work()
        killed = demo.worker_pid()
        os.kill(killed, signal.SIGKILL)
        code, said = demo.end()
    assert code == 0, said
    assert "nothing to do" in said
    assert "nothing to compile" in said
    assert "The worker was ended by SIGKILL. Starting another one." in said
    assert demo.worker_pid() != killed
    assert_nothing_runs(demo)


@pytest.mark.parametrize("how", ["as by Ctrl-C", "by SIGTERM to the demo alone"])
def test_an_interrupted_demo_leaves_nothing_running(directory: Path, how: str) -> None:
    with Demo(directory) as demo:
        demo.until_at_work()
        if how == "as by Ctrl-C":
            demo.signal_all(signal.SIGINT)
        else:
            demo.signal(signal.SIGTERM)
        code, said = demo.end()
    assert code == 130, said
    assert said.endswith("The demo was interrupted.\n")
    assert "Traceback" not in said
    assert_nothing_runs(demo)


def test_a_worker_that_ends_by_itself_stops_the_demo_with_its_log(directory: Path) -> None:
    with Demo(directory) as demo:
        demo.until_at_work()
        os.kill(demo.worker_pid(), signal.SIGTERM)
        code, said = demo.end()
    assert code == 1
    assert "worker is draining" in said
    assert said.endswith("The demo stops here: `pgflow worker --lease 5` ended with exit code 0.\n")
    assert_nothing_runs(demo)


def test_a_command_that_fails_stops_the_demo_with_its_exit_code(directory: Path) -> None:
    pyproject = directory / "pyproject.toml"
    written = pyproject.read_text()
    pyproject.write_text("[tool.pgflow")
    with Demo(directory) as demo:
        code, said = demo.end()
    pyproject.write_text(written)
    assert code == 3
    assert "The demo stops here: `pgflow init` ended with exit code 3." in said
