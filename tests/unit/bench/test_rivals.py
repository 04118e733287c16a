"""The peers' part: a round of each after each of ours."""

from pathlib import Path
from typing import Any

import pytest

from bench.peers import catalog
from bench.rivals import Rivals
from flowdsl.bench.suite import WORKLOADS
from flowdsl.bench.workload import Scale

Call = tuple[str, str, dict[str, Any]]


def answers(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> list[Call]:
    calls: list[Call] = []

    def measure(peer: str, url: str, workload: str, python: Path, **options: Any) -> dict[str, Any]:
        assert (url, python) == ("the url", Path("python"))
        calls.append((peer, workload, options))
        if peer == failing:
            raise catalog.PeerFailed(f"{peer} fell over")
        return {
            "peer": peer,
            "version": "9",
            "metrics": {"p50_ms": float(len(calls)), "samples": 200},
            "settings": {"pool": "10"},
            "not_measured": {"p99_ms": "too few"},
        }

    monkeypatch.setattr(catalog, "measure", measure)
    return calls


def rivals(scale: Scale = Scale.FULL) -> tuple[Rivals, list[str]]:
    said: list[str] = []
    return Rivals("the url", Path("python"), scale, said.append), said


def test_every_peer_is_measured_in_every_round_with_its_own_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answers(monkeypatch)
    made, _ = rivals()
    for number in range(2):
        made.measure(WORKLOADS["W3"], number)
    assert calls == [(peer, "W3", {}) for peer in catalog.PEERS] * 2
    first = made.results("W3")[0]
    assert (first.peer, first.version, first.settings, first.missing) == (
        "dbos",
        "9",
        {"pool": "10"},
        {"p99_ms": "too few"},
    )
    found = {figure.key: (figure.label, figure.unit, figure.values) for figure in first.figures}
    assert found == {
        "p50_ms": ("idle latency, p50", "ms", (1.0, 1.0 + len(catalog.PEERS))),
        "samples": ("samples", "", (200.0, 200.0)),
    }


def test_a_quick_measurement_asks_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answers(monkeypatch)
    made, _ = rivals(Scale.QUICK)
    made.measure(WORKLOADS["W2"], 0)
    assert {tuple(options.items()) for _, _, options in calls} == {(("elements", (1_000,)),)}


def test_workloads_that_peers_do_not_have_are_not_asked_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answers(monkeypatch)
    made, _ = rivals()
    made.measure(WORKLOADS["W7"], 0)
    assert calls == []
    assert made.results("W7") == ()


def test_a_peer_that_fails_is_told_and_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answers(monkeypatch, failing="absurd")
    made, said = rivals()
    made.measure(WORKLOADS["W3"], 0)
    made.measure(WORKLOADS["W3"], 1)
    assert [peer for peer, _, _ in calls].count("absurd") == 1
    assert "absurd fell over" in said
    failed = next(found for found in made.results("W3") if found.peer == "absurd")
    assert (failed.figures, failed.missing) == ((), {"the rest": "absurd fell over"})
    others = [found for found in made.results("W3") if found.peer != "absurd"]
    assert {len(found.figures[0].values) for found in others} == {2}
