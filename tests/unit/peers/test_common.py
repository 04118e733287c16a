"""What the peers share: payload, command line, statistics, answer."""

import json
from importlib.metadata import version

import pytest

from bench.peers.common import Item, MeasurementFailed, Result, answer, options, parser, percentile, positive
from bench.peers.entry import reason


def test_payload_is_about_a_hundred_bytes() -> None:
    assert 90 <= len(Item(number=1234).model_dump_json()) <= 130


def test_percentile_is_always_a_measured_value() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.50) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile([5.0], 0.50) == 5.0


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_answer_is_one_line_that_says_what_was_measured_with_what() -> None:
    result = Result(metrics={"p50_ms": 1.234567}, not_measured={"seconds_10000": "slow"}, settings={"pool": "5"})
    line = answer("absurd", "pydantic", "W3", result)
    assert "\n" not in line
    told = json.loads(line)
    assert told["metrics"] == {"p50_ms": 1.235}
    assert told["version"] == version("pydantic")
    assert (told["peer"], told["workload"]) == ("absurd", "W3")
    assert told["not_measured"] == {"seconds_10000": "slow"}
    assert told["settings"] == {"pool": "5"}
    assert told["versions"]["psycopg"] == version("psycopg")


def test_command_line_has_full_size_by_default() -> None:
    chosen = options(parser("dbos", 1_000).parse_args(["--database-url", "postgresql://@/x", "--workload", "W1"]))
    assert chosen.runs == 1_000
    assert chosen.elements == (1_000, 10_000)
    assert chosen.processes == (1, 2)
    assert chosen.samples == 200
    assert chosen.queued == (1_000, 100_000)


@pytest.mark.parametrize("text", ["0", "-1"])
def test_counts_below_one_are_refused(text: str) -> None:
    with pytest.raises(Exception, match="give 1 or more"):
        positive(text)


def test_reason_of_a_foreign_failure_is_its_first_line_with_its_kind() -> None:
    assert reason(ConnectionError("\n  no server here\n\n  - try again\n")) == "ConnectionError: no server here"
    assert reason(KeyError()) == "KeyError: no message"


def test_reason_of_a_measurement_that_failed_is_its_sentence() -> None:
    assert reason(MeasurementFailed("Nothing moved.")) == "Nothing moved."
