"""Results, merged and stored."""

import json

from flowdsl.bench.report import Report
from tests.unit.bench.reports import peer, report, result


def test_a_report_comes_back_from_json_as_it_was() -> None:
    made = report(result("W1", rate=(1.0, 2.0)), result("W6", rate=(3.0,)), peers=(peer("dbos", "W1", rate=(1.0,)),))
    assert Report.of_json(json.loads(json.dumps(made.json()))).json() == made.json()


def test_a_newer_result_takes_the_place_of_an_older_one_and_the_others_keep_their_dates() -> None:
    old = report(result("W3", date="2026-11-01", p50=(9.0,)), result("W1", date="2026-11-01", rate=(1.0,)))
    both = old.merged(report(result("W1", date="2026-11-21", rate=(2.0,))))
    assert [(found.key, found.date) for found in both.results] == [("W1", "2026-11-21"), ("W3", "2026-11-01")]


def test_results_of_peers_are_merged_by_peer_and_workload() -> None:
    old = report(
        peers=(peer("dbos", "W1", rate=(1.0,)), peer("dbos", "W3", p50=(5.0,)), peer("absurd", "W1", rate=(2.0,)))
    )
    both = old.merged(report(peers=(peer("dbos", "W1", rate=(3.0,)),)))
    found = {(made.peer, made.workload): made.figures[0].median for made in both.peers}
    assert found == {("absurd", "W1"): 2.0, ("dbos", "W1"): 3.0, ("dbos", "W3"): 5.0}


def test_a_figure_is_found_by_workload_key_and_peer() -> None:
    made = report(result("W1", rate=(1.0,)), result("W2", rate=(2.0,)), peers=(peer("dbos", "W1", rate=(3.0,)),))
    medians = [
        None if found is None else found.median
        for found in (
            made.figure("W1", "rate"),
            made.figure("W2", "rate"),
            made.figure("W1", "rate", "dbos"),
            made.figure("W1", "rate", "absurd"),
            made.figure("W1", "speed"),
            made.figure("W3", "rate"),
        )
    ]
    assert medians == [1.0, 2.0, 3.0, None, None, None]
