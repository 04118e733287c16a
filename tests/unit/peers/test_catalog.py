"""The caller's side of the peers: which Python, which command, how an answer is read."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.peers.catalog import PEERS, ROOT, PeerFailed, command, measure, parsed, peers_python


def test_named_python_of_the_peers_wins(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch()
    assert peers_python({"FLOWDSL_PEERS_PYTHON": str(python)}) == python


def test_named_python_that_is_missing_counts_as_none_at_all(tmp_path: Path) -> None:
    assert peers_python({"FLOWDSL_PEERS_PYTHON": str(tmp_path / "gone")}) is None


def test_python_of_make_peers_is_the_one_when_none_is_named() -> None:
    made = ROOT / ".venv-peers" / "bin" / "python"
    assert peers_python({}) == (made if made.exists() else None)


def test_command_names_peer_server_workload_and_every_number() -> None:
    words = command(Path("/py"), "dbos", "postgresql://@/x", "W2", {"elements": (10, 20), "runs": 3})
    assert words == [
        "/py", "-m", "bench.peers", "dbos", "--database-url", "postgresql://@/x", "--workload", "W2",
        "--elements", "10", "20", "--runs", "3",
    ]  # fmt: skip


def test_answer_is_the_last_line_whatever_a_peer_prints_before() -> None:
    assert parsed('hello from a library\n{"metrics": {"p50_ms": 7.5}}\n')["metrics"] == {"p50_ms": 7.5}


@pytest.mark.parametrize(
    ("output", "told"), [("", "printed nothing"), ("hello", "line of JSON"), ("[1]", "'metrics'"), ("{}", "'metrics'")]
)
def test_answer_that_is_none_is_told_apart(output: str, told: str) -> None:
    with pytest.raises(PeerFailed, match=told):
        parsed(output)


def test_failure_of_a_peer_carries_its_last_sentence(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho tried >&2\necho the server said no >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(PeerFailed, match=r"^absurd, W1: the server said no$"):
        measure("absurd", "postgresql://@/x", "W1", python, runs=1)


def test_silent_failure_of_a_peer_carries_its_exit_code(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(PeerFailed, match="exit code 3"):
        measure("absurd", "postgresql://@/x", "W1", python)


def test_measurement_runs_at_the_root_and_gives_the_answer(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "{\\"metrics\\": {\\"words\\": $#}, \\"directory\\": \\"$PWD\\"}"\n')
    python.chmod(0o755)
    answer = measure("dbos", "postgresql://@/x", "W3", python, samples=4)
    assert answer == {"metrics": {"words": 9}, "directory": str(ROOT)}


def test_every_peer_has_its_module() -> None:
    directory = ROOT / "bench" / "peers"
    assert {path.name.removesuffix("_peer.py") for path in directory.glob("*_peer.py")} == set(PEERS)


def test_no_module_of_the_peers_imports_flowdsl() -> None:
    modules = [*(ROOT / "bench" / "peers").glob("*.py"), ROOT / "bench" / "__init__.py"]
    importing = [
        path.name for path in modules if "import flowdsl" in (text := path.read_text()) or "from flowdsl" in text
    ]
    assert importing == []


def test_requirements_are_pinned() -> None:
    lines = (ROOT / "bench" / "peers" / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in wanted if "==" not in line] == []
    assert {"dbos", "absurdctl", "absurd-sdk", "procrastinate", "pgqueuer[asyncpg]"} <= {
        line.split("==")[0] for line in wanted
    }


def test_unknown_peer_is_refused_with_those_there_are() -> None:
    done = subprocess.run([sys.executable, "-m", "bench.peers", "celery"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Name a peer first, one of dbos, absurd, procrastinate, pgqueuer")
    assert done.stdout == ""
