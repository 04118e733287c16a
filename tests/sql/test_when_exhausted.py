"""when_exhausted: what becomes of a step whose task has failed for good."""

import pytest

from tests.sql.engine import Engine, Row


def state(engine: Engine, run_id: object, step: str) -> Row:
    return engine.row("select * from pgflow.step_states where run_id = %s and step_slug = %s", run_id, step)


def test_skip_keeps_the_error_and_dependents_go_on_without_it(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": ["a", "b"]},
        settings={"a": {"max_attempts": 1, "when_exhausted": "skip"}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    a, b = sorted(engine.claim(), key=lambda task: str(task["step_slug"]))
    assert engine.fail([a]) == []
    skipped = state(engine, run_id, "a")
    assert (skipped["status"], skipped["skip_reason"], skipped["error_message"]) == (
        "skipped",
        "handler_failed",
        "boom",
    )
    assert (skipped["remaining_tasks"], engine.task(run_id, "a")["status"]) == (None, "failed")
    engine.complete([b], 2)
    (c,) = engine.claim()
    assert c["input"] == {"run": {}, "b": 2}
    engine.complete([c], 3)
    assert engine.run(run_id)["output"] == {"c": 3}


def test_skip_waits_for_the_last_attempt(engine: Engine) -> None:
    engine.flow("f", {"a": []}, settings={"a": {"max_attempts": 2, "when_exhausted": "skip"}})
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.fail(engine.claim())
    assert engine.states(run_id) == {"a": "started"}
    engine.fail(engine.claim())
    assert (engine.states(run_id), engine.run(run_id)["status"]) == ({"a": "skipped"}, "completed")


def test_skip_cascade_skips_all_that_depends_on_it(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": ["a", "b"], "d": ["c"]},
        settings={"a": {"max_attempts": 1, "when_exhausted": "skip-cascade"}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    a, b = sorted(engine.claim(), key=lambda task: str(task["step_slug"]))
    engine.fail([a])
    assert engine.states(run_id) == {"a": "skipped", "b": "started", "c": "skipped", "d": "skipped"}
    assert state(engine, run_id, "d")["skip_reason"] == "dependency_skipped"
    engine.complete([b], 1)
    assert (engine.run(run_id)["status"], engine.run(run_id)["output"]) == ("completed", None)


def test_skipping_a_map_ends_its_other_tasks_and_a_map_over_it_is_empty(engine: Engine) -> None:
    engine.flow(
        "f",
        {"m": [], "n": ["m"], "z": ["n"]},
        maps=["m", "n"],
        settings={"m": {"max_attempts": 1, "when_exhausted": "skip"}},
    )
    engine.serve("f")
    run_id = engine.start("f", [1, 2, 3, 4])
    one, two, three = engine.claim(3)
    engine.complete([one], "one")
    engine.fail([two])
    tasks = engine.rows(
        "select status from pgflow.step_tasks where run_id = %s and step_slug = 'm' order by task_index", run_id
    )
    assert [task["status"] for task in tasks] == ["completed", "failed", "skipped", "skipped"]
    assert engine.complete([three], 3)[0]["reason"] == "lease_lost"
    assert engine.fail([three])[0]["reason"] == "lease_lost"
    assert engine.states(run_id) == {"m": "skipped", "n": "completed", "z": "started"}
    (z,) = engine.claim()
    assert z["input"] == {"run": [1, 2, 3, 4], "n": []}


def test_several_exhausted_tasks_of_one_step_in_one_call_skip_it_once(engine: Engine) -> None:
    engine.flow("f", {"m": [], "z": ["m"]}, maps=["m"], settings={"m": {"max_attempts": 1, "when_exhausted": "skip"}})
    engine.serve("f")
    run_id = engine.start("f", [1, 2, 3])
    engine.fail(engine.claim())
    assert engine.states(run_id) == {"m": "skipped", "z": "started"}
    assert engine.run(run_id)["remaining_steps"] == 1


def test_a_run_that_fails_in_the_same_call_skips_nothing(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": ["a"]},
        settings={"a": {"max_attempts": 1, "when_exhausted": "skip"}, "b": {"max_attempts": 1}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.fail(engine.claim())
    assert engine.run(run_id)["status"] == "failed"
    assert engine.states(run_id) == {"a": "cancelled", "b": "failed", "c": "cancelled"}


@pytest.mark.parametrize("mode", ["skip", "skip-cascade"])
def test_a_type_violation_fails_the_run_whatever_when_exhausted_says(engine: Engine, mode: str) -> None:
    engine.flow("f", {"a": [], "m": ["a"]}, maps=["m"], settings={"a": {"when_exhausted": mode}})
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.complete(engine.claim(), {"no": "array"})
    assert engine.run(run_id)["status"] == "failed"
    task = engine.task(run_id, "a")
    assert (task["status"], task["output"]) == ("failed", {"no": "array"})
    assert task["error_message"].startswith("[TYPE_VIOLATION]")


def test_a_poison_task_is_exhausted(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"]}, settings={"a": {"when_exhausted": "skip"}})
    run_id = engine.start("f", {})
    for _ in range(3):
        worker_id = engine.value("select gen_random_uuid()")
        engine.serve("f", worker_id=worker_id)
        assert len(engine.claim(worker_id=worker_id)) == 1
        engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker_id,))
        assert engine.value("select pgflow.recover_tasks()") == 1
    assert engine.states(run_id) == {"a": "skipped", "b": "started"}
    assert engine.task(run_id, "a")["permanently_stalled_at"] is not None
