"""enforce_deadlines: a run that is past its deadline fails, with everything in it."""

import re

from tests.sql.engine import Engine


def test_an_overdue_run_fails_and_says_why(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"]}, deadline=60)
    engine.serve("f")
    run_id = engine.start("f", {})
    (task,) = engine.claim()
    assert engine.value("select pgflow.enforce_deadlines()") == 0
    engine.set_clock(61)
    assert engine.value("select pgflow.enforce_deadlines()") == 1
    run = engine.run(run_id)
    assert run["status"] == "failed"
    assert re.fullmatch(r"deadline of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC exceeded", run["end_reason"])
    assert engine.states(run_id) == {"a": "cancelled", "b": "cancelled"}
    assert engine.complete([task], 1)[0]["reason"] == "run_ended"
    outcome = engine.row("select * from pgflow.run_outcome(%s)", run_id)
    assert (outcome["failed_step"], outcome["error_class"], outcome["error_message"]) == (
        None,
        "DeadlineExceeded",
        run["end_reason"],
    )
    assert engine.value("select pgflow.enforce_deadlines()") == 0


def test_ended_runs_have_no_deadline_any_more(engine: Engine) -> None:
    engine.flow("f", {"a": []}, deadline=60)
    engine.serve("f")
    run_id = engine.start("f", {})
    assert engine.run(run_id)["deadline_at"] is not None
    engine.work_off(1)
    assert engine.run(run_id)["deadline_at"] is None
    engine.set_clock(100)
    assert engine.value("select pgflow.enforce_deadlines()") == 0


def test_it_is_bounded_and_takes_the_most_overdue_first(engine: Engine) -> None:
    engine.flow("f", {"a": []}, deadline=60)
    runs = []
    for seconds in (0, 1, 2):
        engine.set_clock(seconds)
        runs.append(engine.start("f", {}))
    engine.set_clock(100)
    assert engine.value("select pgflow.enforce_deadlines(2)") == 2
    assert [engine.run(run_id)["status"] for run_id in runs] == ["failed", "failed", "started"]


def test_a_changed_deadline_holds_for_new_runs(engine: Engine) -> None:
    engine.flow("f", {"a": []})
    before = engine.start("f", {})
    engine.conn.execute("select pgflow.set_flow_options('f', deadline => 5)")
    after = engine.start("f", {})
    assert engine.run(before)["deadline_at"] is None
    assert engine.run(after)["deadline_at"] is not None


def test_a_retried_run_begins_its_deadline_anew(engine: Engine) -> None:
    engine.flow("f", {"a": []}, deadline=60)
    run_id = engine.start("f", {})
    engine.set_clock(61)
    engine.value("select pgflow.enforce_deadlines()")
    engine.conn.execute("select pgflow.retry_run(%s)", (run_id,))
    assert engine.value("select pgflow.enforce_deadlines()") == 0
    engine.set_clock(122)
    assert engine.value("select pgflow.enforce_deadlines()") == 1
