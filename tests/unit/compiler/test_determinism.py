"""The same flows give the same bytes: on each Python version, and whatever the machine's language, time zone and hash seed.

Other versions are looked for as `python3.12` and `python3.13`, and in the folders of FLOWDSL_TEST_PYTHONS (virtual environments,
separated as in PATH); they need the libraries that flowdsl needs, not flowdsl itself.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests" / "golden" / "any_python.txt"
FLOWS = Path("tests") / "unit" / "compiler" / "deterministic_flows.py"
LIBRARIES = ("alembic", "jinja2", "pydantic", "typer")
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from flowdsl.compiler.baseline import Baseline
from flowdsl.compiler.compilation import changes
from flowdsl.compiler.migration import core_revision, flow_revision
from flowdsl.compiler.revision import write_revision
from flowdsl.model.registry import load_flows

shapes = [flow.shape() for flow in load_flows(sys.argv[2], directory=Path(sys.argv[1]))]
core = core_revision(None, generator="flowdsl 0.0.0")
flows = flow_revision(core.revision, changes(shapes, Baseline()), generator="flowdsl 0.0.0")
write_revision(Path(sys.argv[3]), flows.text)
print(core.revision)
"""


def compiled(python: str, folder: Path, **variables: str) -> bytes:
    """Compile with another interpreter, in a process of its own, and return the bytes of the file."""
    path = folder / "revision.py"
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    command = [python, "-c", SCRIPT, str(REPOSITORY), FLOWS.as_posix(), str(path)]
    result = subprocess.run(command, capture_output=True, check=False, cwd=folder, env={**kept, **variables})
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    return path.read_bytes()


def test_the_file_is_the_golden_one(tmp_path: Path) -> None:
    text = compiled(sys.executable, tmp_path)
    if os.environ.get("FLOWDSL_WRITE_GOLDEN"):
        GOLDEN.write_bytes(text)
    assert GOLDEN.read_bytes() == text


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"PYTHONHASHSEED": "1"}, id="hash seed 1"),
        pytest.param({"PYTHONHASHSEED": "4711", "PYTHONOPTIMIZE": "1"}, id="hash seed 4711, optimised"),
        pytest.param({"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C"}, id="far away"),
        pytest.param({"LC_ALL": "tr_TR.UTF-8", "PYTHONUTF8": "0"}, id="turkish, without UTF-8 mode"),
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, id="ASCII"),
        pytest.param({"NO_COLOR": "1", "COLUMNS": "20"}, id="narrow"),
    ],
)
def test_the_environment_does_not_matter(tmp_path: Path, variables: dict[str, str]) -> None:
    assert compiled(sys.executable, tmp_path, **variables) == GOLDEN.read_bytes()


def test_the_working_directory_and_line_ends_of_the_module_do_not_matter(tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    text = (REPOSITORY / FLOWS).read_text(encoding="utf-8")
    (elsewhere / "deterministic_flows.py").write_bytes(text.replace("\n", "\r\n").encode())
    path = tmp_path / "revision.py"
    command = [sys.executable, "-c", SCRIPT, str(REPOSITORY), str(elsewhere / "deterministic_flows.py"), str(path)]
    subprocess.run(command, check=True, cwd="/")
    assert path.read_bytes() == GOLDEN.read_bytes()
    assert b"\r" not in path.read_bytes()


def interpreter(version: str) -> str:
    """Return an interpreter of that version that has the libraries, or skip the test with what is lacking."""
    folders = [
        Path(folder) / "bin" for folder in os.environ.get("FLOWDSL_TEST_PYTHONS", "").split(os.pathsep) if folder
    ]
    lacks = f"there is no python{version}"
    for folder in (*folders, None):
        found = shutil.which(f"python{version}", path=None if folder is None else str(folder))
        if found is None:
            continue
        check = f"import sys; assert sys.version_info[:2] == {tuple(map(int, version.split('.')))}; import {', '.join(LIBRARIES)}"
        result = subprocess.run([found, "-c", check], capture_output=True, check=False)
        if result.returncode == 0:
            return found
        said = result.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {result.returncode}"]
        # A traceback ends with its error; a launcher of versions (pyenv) begins with what it has to say.
        lacks = f"{found} lacks what flowdsl needs: {said[-1] if 'Error' in said[-1] else said[0]}"
    pytest.skip(lacks)


def pydantic_of(python: str) -> str:
    command = [python, "-c", "import pydantic; print(pydantic.VERSION)"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_python_version_does_not_matter(tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    assert compiled(python, tmp_path) == GOLDEN.read_bytes(), f"pydantic {pydantic_of(python)}"
