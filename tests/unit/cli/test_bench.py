"""What `pgflow bench` prints, and what it refuses."""

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console, Group
from typer.testing import CliRunner, Result

from flowdsl.cli.app import app
from flowdsl.cli.bench import _parts
from flowdsl.errors import ConfigError, DatabaseUnavailable
from tests.unit.bench.reports import report, result

URL = ("--database-url", "postgresql:///?host=/nowhere")


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


def test_the_table_shows_medians_with_extremes_and_verdicts() -> None:
    out = io.StringIO()
    made = report(result("W3", p50_ms=(5.0, 4.0, 6.0), p99_ms=(30.0,)))
    Console(file=out, width=200, highlight=False, markup=False).print(Group(*_parts(made)))
    lines = [re.sub(" +", " ", line).rstrip() for line in out.getvalue().splitlines()]
    assert lines == [
        "W3 title of W3 MEDIAN MIN - MAX UNIT",
        "p50 ms 5 4 - 6 units",
        "p99 ms 30 units",
        "Note of W3.",
        "",
        "TARGET ON TWO SHARED CORES BOUND MEASURED MET",
        "W3 start to result, p50 ≤ 6.0 ms 5.0 ms -",
        "W3 start to result, p99 ≤ 20.0 ms 30.0 ms -",
        "-: a speed; the bound is for two shared cores, and says nothing of another machine.",
    ]


def test_ratios_and_counts_are_judged_on_any_machine() -> None:
    out = io.StringIO()
    made = report(
        result("W1", worker_batch_1=(80.0,), driver_batch_1=(100.0,)), result("W4", wal_bytes_per_step=(2_001.0,))
    )
    Console(file=out, width=200, highlight=False, markup=False).print(Group(*_parts(made)))
    judged = [line.split()[-1] for line in out.getvalue().splitlines() if "≥" in line or "≤" in line]
    assert judged == ["yes", "no"]


def test_a_url_of_something_else_is_refused() -> None:
    found = bench("--database-url", "mysql://db").exception
    assert isinstance(found, ConfigError)
    assert "is not the URL of a PostgreSQL database" in str(found)


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("W1,W10", "There is no workload 'W10'. Did you mean 'W1'? Workloads: W1, W2,"),
        ("", "no workload is named. Workloads: W1, W2,"),
        (" , ", "no workload is named. Workloads: W1, W2,"),
    ],
)
def test_workloads_that_are_none_are_a_mistake_of_usage_that_tells_those_there_are(only: str, message: str) -> None:
    refused = bench(*URL, "--only", only)
    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.split())


def test_a_server_that_is_not_there_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql:///?host=/elsewhere")
    found = bench(*URL).exception
    assert isinstance(found, DatabaseUnavailable)
    assert found.hint == "Check that PostgreSQL runs and that --database-url is right."


@pytest.mark.parametrize(
    "arguments", [(), (*URL, "--repeat", "0"), (*URL, "--soak-seconds", "0"), (*URL, "--repeat", "many")]
)
def test_options_that_make_no_sense_are_a_mistake_of_usage(arguments: Sequence[str]) -> None:
    assert bench(*arguments).exit_code == 2
