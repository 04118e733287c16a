"""A project in a temporary folder, and the commands run in it as `pgflow` would run them."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from flowdsl.cli.app import app
from flowdsl.cli.exits import exit_code
from flowdsl.errors import FlowError
from flowdsl.model.source import is_library

HELLO = """
from flowdsl import Flow

def greet(name: str) -> str:
    return name

def shout(text: str) -> str:
    return text

hello = Flow("hello", str).step(greet).step(shout, greet).returns(shout)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project's folder, which is also the working directory."""

    directory: Path

    def pgflow(self, *arguments: str) -> Outcome:
        with _fresh_modules():
            result = CliRunner().invoke(app, [*arguments])
        if isinstance(result.exception, FlowError):
            return Outcome(code=exit_code(result.exception), out=result.stdout, err=str(result.exception))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(code=result.exit_code, out=result.stdout, err=result.stderr)

    def ok(self, *arguments: str) -> Outcome:
        outcome = self.pgflow(*arguments)
        assert outcome.code == 0, outcome
        return outcome

    def write(self, path: str, text: str) -> Path:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def contents(self) -> dict[str, bytes]:
        """Every file by its path, without Python's caches."""
        return {
            path.relative_to(self.directory).as_posix(): path.read_bytes()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }

    def revisions(self) -> list[Path]:
        return sorted(self.directory.glob("migrations/versions/*.py"))


@contextmanager
def _fresh_modules() -> Iterator[None]:
    # Each command is a process of its own in real life: the user's modules are loaded anew.
    modules, path = dict(sys.modules), list(sys.path)
    try:
        yield
    finally:
        for name in set(sys.modules) - set(modules):
            # Not the libraries: those that were loaded before know their parts by identity.
            if not name.startswith("flowdsl") and _is_the_users(sys.modules[name]):
                del sys.modules[name]
        sys.path[:] = path


def _is_the_users(module: ModuleType) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(place is not None and not is_library(place) for place in places)


def new_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make an empty project and go there."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    # A module rewritten within the same second would be read from its stale cache.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return Project(directory=directory)
