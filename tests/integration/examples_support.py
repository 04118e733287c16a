"""What the tests of the examples share: projects in which the examples' commands run against the test server."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS: Mapping[str, list[str]] = {
    "pgflow": [sys.executable, "-m", "flowdsl.cli.app"],
    "alembic": [sys.executable, "-m", "alembic"],
    "python": [sys.executable],
}
COMMAND_SECONDS = 120


class Project:
    """A directory in which commands run, on one database."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.environment = {**os.environ, "DATABASE_URL": url}

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command to its end; return what it printed to stdout, or to stderr when it is meant to fail."""
        result = self.result(*command)
        assert result.returncode == code, f"{result.stdout}\n{result.stderr}"
        return result.stderr if code else result.stdout

    def result(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            [*PROGRAMS[command[0]], *command[1:]],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def prepare(self, *flows: Path) -> None:
        """Set the project up and bring the flows of these files into the database."""
        self.run("pgflow", "init")
        self.run("pgflow", "compile", *map(str, flows))
        self.run("alembic", "upgrade", "head")

    @contextmanager
    def worker(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A worker beside the test; it is asked to end, and does so with exit code 0, unless the test has killed it."""
        log = self.directory / "worker.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*PROGRAMS["pgflow"], "worker", *arguments],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield process
            if process.poll() is None:
                process.terminate()
                assert process.wait(COMMAND_SECONDS) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
