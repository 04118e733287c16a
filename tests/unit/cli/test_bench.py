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
        "W3 start to result, p50 ≤ 6.0 ms 5.0 ms yes",
        "W3 start to result, p99 ≤ 20.0 ms 30.0 ms no",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*URL, "--only", "W1,W0"), "There is no workload 'W0'."),
        (("--database-url", "mysql://db"), "is not the URL of a PostgreSQL database"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: Sequence[str], message: str) -> None:
    found = bench(*arguments).exception
    assert isinstance(found, ConfigError)
    assert message in str(found)


def test_a_server_that_is_not_there_is_told_as_such() -> None:
    assert isinstance(bench(*URL).exception, DatabaseUnavailable)


@pytest.mark.parametrize(
    "arguments", [(), (*URL, "--repeat", "0"), (*URL, "--soak-seconds", "0"), (*URL, "--repeat", "many")]
)
def test_options_that_make_no_sense_are_a_mistake_of_usage(arguments: Sequence[str]) -> None:
    assert bench(*arguments).exit_code == 2
