"""retry_run: an ended run goes on in place; what is done stays done."""

import uuid

import psycopg
import pytest

from tests.sql.engine import Engine, Row


def retry(engine: Engine, run_id: object, from_step: str | None = None) -> Row:
    return engine.row("select * from pgflow.retry_run(%s, %s)", run_id, from_step)


def test_a_failed_step_is_tried_again_with_all_its_attempts(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"], "c": ["b"]}, max_attempts=2)
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.complete(engine.claim(), "a")
    for _ in range(2):
        engine.fail(engine.claim())
    assert engine.states(run_id) == {"a": "completed", "b": "failed", "c": "cancelled"}
    run = retry(engine, run_id)
    assert (run["status"], run["failed_at"], run["remaining_steps"], run["retried_count"]) == ("started", None, 2, 1)
    assert engine.states(run_id) == {"a": "completed", "b": "started", "c": "created"}
    (task,) = engine.claim()
    assert (task["step_slug"], task["attempt"], task["input"]) == ("b", 1, {"run": {}, "a": "a"})
    engine.complete([task], "b")
    engine.work_off("c")
    assert engine.run(run_id)["output"] == {"c": "c"}
    attempts = engine.rows("select attempt from pgflow.task_attempts where run_id = %s order by attempt_id", run_id)
    assert [row["attempt"] for row in attempts] == [1, 2]


def test_completed_tasks_of_a_failed_map_are_kept(engine: Engine) -> None:
    engine.flow("f", {"m": []}, maps=["m"], max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f", [1, 2, 3])
    one, two, three = engine.claim()
    engine.complete([one], "one")
    engine.fail([two])
    retry(engine, run_id)
    tasks = engine.claim()
    assert [task["task_index"] for task in tasks] == [1, 2]
    assert engine.complete([three], "late")[0]["reason"] == "lease_lost"
    engine.complete(tasks, "again")
    assert engine.run(run_id)["output"] == {"m": ["one", "again", "again"]}


def test_a_cancelled_run_goes_on(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"]}, deadline=100)
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.conn.execute("select pgflow.cancel_run(%s, 'oops')", (run_id,))
    run = retry(engine, run_id)
    assert (run["status"], run["end_reason"], run["cancelled_at"]) == ("started", None, None)
    assert run["deadline_at"] is not None
    engine.work_off(1)
    assert engine.run(run_id)["status"] == "completed"


def test_from_a_step_it_and_its_descendants_run_again(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"], "c": ["b"], "d": ["a"]})
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off(lambda task: f"{task['step_slug']} once")
    assert retry(engine, run_id, "b")["remaining_steps"] == 2
    assert engine.states(run_id) == {"a": "completed", "b": "started", "c": "created", "d": "completed"}
    done = engine.work_off(lambda task: f"{task['step_slug']} twice")
    assert [task["step_slug"] for task in done] == ["b", "c"]
    assert engine.run(run_id)["output"] == {"c": "c twice", "d": "d once"}


def test_from_a_step_other_failed_steps_go_on_as_well(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": [], "c": ["a", "b"]}, max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f", {})
    a, b = sorted(engine.claim(), key=lambda task: str(task["step_slug"]))
    engine.complete([a], 1)
    engine.fail([b])
    retry(engine, run_id, "a")
    assert {task["step_slug"] for task in engine.work_off(2)} == {"a", "b", "c"}
    assert engine.run(run_id)["output"] == {"c": 2}


def test_a_map_is_sized_anew_by_the_step_that_ran_again(engine: Engine) -> None:
    engine.flow("f", {"a": [], "m": ["a"], "z": ["m"]}, maps=["m"])
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.complete(engine.claim(), [1, 2, 3])
    engine.work_off("x")
    retry(engine, run_id, "a")
    engine.complete(engine.claim(), ["only"])
    (task,) = engine.claim()
    assert (task["step_slug"], task["element"]) == ("m", "only")
    engine.complete([task], "y")
    (z,) = engine.claim()
    assert z["input"]["m"] == ["y"]


def test_from_a_map_step_it_is_sized_by_what_its_source_still_holds(engine: Engine) -> None:
    engine.flow("f", {"a": [], "m": ["a"], "r": []}, maps=["m"])
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off([7, 8])
    retry(engine, run_id, "m")
    assert [task["element"] for task in engine.claim()] == [7, 8]


def test_from_a_skipped_step_its_condition_is_judged_again(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": ["a"], "c": ["b"]},
        settings={"b": {"required_input_pattern": {"a": 1}, "when_unmet": "skip-cascade"}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off(0)
    assert engine.states(run_id) == {"a": "completed", "b": "skipped", "c": "skipped"}
    run = retry(engine, run_id, "b")
    assert (run["status"], engine.states(run_id)["b"]) == ("completed", "skipped")
    retry(engine, run_id, "a")
    engine.work_off(1)
    assert engine.states(run_id) == {"a": "completed", "b": "completed", "c": "completed"}


def test_skipped_steps_stay_skipped_without_a_step(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": ["a", "b"]},
        max_attempts=1,
        settings={"a": {"when_exhausted": "skip"}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    a, b = sorted(engine.claim(), key=lambda task: str(task["step_slug"]))
    engine.fail([a])
    engine.fail([b])
    assert engine.states(run_id) == {"a": "skipped", "b": "failed", "c": "cancelled"}
    retry(engine, run_id)
    assert engine.states(run_id) == {"a": "skipped", "b": "started", "c": "created"}
    engine.work_off(1)
    assert engine.run(run_id)["status"] == "completed"


def test_an_unmet_condition_fails_again_until_its_source_runs_again(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": ["a"]},
        settings={"b": {"required_input_pattern": {"a": 1}, "when_unmet": "fail"}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off(0)
    assert retry(engine, run_id)["status"] == "failed"
    retry(engine, run_id, "a")
    engine.work_off(1)
    assert engine.run(run_id)["status"] == "completed"


def test_results_of_the_life_before_are_refused(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": []}, max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f", {})
    a, b = sorted(engine.claim(), key=lambda task: str(task["step_slug"]))
    engine.fail([a])
    retry(engine, run_id)
    assert engine.complete([b], "late")[0]["reason"] == "lease_lost"
    assert engine.fail([a])[0]["reason"] == "lease_lost"
    assert len(engine.work_off(1)) == 2


@pytest.mark.parametrize(
    ("end", "from_step", "sqlstate"),
    [(None, None, "PF415"), (None, "a", "PF415"), ("complete", None, "PF415"), ("complete", "nope", "PF407")],
)
def test_what_cannot_be_retried_is_refused(
    engine: Engine, end: str | None, from_step: str | None, sqlstate: str
) -> None:
    engine.flow("f", {"a": []})
    engine.serve("f")
    run_id = engine.start("f", {})
    if end == "complete":
        engine.work_off(1)
    before = engine.run(run_id)
    with pytest.raises(psycopg.Error) as caught:
        retry(engine, run_id, from_step)
    assert caught.value.sqlstate == sqlstate
    assert engine.run(run_id) == before


def test_an_unknown_run_is_refused(engine: Engine) -> None:
    with pytest.raises(psycopg.Error) as caught:
        retry(engine, uuid.uuid4())
    assert caught.value.sqlstate == "PF405"


def test_a_skip_still_cascades_to_what_runs_again(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": ["a", "b"], "d": ["c"], "e": ["a"]},
        settings={"b": {"required_input_pattern": {"x": 1}, "when_unmet": "skip-cascade"}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off(1)
    states = {"a": "completed", "b": "skipped", "c": "skipped", "d": "skipped", "e": "completed"}
    assert engine.states(run_id) == states
    retry(engine, run_id, "a")
    assert engine.states(run_id) == {**states, "a": "started", "e": "created"}
    engine.work_off(2)
    assert (engine.states(run_id), engine.run(run_id)["output"]) == (states, {"e": 2})
    retry(engine, run_id, "c")
    assert (engine.states(run_id), engine.run(run_id)["status"]) == (states, "completed")
