"""What type checkers say about flows: nothing about correct ones, and something about each planted mistake.

Two negative controls keep the ring honest: a checker that found nothing, or found everything wrong, would fail here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent

CONTROL = """\
from flowdsl import Flow

def length(text: str) -> int:
    return len(text)

right: Flow[str, int] = Flow("control", str).step(length).returns(length)
wrong: Flow[str, str] = Flow("control", str).step(length).returns(length)
"""


Mistakes = set[tuple[str, int]]
Checker = Callable[[Path], Mistakes]


def mypy(directory: Path) -> Mistakes:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.cache", "."]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^(.+?\.py):(\d+): error:", done.stdout, flags=re.MULTILINE)
    return {(Path(file).name, int(line)) for file, line in found}


def pyright(directory: Path) -> Mistakes:
    # JSON output and no overrides: so the package uses the copy in its own wheel and asks no registry for a newer one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYRIGHT_PYTHON_")}
    settings = {"typeCheckingMode": "strict", "reportUnusedExpression": False}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(list(directory.glob("*.py")))
    errors = [item for item in report["generalDiagnostics"] if item["severity"] == "error"]
    return {(Path(item["file"]).name, item["range"]["start"]["line"] + 1) for item in errors}


def ty(directory: Path) -> Mistakes:
    command = ["check", "--python", sys.executable, "--output-format", "concise", *_files(directory)]
    done = _run("ty", command, directory)
    found = re.findall(r"^(\S+?\.py):(\d+):\d+: error", done.stdout, flags=re.MULTILINE)
    return {(Path(file).name, int(line)) for file, line in found}


def pyrefly(directory: Path) -> Mistakes:
    (directory / "pyrefly.toml").write_text('preset = "strict"\n', encoding="utf-8")
    command = ["check", "--python-interpreter-path", sys.executable, "--output-format", "json", *_files(directory)]
    done = _run("pyrefly", command, directory)
    errors = [item for item in json.loads(done.stdout)["errors"] if item["severity"] == "error"]
    return {(Path(item["path"]).name, item["line"]) for item in errors}


def _files(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.glob("*.py"))


def _run(name: str, arguments: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which(name, path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip(f"{name} is not installed beside this Python")
    done = subprocess.run([command, *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done


def planted(file: Path) -> Mistakes:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {(file.name, number) for number, line in enumerate(lines, 1) if "  # E " in line}


@pytest.mark.parametrize("check", [mypy, pyright, ty, pyrefly])
def test_checker_finds_each_planted_mistake_and_nothing_wrong_with_correct_flows(
    check: Checker, tmp_path: Path
) -> None:
    # Copies, away from our own settings, are checked as a user's files are.
    for name in ("good.py", "wrong.py"):
        shutil.copy(HERE / name, tmp_path)
    mistakes = planted(HERE / "wrong.py")
    assert len(mistakes) >= 100
    assert check(tmp_path) == mistakes


@pytest.mark.parametrize("check", [mypy, pyright, ty, pyrefly])
def test_checker_tells_a_right_flow_from_a_wrong_one(check: Checker, tmp_path: Path) -> None:
    (tmp_path / "control.py").write_text(CONTROL, encoding="utf-8")
    assert check(tmp_path) == {("control.py", 7)}


def test_correct_flows_are_also_correct_when_they_are_defined() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "good.py"], cwd=HERE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
