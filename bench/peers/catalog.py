"""Which peers there are, where their Python is, and how the benchmark asks one of them for its figures.

The caller's side: it runs in our environment and speaks to a peer only through a command and one line of JSON.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PEERS = ("dbos", "absurd", "procrastinate", "pgqueuer")
WORKLOADS = ("W1", "W2", "W3", "W4", "W5")
ROOT = Path(__file__).parents[2]
PYTHON_VARIABLE = "FLOWDSL_PEERS_PYTHON"
SETUP = "make peers"

Option = int | Sequence[int]


class PeerFailed(Exception):  # noqa: N818 - it says what happened
    """A peer could not be measured; the message is the peer's own sentence."""


def peers_python(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the interpreter that has the peers: the one named by the environment, else the one `make peers` sets up."""
    named = environment.get(PYTHON_VARIABLE)
    python = Path(named) if named else ROOT / ".venv-peers" / "bin" / "python"
    return python if python.exists() else None


def command(python: Path, peer: str, url: str, workload: str, options: Mapping[str, Option]) -> list[str]:
    """Build the command that measures one workload of one peer, once."""
    words = [str(python), "-m", "bench.peers", peer, "--database-url", url, "--workload", workload]
    for name, value in options.items():
        words.append(f"--{name}")
        words += [str(number) for number in ([value] if isinstance(value, int) else value)]
    return words


def parsed(output: str) -> dict[str, Any]:
    """Read a peer's answer: the last line of its standard output."""
    lines = output.strip().splitlines()
    if not lines:
        raise PeerFailed("The peer printed nothing. Run its command by hand to see why.")
    try:
        answer = json.loads(lines[-1])
    except ValueError as error:
        raise PeerFailed(f"The peer printed {lines[-1]!r} where a line of JSON was expected.") from error
    if not isinstance(answer, dict) or "metrics" not in answer:
        raise PeerFailed(f"The peer's answer holds no 'metrics': {lines[-1]!r}.")
    return answer


def measure(peer: str, url: str, workload: str, python: Path, **options: Option) -> dict[str, Any]:
    """Measure one workload of one peer once; `url` is any database of the server, its role may create databases.

    The answer: `peer`, `version`, `workload`, `metrics` (numbers by name), `settings` (texts by name, each with its
    source), `not_measured` (reasons by metric), `versions` (Python and libraries).
    """
    # What the peer says meanwhile is shown, and its last line is the reason when it fails.
    done = subprocess.run(
        command(python, peer, url, workload, options), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"]
        raise PeerFailed(f"{peer}, {workload}: {said[-1]}")
    return parsed(done.stdout)
