"""The four type checkers: each run as a user runs it at its strictest, on a directory away from our own settings."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.typing.source import Place

Check = Callable[[Path], set[Place]]


def mypy(directory: Path) -> set[Place]:
    # A cache beside the directory serves the next one, too: most of the time goes into what all snippets import.
    done = _run("mypy", ["--strict", "--config-file=", "--cache-dir=../.mypy_cache", "."], directory)
    found = re.findall(r"^(.+?\.py):(\d+): error:", done.stdout, flags=re.MULTILINE)
    return {(Path(file).name, int(line)) for file, line in found}


def pyright(directory: Path) -> set[Place]:
    # A variable that is only annotated is what some snippets are about, and so is an expression without an effect.
    settings = {"typeCheckingMode": "strict", "reportUnusedExpression": False, "reportUnusedVariable": False}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = _run("pyright", ["--outputjson", "--pythonpath", sys.executable], directory)
    report = json.loads(done.stdout)
    if report["summary"]["filesAnalyzed"] != len(_files(directory)):
        raise CheckerError("pyright", done)
    errors = [item for item in report["generalDiagnostics"] if item["severity"] == "error"]
    return {(Path(item["file"]).name, item["range"]["start"]["line"] + 1) for item in errors}


def ty(directory: Path) -> set[Place]:
    command = ["check", "--python", sys.executable, "--output-format", "concise", *_files(directory)]
    done = _run("ty", command, directory)
    found = re.findall(r"^(\S+?\.py):(\d+):\d+: error", done.stdout, flags=re.MULTILINE)
    return {(Path(file).name, int(line)) for file, line in found}


def pyrefly(directory: Path) -> set[Place]:
    (directory / "pyrefly.toml").write_text('preset = "strict"\n', encoding="utf-8")
    command = ["check", "--python-interpreter-path", sys.executable, "--output-format", "json", *_files(directory)]
    done = _run("pyrefly", command, directory)
    errors = [item for item in json.loads(done.stdout)["errors"] if item["severity"] == "error"]
    return {(Path(item["path"]).name, item["line"]) for item in errors}


CHECKERS: Mapping[str, Check] = {"mypy": mypy, "pyright": pyright, "ty": ty, "pyrefly": pyrefly}


class CheckerError(Exception):
    """A checker did not come to a verdict."""

    def __init__(self, name: str, done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


class CheckerMissingError(Exception):
    """A checker is not installed beside this Python."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not installed beside {sys.executable}: pip install {name}")


def version(name: str) -> str:
    """Return the version a checker says it has."""
    words = _run(name, ["--version"], Path.cwd()).stdout.split()
    return next(word for word in words if word[0].isdigit())


def _files(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.glob("*.py"))


def _run(name: str, arguments: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which(name, path=str(Path(sys.executable).parent))
    if command is None:
        raise CheckerMissingError(name)
    # Without overrides pyright uses the copy in its own wheel, and asks no registry for a newer one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYRIGHT_PYTHON_")}
    done = subprocess.run(
        [command, *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise CheckerError(name, done)
    return done
