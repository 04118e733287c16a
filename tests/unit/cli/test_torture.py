"""What `pgflow torture` prints."""

import io
import re

from rich.console import Console, Group

from flowdsl.cli.torture import _line, _parts
from flowdsl.torture.checks import Claim
from flowdsl.torture.drill import Progress
from flowdsl.torture.report import Report, Times


def report(*evidence: str, late_starts: int = 0) -> Report:
    return Report(
        seed=7,
        seconds=61.2,
        workers=3,
        server="PostgreSQL 18.1, a scratch server",
        blows={"SIGKILL in fail_tasks: executed": 2},
        did={"cancel_run": 1},
        runs={"completed": 9, "cancelled": 1},
        steps=30,
        tasks=50,
        handlers=61,
        late_starts=late_starts,
        recovery={"from any kill to the next completion": Times.of([0.25, 2.0])},
        claims=(Claim(claim="every output is right", checked=9, evidence=evidence),),
    )


def printed(of: Report) -> str:
    out = io.StringIO()
    Console(file=out, width=200, highlight=False, markup=False).print(Group(*_parts(of)))
    return "\n".join(re.sub(" +", " ", line).rstrip() for line in out.getvalue().splitlines())


def test_a_report_in_which_everything_held() -> None:
    text = printed(report())
    assert "SIGKILL in fail_tasks: executed 2" in text
    assert "from any kill to the next completion 2 2.0 s 2.0 s 2.0 s" in text
    assert "every output is right 9 yes" in text
    assert "10 runs (9 completed, 1 cancelled), 30 steps and 50 tasks completed, 61 handlers started.\n" in text
    assert text.endswith("Everything held. Repeat with --seed 7.")


def test_a_report_shows_what_speaks_against_a_claim() -> None:
    text = printed(report("a run is \x1b[31mwrong", late_starts=2))
    assert "every output is right 9 NO" in text
    assert "every output is right: a run is \N{REPLACEMENT CHARACTER}[31mwrong" in text
    assert "61 handlers started, 2 of them late, without knowing it." in text
    assert text.endswith("NOT everything held. Repeat with --seed 7.")


def test_progress_is_one_line() -> None:
    progress = Progress(phase="torturing", seconds=5.4, open_runs=60, runs=200, kills=11)
    assert str(_line(progress, 60.0)) == "torturing: 5 of 60 s, 11 blows, 200 runs started, 60 open"
    assert str(_line(progress, 3.0)) == "torturing: 5 s, 11 blows, 200 runs started, 60 open"
