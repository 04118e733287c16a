"""Targets and verdicts."""

import pytest

from flowdsl.bench import linear
from flowdsl.bench.report import Report
from flowdsl.bench.suite import WORKLOADS
from flowdsl.bench.targets import TARGETS, Target, verdicts
from flowdsl.bench.workload import Scale
from tests.unit.bench.reports import peer, report, result


def judged(made: Report) -> dict[str, tuple[float, bool]]:
    return {verdict.target.label: (verdict.value, verdict.is_met) for verdict in verdicts(made)}


def test_a_rate_must_be_reached_and_a_time_must_not_be_exceeded() -> None:
    made = report(result("W1", steps_per_second_1=(11_999.0,)), result("W3", p50_ms=(6.0,), p99_ms=(20.1,)))
    assert judged(made) == {
        "one worker process": (11_999.0, False),
        "start to result, p50": (6.0, True),
        "start to result, p99": (20.1, False),
    }


def test_a_ratio_is_one_of_medians() -> None:
    made = report(result("W1", worker_batch_1=(80.0, 10.0, 90.0), driver_batch_1=(100.0, 500.0, 100.0)))
    assert judged(made) == {"batch 1 on one connection, of the raw driver at batch 1": (0.8, True)}


def test_a_ratio_to_a_peer_needs_the_peer() -> None:
    ours = result("W1", steps_per_second_1=(5_000.0,))
    assert not [label for label in judged(report(ours)) if "DBOS" in label]
    made = report(ours, peers=(peer("dbos", "W1", steps_per_second_1=(500.0,)),))
    assert judged(made)["one worker process, against DBOS"] == (10.0, True)


def test_what_was_not_measured_is_not_judged() -> None:
    assert judged(Report()) == {}


@pytest.mark.parametrize(("scale", "is_judged"), [("full", True), ("quick", False)])
def test_what_grows_slowly_is_judged_by_full_measurements_only(scale: str, is_judged: bool) -> None:
    made = report(result("W7", scale=scale, size_last=(110.0,), size_middle=(100.0,)))
    expected = {"largest size of the tables, last third of the middle one": (1.1, True)}
    assert judged(made) == (expected if is_judged else {})


@pytest.mark.parametrize(
    ("target", "bound", "value", "said"),
    [
        (Target(workload="W1", label="", figure="", at_least=12_000, unit="steps/s"), "≥ 12,000 steps/s", 9.876, "9.9 steps/s"),
        (Target(workload="W1", label="", figure="", over="x", at_least=0.75), "≥ 75%", 0.804, "80%"),
        (Target(workload="W1", label="", figure="", over="x", over_peer="y", at_least=10), "≥ 10.0×", 12.34, "12.3×"),
        (Target(workload="W4", label="", figure="", at_most=0.1), "≤ 0.10", 0.026, "0.03"),
    ],
)  # fmt: skip
def test_bounds_and_values_are_said_alike(target: Target, bound: str, value: float, said: str) -> None:
    assert (target.bound, target.said(value)) == (bound, said)


def test_every_target_is_of_a_workload_that_exists() -> None:
    assert {target.workload for target in TARGETS} <= set(WORKLOADS)


def test_a_quick_measurement_has_all_settings_that_targets_of_the_linear_flow_name() -> None:
    named = {key for target in TARGETS if target.workload == "W1" for key in (target.figure, target.over) if key}
    starts = {"starts_per_second", "batch_starts_per_second", "commits_per_second_1"}
    for scale in (Scale.QUICK, Scale.FULL):
        assert named - starts <= {setting.key for setting in linear.settings(scale)}


def test_rates_with_cold_statistics_are_compared_with_one_that_has_them_too() -> None:
    pairs = [(target.figure, target.over) for target in TARGETS if target.workload == "W5"]
    assert sum("cold" in figure for figure, _ in pairs) == 2
    assert all(("cold" in figure) == ("cold" in (over or "")) for figure, over in pairs)
