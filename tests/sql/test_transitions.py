"""The transitions one by one, on states written by hand: each does its part and, called again, nothing."""

import uuid
from typing import Any

import pytest

from tests.sql.engine import Engine


@pytest.fixture
def by_hand(engine: Engine) -> Any:
    """Insert a run of flow f by hand, with these columns of its step states."""

    def insert(**states: dict[str, Any]) -> uuid.UUID:
        run_id: uuid.UUID = engine.value(
            "insert into pgflow.runs (flow_slug, input, remaining_steps) values ('f', '{}', %s) returning run_id",
            len(states),
        )
        for step, given in states.items():
            engine.conn.execute(
                "insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks) "
                "values ('f', %s, %s, %s, %s)",
                (run_id, step, given.get("remaining_deps", 0), given.get("initial_tasks", 1)),
            )
        return run_id

    return insert


def test_start_ready_steps_starts_those_without_open_dependencies(engine: Engine, by_hand: Any) -> None:
    engine.flow("f", {"a": [], "b": ["a"]})
    engine.serve("f")
    run_id = by_hand(a={}, b={"remaining_deps": 1})
    for _ in range(2):
        engine.value("select pgflow.start_ready_steps(%s)", run_id)
        assert engine.states(run_id) == {"a": "started", "b": "created"}
    assert [task["step_slug"] for task in engine.work_off(1)] == ["a", "b"]
    assert engine.run(run_id)["status"] == "completed"


@pytest.mark.broken_data("a step is set back by hand")
def test_start_ready_steps_starts_nothing_whose_condition_is_unmet(engine: Engine, by_hand: Any) -> None:
    engine.flow("f", {"a": [], "b": []}, settings={"a": {"required_input_pattern": {"x": 1}}})
    run_id = by_hand(a={}, b={})
    engine.value("select pgflow.start_ready_steps(%s)", run_id)
    assert engine.states(run_id) == {"a": "created", "b": "started"}


def test_cascade_resolve_conditions_skips_and_says_whether_the_run_lives(engine: Engine, by_hand: Any) -> None:
    engine.flow("f", {"a": [], "b": ["a"]}, settings={"a": {"required_input_pattern": {"x": 1}}})
    run_id = by_hand(a={}, b={"remaining_deps": 1})
    assert engine.value("select pgflow.cascade_resolve_conditions(%s)", run_id) is True
    assert engine.states(run_id) == {"a": "skipped", "b": "started"}
    assert engine.value("select pgflow.cascade_resolve_conditions(%s)", run_id) is True


def test_cascade_resolve_conditions_is_false_when_the_run_failed_by_it(engine: Engine, by_hand: Any) -> None:
    engine.flow("f", {"a": []}, settings={"a": {"required_input_pattern": {"x": 1}, "when_unmet": "fail"}})
    run_id = by_hand(a={})
    assert engine.value("select pgflow.cascade_resolve_conditions(%s)", run_id) is False
    assert engine.run(run_id)["status"] == "failed"
    assert engine.value("select pgflow.cascade_resolve_conditions(%s)", run_id) is False


@pytest.mark.broken_data("maps are emptied by hand")
def test_cascade_complete_taskless_steps_completes_empty_maps_all_the_way(engine: Engine, by_hand: Any) -> None:
    engine.flow("f", {"m": [], "n": ["m"], "z": ["n"]}, maps=["m", "n"])
    run_id = by_hand(m={"initial_tasks": 0}, n={"remaining_deps": 1, "initial_tasks": None}, z={"remaining_deps": 1})
    assert engine.value("select pgflow.cascade_complete_taskless_steps(%s)", run_id) == 2
    assert engine.states(run_id) == {"m": "completed", "n": "completed", "z": "started"}
    assert engine.value("select pgflow.cascade_complete_taskless_steps(%s)", run_id) == 0


@pytest.mark.broken_data("a step is skipped for a reason that it does not have")
def test_cascade_force_skip_steps_skips_a_step_and_all_that_depends_on_it(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"], "c": ["b"], "d": []})
    engine.serve("f")
    run_id = engine.start("f", {})
    assert engine.value("select pgflow._cascade_force_skip_steps(%s, 'b', 'condition_unmet')", run_id) == 2
    assert engine.states(run_id) == {"a": "started", "b": "skipped", "c": "skipped", "d": "started"}
    assert engine.value("select pgflow._cascade_force_skip_steps(%s, 'b', 'condition_unmet')", run_id) == 0
    assert engine.run(run_id)["remaining_steps"] == 2
    engine.work_off(1)
    assert engine.run(run_id)["output"] == {"d": 1}


@pytest.mark.broken_data("remaining_steps is set by hand")
def test_maybe_complete_run_completes_a_run_without_remaining_steps_only(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": []})
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.value("select pgflow.maybe_complete_run(%s)", run_id)
    assert engine.run(run_id)["status"] == "started"
    engine.complete(engine.claim(1), 1)
    engine.conn.execute(
        "update pgflow.step_states set status = 'skipped', skip_reason = 'condition_unmet', "
        "skipped_at = now(), remaining_tasks = null where run_id = %s and status = 'started'",
        (run_id,),
    )
    engine.conn.execute(
        "update pgflow.step_tasks set status = 'skipped' where run_id = %s and status = 'queued'", (run_id,)
    )
    engine.conn.execute("update pgflow.runs set remaining_steps = 0 where run_id = %s", (run_id,))
    for _ in range(2):
        engine.value("select pgflow.maybe_complete_run(%s)", run_id)
        assert engine.run(run_id)["status"] == "completed"
    assert engine.run(run_id)["output"] == {"a": 1}


@pytest.mark.parametrize(
    "call",
    [
        "start_ready_steps(%s)",
        "maybe_complete_run(%s)",
        "cascade_complete_taskless_steps(%s)",
        "cascade_resolve_conditions(%s)",
    ],
)
def test_nothing_happens_to_an_ended_or_unknown_run(engine: Engine, call: Any) -> None:
    engine.flow("f", {"a": []})
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off(1)
    before = engine.run(run_id)
    engine.value(f"select pgflow.{call}", run_id)
    engine.value(f"select pgflow.{call}", uuid.uuid4())
    assert engine.run(run_id) == before


def test_a_run_with_its_steps_is_one_value(engine: Engine) -> None:
    engine.flow("f", {"b": [], "a": ["b"]})
    given = uuid.uuid4()
    value = engine.value("select pgflow.start_flow_with_states('f', '{\"x\": 1}', %s)", given)
    assert (value["run"]["run_id"], value["run"]["status"], value["run"]["input"]) == (str(given), "started", {"x": 1})
    assert [(step["step_slug"], step["status"]) for step in value["steps"]] == [("b", "started"), ("a", "created")]
    assert engine.value("select pgflow.get_run_with_states(%s)", given) == value
    assert engine.value("select pgflow.get_run_with_states(%s)", uuid.uuid4()) is None


def test_a_single_step_written_by_hand_without_a_number_of_tasks_has_one(engine: Engine, by_hand: Any) -> None:
    engine.flow("f", {"a": [], "b": ["a"]})
    engine.serve("f")
    run_id = by_hand(a={"initial_tasks": None}, b={"remaining_deps": 1, "initial_tasks": None})
    engine.value("select pgflow.start_ready_steps(%s)", run_id)
    assert [task["step_slug"] for task in engine.work_off(1)] == ["a", "b"]
    assert engine.run(run_id)["status"] == "completed"
