"""Which workloads are chosen, and how they are run."""

import pytest

from flowdsl.bench.suite import WORKLOADS, chosen
from flowdsl.errors import ConfigError


def keys(only: list[str], skip: list[str]) -> list[str]:
    return [workload.key for workload in chosen(only, skip)]


def test_all_workloads_are_measured_unless_some_are_named() -> None:
    assert keys([], []) == ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9"]
    assert keys(["w3", "W1"], []) == ["W1", "W3"]


def test_workloads_can_be_left_out() -> None:
    assert keys([], ["W7", "w5"]) == ["W1", "W2", "W3", "W4", "W6", "W8", "W9"]
    assert keys(["W1", "W7"], ["W7"]) == ["W1"]


@pytest.mark.parametrize(("only", "skip"), [(["W11"], []), ([], ["W11"])])
def test_an_unknown_workload_is_told_with_those_there_are(only: list[str], skip: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"no workload 'W11'.*\n.*Workloads: W1, W2, .*W9\."):
        chosen(only, skip)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ConfigError, match="No workload is left"):
        chosen(["W1"], ["W1"])


def test_each_workload_is_found_under_its_own_key() -> None:
    assert [workload.key for workload in WORKLOADS.values()] == list(WORKLOADS)
