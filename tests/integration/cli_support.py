"""A project whose flow is compiled into the test's database, and the command run in it as a shell would run it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

FLOWS = """
import threading

from pydantic import BaseModel
from flowdsl import Flow, collect


class Order(BaseModel):
    items: list[str]


def items(order: Order) -> list[str]:
    return order.items


def price(item: str) -> int:
    if item == "endless":
        threading.Event().wait()
    if item == "bad":
        raise ValueError("no price for [red]\\x1b[31mbad")
    return len(item)


def total(prices: list[int]) -> int:
    return sum(prices)


invoice = (
    Flow("invoice", Order, max_attempts=2, base_delay=0)
    .array(items).map(price, items).step(total, collect(price)).returns(total)
)
"""
COMMAND = (sys.executable, "-m", "flowdsl.cli.app")
SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with flows, configured to use one database."""

    directory: Path
    url: str | None

    def environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "COLUMNS"}}
        return environment if self.url is None else environment | {"DATABASE_URL": self.url}

    def pgflow(self, *arguments: str, stdin: str = "") -> Outcome:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.directory, env=self.environment(), input=stdin, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)

    def ok(self, *arguments: str, stdin: str = "") -> Outcome:
        outcome = self.pgflow(*arguments, stdin=stdin)
        assert outcome.code == 0, outcome
        return outcome

    def refused(self, code: int, *arguments: str, stdin: str = "") -> str:
        """Run a command that must fail with that code, without output and without a traceback; returns what it says."""
        outcome = self.pgflow(*arguments, stdin=stdin)
        assert (outcome.code, outcome.out) == (code, ""), outcome
        assert "Traceback" not in outcome.err
        assert outcome.err.count("error: ") == 1
        return outcome.err

    def write(self, path: str, text: str) -> Path:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    @contextmanager
    def started(self, *arguments: str, **options: Any) -> "Iterator[subprocess.Popen[str]]":
        """Run a command beside the test; it is terminated at the end, if it still runs."""
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.directory, env=self.environment(), text=True,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options),
        )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()

    @contextmanager
    def worker(self, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
        """Run a worker beside the test; it serves when the block begins, and has ended properly when it is left."""
        with self.started("worker", "--log-format", "json", *arguments, stdout=None) as process:
            wait_for(process, "worker started")
            yield process
            process.terminate()
            _, rest = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, rest


def wait_for(process: "subprocess.Popen[str]", text: str) -> list[str]:
    """Read the process's stderr until a line holds the text; returns the lines read."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    pytest.fail(f"'{text}' was never said: {''.join(lines)}")


def new_project(
    directory: Path, url: str | None, flows: str = FLOWS, configured: Sequence[str] = ("flows",)
) -> Project:
    project = Project(directory=directory, url=url)
    project.write("flows.py", flows)
    project.write("pyproject.toml", f"[tool.pgflow]\nflows = {json.dumps(list(configured))}\n")
    return project


def compiled_project(directory: Path, url: str) -> Project:
    """Make a project and put its flow into the database."""
    project = new_project(directory, url)
    sql = project.ok("compile", "--sql").out
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.encode())
    return project
