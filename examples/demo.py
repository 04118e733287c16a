"""What `make demo` runs: the whole road from a flow in a file to a finished run, each command as you would type it.

Shows: `pgflow init`, `pgflow compile`, `alembic upgrade head`, `pgflow worker` and `pgflow start --wait`, on the audit of
the standard library, with the embedded PostgreSQL. Everything lives in `.demo/`, or in the directory given as argument.
Run it again: nothing is left to set up, and a new run starts. Kill its worker at work: another one takes over.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeAlias

FLOWS = Path(__file__).resolve().parent / "stdlib_audit.py"
DEFAULT_DIRECTORY = FLOWS.parent.parent / ".demo"

# A short lease, so that others soon take over the tasks of a worker that was killed.
WORKER = "pgflow worker --lease 5"
START = """pgflow start stdlib_audit --input '{"directory": "report"}' --wait"""
LOG = "worker.log"
WORKERS_MAX = 5
STOP_SECONDS = 40.0
POLL_SECONDS = 0.1

Process: TypeAlias = "subprocess.Popen[bytes]"


class CommandError(Exception):
    """A command of the demo failed, or its worker ended too early."""

    def __init__(self, command: str, code: int) -> None:
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        super().__init__(f"`{command}` ended with {how}")
        self.code = max(code, 1)


class Shell:
    """Runs commands in one directory and shows them as if they were typed there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # The commands of this very installation come first, and the database is the directory's own.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self._environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | {
            "PATH": path
        }

    def show(self, line: str) -> None:
        """Print a command line behind a prompt."""
        print(f"\n\033[1m$ {line}\033[0m" if sys.stdout.isatty() else f"\n$ {line}", flush=True)

    def run(self, command: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Run a command to its end, and call `meanwhile` again and again until then."""
        self.show(command)
        process = self._start(command)
        try:
            while process.poll() is None:
                meanwhile()
                time.sleep(POLL_SECONDS)
        except BaseException:
            # Ctrl-C in a terminal has reached the command too, and it is about to end.
            stop(process, patience=1.0)
            raise
        if process.returncode != 0:
            raise CommandError(command, process.returncode)

    def run_behind(self, command: str, log: str) -> Process:
        """Start a command in the background: its output goes to a file, and Ctrl-C does not reach it."""
        with (self.directory / log).open("wb") as file:
            return self._start(command, output=file.fileno(), start_new_session=True)

    def _start(self, command: str, *, output: int | None = None, start_new_session: bool = False) -> Process:
        return subprocess.Popen(  # noqa: S603 - the commands are those written in this file
            shlex.split(command),
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=start_new_session,
        )


class KeptWorker:
    """A worker that is started again when it is killed, as a service manager would do it."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._count = 0
        self._process = self._started()

    def look_after(self) -> None:
        """Start another worker if this one was killed; raise CommandError if it ended by itself."""
        code = self._process.poll()
        if code is None:
            return
        if code >= 0 or self._count == WORKERS_MAX:
            sys.stderr.write((self._shell.directory / LOG).read_text(errors="replace"))
            raise CommandError(WORKER, code)
        print(f"The worker was ended by {signal.Signals(-code).name}. Starting another one.", flush=True)
        self._process = self._started()

    def stop(self) -> None:
        """Let the worker drain and wait for its end."""
        if self._process.poll() is None:
            self._shell.show(f"kill -TERM {self._process.pid}")
            stop(self._process)

    def _started(self) -> Process:
        self._count += 1
        self._shell.show(f"{WORKER} > {LOG} 2>&1 &")
        process = self._shell.run_behind(WORKER, LOG)
        print(f"[{self._count}] {process.pid}", flush=True)
        return process


def stop(process: Process, *, patience: float = 0.0) -> None:
    """Wait for a process to end, ask it to after a while, and kill it at last."""
    for seconds, then in ((patience, process.terminate), (STOP_SECONDS, process.kill)):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            then()
    process.wait()


def demonstrate(directory: Path) -> None:
    """Run the demo in a directory of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    shell = Shell(directory)
    shell.show(f"cd {shown(directory)}")
    shell.show(f"cp {os.path.relpath(FLOWS, directory)} flows.py")
    shutil.copyfile(FLOWS, directory / "flows.py")
    shell.run("pgflow init")
    shell.run("pgflow compile")
    shell.run("alembic upgrade head")
    worker = KeptWorker(shell)
    try:
        shell.run(START, meanwhile=worker.look_after)
        shell.run("head -n 30 report/report.md")
        shell.run("pgflow runs --limit 3")
    finally:
        worker.stop()
    print(
        f"\nThe report: {shown(directory / 'report' / 'report.md')}"
        f"\nIts chart:  {shown(directory / 'report' / 'chart.svg')}"
        f"\nThe flow:   {shown(FLOWS)}",
        flush=True,
    )


def shown(path: Path) -> str:
    """Return the path as seen from here, when that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def main() -> int:
    """Run the demo; return its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_DIRECTORY
    try:
        demonstrate(directory.absolute())
    except CommandError as error:
        print(f"\nThe demo stops here: {error}.", file=sys.stderr)
        return error.code
    except FileNotFoundError as error:
        print(f"\nThe demo stops here: there is no '{error.filename}'. `make demo` installs it.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was interrupted.", file=sys.stderr)
        return 130
    return 0


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
