"""Handlers that live where no other process imports them from: in the program itself, or in a file beside the modules."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.integration.cli_support import Project, new_project

FLOWS = """
import os
from pydantic import BaseModel
from flowdsl import Flow

class Number(BaseModel):
    value: int

class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor
    def apply(self, number: Number) -> Number:
        return Number(value=self.factor * number.value)

PARENT = os.getppid()

def child_of(number: Number) -> list[int]:
    return [os.getpid(), os.getppid()]

scaled = Flow("scaled", Number, executor="process").step(Scale(3).apply, slug="apply").step(child_of)
"""

PROGRAM = """
import asyncio, sys
from flowdsl.client import Client
from flowdsl.runtime.worker import Worker

async def main() -> None:
    worker = Worker([scaled], sys.argv[1], processes=1, grace_seconds=5)
    async with asyncio.TaskGroup() as group, Client(sys.argv[1]) as client:
        group.create_task(worker.run())
        result = await (await client.start(scaled, Number(value=7))).result(30)
        print(result["apply"].value, result["child_of"][1] == os.getpid())
        worker.stop()
"""
GUARDED = "\nif __name__ == '__main__':\n    asyncio.run(main())\n"


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    project = new_project(tmp_path, dsn, FLOWS)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(project.ok("compile", "--sql").out.encode())
    return project


def run_program(project: Project, text: str) -> "subprocess.CompletedProcess[str]":
    file = project.write("program.py", FLOWS + text)
    return subprocess.run(
        [sys.executable, str(file), str(project.url)], cwd=project.directory, capture_output=True, text=True, timeout=60
    )  # fmt: skip


def test_handlers_and_types_of_the_program_itself_are_found(project: Project) -> None:
    done = run_program(project, PROGRAM + GUARDED)
    assert (done.returncode, done.stdout) == (0, "21 True\n"), done.stderr


def test_a_program_that_starts_its_worker_whenever_it_is_imported_is_told_so(project: Project) -> None:
    done = run_program(project, PROGRAM + "\nasyncio.run(main())\n")
    assert done.returncode == 1
    assert 'A script that starts a worker needs `if __name__ == "__main__":` around that' in done.stderr
    assert "program.py) to find its handlers, so without it the whole script would run again" in done.stderr
    assert "cannot be found" not in done.stderr


UNWATCHED = """
async def main() -> None:
    worker = asyncio.create_task(Worker([scaled], sys.argv[1], processes=1, grace_seconds=5).run())
    await asyncio.wait([worker], timeout=30)
    print("went on" if worker.exception() is None else f"error: {worker.exception()}")

asyncio.run(main())
"""


def test_in_a_child_such_a_program_does_nothing_after_the_start_of_its_worker(project: Project) -> None:
    done = run_program(project, PROGRAM.partition("async def")[0] + UNWATCHED)
    assert done.returncode == 0
    assert "error: A script that starts a worker needs" in done.stdout
    assert "went on" not in done.stdout + done.stderr
    assert done.stdout.count("error:") + done.stderr.count("error:") == 1


@pytest.mark.parametrize("path", ["flows.py", "inside/types.py", "inside/flows.py"])
def test_handlers_in_a_file_given_to_the_command_are_found(project: Project, path: str) -> None:
    project.write(path, FLOWS)
    with project.worker(path, "--processes", "1"):
        started = project.ok("start", f"{path}:scaled", "--input", '{"value": 7}', "--wait")
        assert '"apply"' in started.out
        assert "21" in started.out
