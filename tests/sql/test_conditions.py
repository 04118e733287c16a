"""Conditions: judged whenever a step becomes ready, for whatever reason it became ready."""

from typing import Any

import pytest

from tests.sql.engine import Engine


def skip_reasons(engine: Engine, run_id: object) -> dict[str, str]:
    rows = engine.rows("select step_slug, skip_reason from pgflow.step_states where run_id = %s", run_id)
    return {row["step_slug"]: row["skip_reason"] for row in rows if row["skip_reason"] is not None}


@pytest.mark.parametrize(
    ("given", "settings", "is_met"),
    [
        ({"a": 1, "b": 2}, {"required_input_pattern": {"a": 1}}, True),
        ({"a": 2}, {"required_input_pattern": {"a": 1}}, False),
        ({"a": 1}, {"required_input_pattern": {}}, True),
        ({"a": {"b": [1, 2, 3]}}, {"required_input_pattern": {"a": {"b": [3, 1]}}}, True),
        ({"a": 1}, {"forbidden_input_pattern": {"a": 1}}, False),
        ({"a": 2}, {"forbidden_input_pattern": {"a": 1}}, True),
        ({"a": 1}, {"required_input_pattern": {"a": 1}, "forbidden_input_pattern": {"b": 1}}, True),
        ({"a": 1, "b": 1}, {"required_input_pattern": {"a": 1}, "forbidden_input_pattern": {"b": 1}}, False),
        ({"a": 5}, {"input_predicate": "$.a > 3"}, True),
        ({"a": 3}, {"input_predicate": "$.a > 3"}, False),
        ({"b": 3}, {"input_predicate": "$.a > 3"}, False),
        ({"a": 5}, {"input_predicate": "$.a > 3", "forbidden_input_pattern": {"a": 5}}, False),
        ([1, 2], {"required_input_pattern": {"a": 1}}, False),
        (None, {"forbidden_input_pattern": {"a": 1}}, True),
    ],
)
def test_a_root_step_is_judged_on_the_input_of_the_run(
    engine: Engine, given: Any, settings: dict[str, Any], is_met: bool
) -> None:
    engine.flow("f", {"a": []}, settings={"a": settings})
    run_id = engine.start("f", given)
    assert engine.states(run_id) == {"a": "started" if is_met else "skipped"}
    assert skip_reasons(engine, run_id) == ({} if is_met else {"a": "condition_unmet"})
    assert engine.run(run_id)["status"] == ("started" if is_met else "completed")


@pytest.mark.parametrize(
    ("pattern", "is_met"),
    [
        ({"a": {"ok": True}}, True),
        ({"a": {"ok": False}}, False),
        ({"a": {"ok": True}, "run": {"n": 1}}, True),
        ({"run": {"n": 2}}, False),
        ({"b": 7}, True),
    ],
)
def test_a_dependent_step_is_judged_on_outputs_by_slug_and_the_run(
    engine: Engine, pattern: dict[str, Any], is_met: bool
) -> None:
    engine.flow("f", {"a": [], "b": [], "c": ["a", "b"]}, settings={"c": {"required_input_pattern": pattern}})
    engine.serve("f")
    run_id = engine.start("f", {"n": 1})
    tasks = engine.claim()
    assert engine.complete(tasks, lambda task: {"ok": True} if task["step_slug"] == "a" else 7) == []
    assert engine.states(run_id)["c"] == ("started" if is_met else "skipped")


def test_a_skipped_dependency_is_absent_from_what_is_judged_and_from_inputs(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": ["a", "b"]},
        settings={
            "a": {"required_input_pattern": {"never": 1}},
            "c": {"forbidden_input_pattern": {"a": {}}},
        },
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.complete(engine.claim(), 1)
    (task,) = engine.claim()
    assert (task["step_slug"], task["input"]) == ("c", {"run": {}, "b": 1})
    engine.complete([task], "done")
    assert engine.run(run_id)["output"] == {"c": "done"}


def test_when_unmet_skip_lets_dependents_go_on(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"]}, settings={"a": {"required_input_pattern": {"x": 1}}})
    engine.serve("f")
    run_id = engine.start("f", {})
    assert engine.states(run_id) == {"a": "skipped", "b": "started"}
    engine.work_off("b")
    assert engine.run(run_id)["output"] == {"b": "b"}


def test_when_unmet_skip_cascade_skips_all_that_depends_on_it(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": ["a", "b"], "d": ["c"], "e": ["b"]},
        settings={"a": {"required_input_pattern": {"x": 1}, "when_unmet": "skip-cascade"}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    assert engine.states(run_id) == {"a": "skipped", "b": "started", "c": "skipped", "d": "skipped", "e": "created"}
    assert skip_reasons(engine, run_id) == {
        "a": "condition_unmet",
        "c": "dependency_skipped",
        "d": "dependency_skipped",
    }
    engine.work_off(1)
    assert (engine.run(run_id)["status"], engine.run(run_id)["output"]) == ("completed", {"e": 1})


def test_when_unmet_fail_fails_the_step_and_the_run_and_says_so(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": ["a"]},
        settings={"c": {"required_input_pattern": {"a": 1}, "when_unmet": "fail"}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    a, b = sorted(engine.claim(), key=lambda task: str(task["step_slug"]))
    assert engine.complete([a], 2) == []
    assert engine.run(run_id)["status"] == "failed"
    assert engine.states(run_id) == {"a": "completed", "b": "cancelled", "c": "failed"}
    state = engine.row("select * from pgflow.step_states where run_id = %s and step_slug = 'c'", run_id)
    assert (state["error_message"], state["started_at"]) == ("Condition not met", None)
    assert engine.complete([b], 1)[0]["reason"] == "run_ended"
    outcome = engine.row("select * from pgflow.run_outcome(%s)", run_id)
    assert (outcome["failed_step"], outcome["error_class"]) == ("c", "ConditionNotMet")


def test_an_unmet_root_that_fails_leaves_no_work_behind(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "b": [], "c": []},
        settings={
            "a": {"required_input_pattern": {"x": 1}, "when_unmet": "fail"},
            "c": {"required_input_pattern": {"x": 1}},
        },
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    assert engine.states(run_id) == {"a": "failed", "b": "cancelled", "c": "cancelled"}
    assert engine.claim() == []


def test_conditions_are_judged_for_steps_that_an_empty_map_made_ready(engine: Engine) -> None:
    """Contract §5, point 4."""
    engine.flow(
        "f",
        {"m": [], "n": ["m"], "c": ["n"], "d": ["n"]},
        maps=["m", "n"],
        settings={
            "c": {"required_input_pattern": {"n": [1]}},
            "d": {"required_input_pattern": {"n": []}},
        },
    )
    run_id = engine.start("f", [])
    assert engine.states(run_id) == {"m": "completed", "n": "completed", "c": "skipped", "d": "started"}


def test_an_empty_map_with_an_unmet_condition_is_skipped_and_not_completed(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "m": ["a"]},
        maps=["m"],
        settings={"m": {"map_over": "a", "required_input_pattern": {"run": {"x": 1}}}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off([])
    assert engine.states(run_id)["m"] == "skipped"
    assert engine.run(run_id)["output"] is None


def test_a_conditional_root_map_gets_its_tasks_when_met_and_none_when_not(engine: Engine) -> None:
    engine.flow("met", {"m": []}, maps=["m"], settings={"m": {"forbidden_input_pattern": {"x": 1}}})
    engine.flow("unmet", {"m": []}, maps=["m"], settings={"m": {"required_input_pattern": {"x": 1}}})
    engine.serve("met", "unmet")
    met, unmet = engine.start("met", [1, 2, 3]), engine.start("unmet", [1, 2, 3])
    assert [task["element"] for task in engine.claim()] == [1, 2, 3]
    assert (engine.states(met), engine.states(unmet)) == ({"m": "started"}, {"m": "skipped"})


def test_a_map_over_a_skipped_step_has_no_tasks_and_the_output_is_empty(engine: Engine) -> None:
    engine.flow(
        "f",
        {"a": [], "m": ["a"], "n": ["m"], "z": ["n"]},
        maps=["m", "n"],
        settings={"a": {"required_input_pattern": {"x": 1}}},
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    assert engine.states(run_id) == {"a": "skipped", "m": "completed", "n": "completed", "z": "started"}
    (task,) = engine.claim()
    assert task["input"] == {"run": {}, "n": []}


def test_a_chain_of_200_skips_settles_in_one_call(engine: Engine) -> None:
    """Contract §5, point 5: no iteration limits."""
    steps = {f"s{i}": [f"s{i - 1}"] if i else [] for i in range(200)}
    never = {"required_input_pattern": {"never": 1}}
    engine.flow("f", steps, settings={slug: never for slug in steps if slug != "s199"})
    run_id = engine.start("f", {})
    states = engine.states(run_id)
    assert states.pop("s199") == "started"
    assert set(states.values()) == {"skipped"}


def test_a_chain_of_200_empty_maps_settles_in_one_call(engine: Engine) -> None:
    """Contract §5, point 5: no iteration limits."""
    steps = {f"s{i}": [f"s{i - 1}"] if i else [] for i in range(200)}
    engine.flow("f", steps, maps=list(steps))
    run_id = engine.start("f", [])
    assert set(engine.states(run_id).values()) == {"completed"}
    assert engine.run(run_id)["output"] == {"s199": []}


def test_a_ladder_of_18_diamonds_is_skipped_without_walking_every_path(engine: Engine) -> None:
    """Contract §5, point 5: 2^18 paths, 55 steps."""
    steps: dict[str, list[str]] = {"top0": []}
    for i in range(18):
        steps |= {f"l{i}": [f"top{i}"], f"r{i}": [f"top{i}"], f"top{i + 1}": [f"l{i}", f"r{i}"]}
    settings = {"top0": {"required_input_pattern": {"x": 1}, "when_unmet": "skip-cascade"}}
    engine.flow("f", steps, settings=settings)
    engine.conn.execute("set statement_timeout = '5s'")
    run_id = engine.start("f", {})
    assert set(engine.states(run_id).values()) == {"skipped"}
    run = engine.run(run_id)
    assert (run["status"], run["output"], run["remaining_steps"]) == ("completed", None, 0)


def test_many_runs_are_judged_in_one_call_each_on_its_own_input(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": ["a"]}, settings={"a": {"input_predicate": "$.n % 2 == 0"}})
    rows = engine.rows(
        "select s as run_id from pgflow.start_flows('f', array(select jsonb_build_object('n', n) "
        "from generate_series(0, 9) n)) s"
    )
    states = [engine.states(row["run_id"]) for row in rows]
    assert states == [{"a": "started", "b": "created"}, {"a": "skipped", "b": "started"}] * 5


def test_a_skipped_output_step_leaves_the_run_with_a_null_output(engine: Engine) -> None:
    engine.flow("f", {"a": [], "b": []}, settings={"b": {"required_input_pattern": {"x": 1}}}, output_step="b")
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off(1)
    assert (engine.run(run_id)["status"], engine.run(run_id)["output"]) == ("completed", None)
