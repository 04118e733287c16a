"""cancel_run: one transaction ends everything that is open, and nothing of the run is claimed afterwards."""

import uuid

import psycopg
import pytest

from tests.sql.engine import Engine


def test_it_ends_the_run_with_its_open_steps_and_tasks(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": [], "c": ["a"]})
    engine.serve("f")
    run_id = engine.start("f", {})
    (claimed,) = engine.claim(1)
    run = engine.row("select * from pgflow.cancel_run(%s, 'not needed')", run_id)
    assert (run["status"], run["end_reason"], run["deadline_at"]) == ("cancelled", "not needed", None)
    assert run["cancelled_at"] is not None
    assert set(engine.states(run_id).values()) == {"cancelled"}
    tasks = engine.rows("select status, visible_at from pgflow.step_tasks where run_id = %s", run_id)
    assert {task["status"] for task in tasks} == {"cancelled"}
    assert engine.claim() == []
    assert engine.complete([claimed], 1)[0]["reason"] == "run_ended"
    assert engine.fail([claimed])[0]["reason"] == "run_ended"


def test_what_was_done_before_stays(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"]})
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.complete(engine.claim(), "kept")
    engine.conn.execute("select pgflow.cancel_run(%s)", (run_id,))
    assert engine.states(run_id) == {"a": "completed", "b": "cancelled"}
    assert engine.task(run_id, "a")["output"] == "kept"


def test_it_is_idempotent_and_the_first_reason_stays(engine: Engine) -> None:
    engine.flow("f", {"a": []})
    run_id = engine.start("f", {})
    first = engine.row("select * from pgflow.cancel_run(%s, 'one')", run_id)
    assert engine.row("select * from pgflow.cancel_run(%s, 'two')", run_id) == first


def test_an_ended_run_is_returned_as_it_is(engine: Engine) -> None:
    engine.flow("f", {"a": []})
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off(1)
    assert engine.row("select * from pgflow.cancel_run(%s)", run_id)["status"] == "completed"


def test_an_unknown_run_is_refused(engine: Engine) -> None:
    with pytest.raises(psycopg.Error) as caught:
        engine.conn.execute("select pgflow.cancel_run(%s)", (uuid.uuid4(),))
    assert caught.value.sqlstate == "PF405"


def test_a_watched_run_is_announced(engine: Engine) -> None:
    engine.flow("f", {"a": []})
    run_id = engine.start("f", {})
    engine.conn.execute("listen pgflow_runs")
    engine.conn.execute("select pgflow.watch_run(%s)", (run_id,))
    engine.conn.execute("select pgflow.cancel_run(%s)", (run_id,))
    assert [notice.payload for notice in engine.conn.notifies(timeout=5, stop_after=1)] == [str(run_id)]


def test_the_worker_can_ask_which_claims_it_lost(engine: Engine) -> None:
    engine.flow("f", {"m": []}, maps=["m"])
    engine.serve("f")
    one, two = engine.start("f", [1, 2]), engine.start("f", [3])
    tasks = engine.claim()
    assert len({task["fence"] for task in tasks}) == 1
    engine.conn.execute("select pgflow.cancel_run(%s)", (one,))
    lost = engine.rows(
        "select * from pgflow.lost_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[])",
        [task["run_id"] for task in tasks],
        [task["step_slug"] for task in tasks],
        [task["task_index"] for task in tasks],
        [task["fence"] for task in tasks],
    )
    assert {(row["run_id"], row["task_index"], row["reason"]) for row in lost} == {
        (one, 0, "run_ended"),
        (one, 1, "run_ended"),
    }
    assert engine.run(two)["status"] == "started"
