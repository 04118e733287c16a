"""The published page: rendered from the stored results, and from nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import page
from bench.page import publish, read, render
from flowdsl.bench.report import Report
from tests.unit.bench.reports import ENVIRONMENT, peer, report, result


def test_the_page_in_the_docs_is_the_one_the_stored_results_give() -> None:
    assert page.RESULTS.with_suffix(".md").read_text() == render(read(page.RESULTS))


def test_no_place_of_the_prose_is_left_open() -> None:
    assert "[[" not in render(Report())
    assert "[[" not in render(report(result("W1", rate=(1.0,)), peers=(peer("dbos", "W1", rate=(1.0,)),)))


def test_figures_stand_with_their_extremes_and_circumstances() -> None:
    text = render(report(result("W6", rate=(10.0, 30.0, 20.0), share=(0.5,))))
    assert "### W6: title of W6" in text
    assert "Description of W6. 3 rounds, 1 min, on 2026-11-21." in text
    assert "| rate | 20 | units | (10 – 30) |" in text
    assert "| share | 0.5 | units |  |" in text
    assert "| Windows |  |\n|---|---:|\n| first | 10 |\n| last | 9 |" in text
    assert "- Note of W6." in text
    assert (
        "W6:\n\n- 2 cores (Abacus, wood)\n- 0.5 GB of memory, Linux 6\n- postgresql 18.4, python 3.11.7\n- `fsync = on`"
        in text
    )


def test_a_quick_result_says_that_it_is_one() -> None:
    assert "only the `quick` sizes" in render(report(result("W1", scale="quick", rate=(1.0,))))


def test_workloads_measured_under_other_circumstances_are_told_apart() -> None:
    other = replace(result("W2", rate=(1.0,)), environment={**ENVIRONMENT, "versions": {"postgresql": "16.9"}})
    text = render(report(result("W1", rate=(1.0,)), result("W3", p50=(1.0,)), other))
    assert "W1, W3:\n" in text
    assert "W2:\n" in text
    assert "- postgresql 16.9\n" in text


def test_targets_are_marked_as_met_or_missed() -> None:
    text = render(report(result("W3", p50_ms=(5.5,), p99_ms=(25.0,))))
    assert "| W3 | start to result, p50 | ≤ 6.0 ms | 5.5 ms | met |" in text
    assert "| W3 | start to result, p99 | ≤ 20.0 ms | 25.0 ms | **missed** |" in text


def test_peers_are_compared_by_how_many_times_better_ours_is() -> None:
    made = report(
        result("W1", steps_per_second_1=(3_000.0,)),
        result("W3", p50_ms=(6.0,)),
        peers=(
            peer("dbos", "W1", steps_per_second_1=(300.0,)),
            peer("dbos", "W3", p50_ms=(3.0,)),
            peer("absurd", "W1"),
        ),
    )
    text = render(made)
    assert "|  |  | flowdsl | absurd | DBOS |" in text
    assert "| W1 | one worker process, steps/s | **3,000** | – | 300 (10×) |" in text
    assert "| W3 | idle latency, p50, ms | **6** | – | 3 (0.5×) |" in text
    assert "### DBOS 1.2.3" in text
    assert "- batch: as its documentation says" in text
    assert "- not measured: W3, p99_ms: it has no results" in text


def test_without_peers_nothing_is_said_of_them() -> None:
    text = render(report(result("W1", rate=(1.0,))))
    assert "The other libraries" not in text
    assert "times better" not in text


def test_publishing_keeps_the_other_results(tmp_path: Path) -> None:
    stored = tmp_path / "benchmarks.json"
    publish(stored, report(result("W1", date="2026-11-01", rate=(1.0,)), result("W3", p50=(1.0,))))
    publish(stored, report(result("W1", date="2026-11-20", rate=(2.0,))))
    found = json.loads(stored.read_text())
    assert [(made["key"], made["date"][:10]) for made in found["results"]] == [
        ("W1", "2026-11-20"),
        ("W3", "2026-11-21"),
    ]
    assert (tmp_path / "benchmarks.md").read_text() == render(read(stored))


def test_what_is_rendered_anew_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = tmp_path / "benchmarks.json"
    publish(stored, report(result("W6", rate=(12345.678, 0.0123456)), peers=(peer("dbos", "W1", rate=(1.0,)),)))
    before = stored.read_text(), stored.with_suffix(".md").read_text()
    monkeypatch.setattr(page, "RESULTS", stored)
    page.main()
    assert (stored.read_text(), stored.with_suffix(".md").read_text()) == before
