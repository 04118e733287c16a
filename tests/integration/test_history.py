"""The history of three versions that docs/compiling.md tells, command by command, with runs in flight: its outputs are real."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .examples_support import EXAMPLES, Project

PAGE = EXAMPLES.parent / "docs" / "compiling.md"
RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REVISION = re.compile(r"(?<=versions/)[0-9a-f]{12}(?=_)")
FAILING = "alembic downgrade -1"


class Terminal:
    """Runs the commands of the page in one directory; the ids that the page shows stand for those of this time."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.ids: dict[str, str] = {}
        programs = project.directory / "bin"
        programs.mkdir()
        for name, module in (("pgflow", "flowdsl.cli.app"), ("alembic", "alembic")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            program.chmod(0o755)
        project.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def type(self, command: str) -> str:
        """Return what a command prints to stdout."""
        for shown, real in self.ids.items():
            command = command.replace(shown, real)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.project.directory,
            env=self.project.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0 or command == FAILING, done.stderr
        return done.stdout

    def compare(self, printed: str, shown: str) -> None:
        """Make sure that both are the same, but for ids and blanks at the ends of lines."""
        self.ids.update(zip(RUN_ID.findall(shown), RUN_ID.findall(printed), strict=True))
        assert neutral(printed) == neutral(shown)


def neutral(text: str) -> list[str]:
    return [line.rstrip() for line in REVISION.sub("…", RUN_ID.sub("…", text)).splitlines()]


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command of the page, and what it prints."""
    blocks = re.findall(r"<!-- history -->\n```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for command in "".join(blocks).removeprefix("$ ").split("\n$ "):
        line, _, output = command.partition("\n")
        yield line, output


@pytest.fixture
def terminal(tmp_path: Path, empty_dsn: str) -> Terminal:
    project = Project(tmp_path, empty_dsn)
    for version in (EXAMPLES / "history").glob("version_*.py"):
        shutil.copy(version, tmp_path)
    shutil.copy(EXAMPLES / "history" / "version_1.py", tmp_path / "flows.py")
    project.run("pgflow", "init")
    return Terminal(project)


def test_the_history_on_the_page_happens_as_it_is_told(terminal: Terminal) -> None:
    typed = list(commands())
    assert [line for line, _ in typed].count("alembic upgrade head") == 3
    while typed:
        line, shown = typed.pop(0)
        if line != "pgflow worker &":
            terminal.compare(terminal.type(line), shown)
            continue
        with terminal.project.worker():
            while (then := typed.pop(0))[0] != "kill %1":
                terminal.compare(terminal.type(then[0]), then[1])
