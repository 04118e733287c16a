"""complete_tasks, complete_task, complete_and_claim_tasks, and what follows from completions."""

import uuid
from typing import LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.engine import Engine

FALSY = [0, False, "", [], {}, None]


def test_a_linear_flow_runs_to_its_end(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",), "c": ("b",)})
    engine.serve("f")
    run_id = engine.start("f")
    tasks = engine.work_off(lambda t: t["step_slug"] * 2)
    assert [t["step_slug"] for t in tasks] == ["a", "b", "c"]
    run = engine.run(run_id)
    assert (run["status"], run["remaining_steps"], run["output"]) == ("completed", 0, {"c": "cc"})
    assert run["completed_at"] >= run["started_at"]


def test_a_step_waits_for_all_of_its_dependencies(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b")})
    engine.serve("f")
    run_id = engine.start("f")
    first, second = engine.claim()
    engine.complete([first])
    assert engine.states(run_id)["c"] == "created"
    engine.complete([second])
    assert engine.states(run_id)["c"] == "started"


def test_both_dependencies_completed_in_one_batch_start_the_step_once(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b"), "d": ("a", "b", "c")})
    engine.serve("f")
    run_id = engine.start("f")
    engine.complete(engine.claim())
    assert engine.value("select count(*) from pgflow.step_tasks where step_slug = 'c'") == 1
    engine.work_off()
    assert engine.run(run_id)["status"] == "completed"


def test_the_output_of_a_run_is_its_leaves_or_its_output_step(engine: Engine) -> None:
    engine.flow("leaves", {"a": (), "b": ("a",), "c": ("a",)})
    engine.flow("chosen", {"a": (), "b": ("a",)}, output_step="a")
    engine.serve("leaves", "chosen")
    leaves, chosen = engine.start("leaves"), engine.start("chosen")
    engine.work_off(lambda t: t["step_slug"])
    assert engine.run(leaves)["output"] == {"b": "b", "c": "c"}
    assert engine.run(chosen)["output"] == "a"


@pytest.mark.parametrize("value", FALSY, ids=repr)
def test_falsy_outputs_are_stored_as_they_are(engine: Engine, value: object) -> None:
    engine.flow("f", {"a": (), "b": ("a",)}, output_step="b")
    engine.serve("f")
    run_id = engine.start("f", value)
    tasks = engine.work_off(value)
    assert tasks[1]["input"] == {"a": value, "run": value}
    assert engine.task(run_id, "a")["output"] == value
    assert engine.value("select jsonb_typeof(output) is not null from pgflow.step_states where step_slug = 'a'")
    assert engine.value("select output from pgflow.runs") == value
    assert engine.value("select jsonb_typeof(output) is not null from pgflow.runs")


def test_a_dependent_map_gets_one_task_per_element_and_its_output_keeps_the_order(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",), "z": ("m",)}, maps=("m",))
    engine.serve("f")
    run_id = engine.start("f")
    engine.complete(engine.claim(), [5, None, "x"])
    state = engine.row("select * from pgflow.step_states where step_slug = 'm'")
    assert (state["status"], state["initial_tasks"], state["remaining_tasks"]) == ("started", 3, 3)
    first, second, third = engine.claim()
    engine.complete([third], "c")
    engine.complete([first], None)
    assert engine.states(run_id)["z"] == "created"
    engine.complete([second], "b")
    (last,) = engine.claim()
    assert last["input"]["m"] == [None, "b", "c"]


def test_a_root_map_is_sized_by_the_runs_input(engine: Engine) -> None:
    engine.flow("f", {"m": ()}, maps=("m",))
    engine.serve("f")
    run_id = engine.start("f", ["x", "y"])
    tasks = engine.work_off(lambda t: t["element"] * 2)
    assert [t["task_index"] for t in tasks] == [0, 1]
    assert engine.run(run_id)["output"] == {"m": ["xx", "yy"]}


def test_an_empty_root_map_completes_at_the_start(engine: Engine) -> None:
    engine.flow("f", {"m": (), "n": ("m",)}, maps=("m", "n"))
    engine.serve("f")
    run = engine.run(engine.start("f", []))
    assert (run["status"], run["output"]) == ("completed", {"n": []})


def test_empty_maps_cascade_through_a_chain_of_200(engine: Engine) -> None:
    steps: dict[str, tuple[str, ...]] = {"a": ()}
    for i in range(200):
        steps[f"m{i}"] = (f"m{i - 1}" if i else "a",)
    engine.flow("f", {**steps, "end": ("m199",)}, maps=[f"m{i}" for i in range(200)])
    engine.serve("f")
    run_id = engine.start("f")
    engine.complete(engine.claim(), [])
    assert engine.states(run_id)["m199"] == "completed"
    (end,) = engine.claim()
    assert end["input"]["m199"] == []
    engine.complete([end], 1)
    assert engine.run(run_id)["output"] == {"end": 1}


def test_an_empty_map_waits_for_its_other_dependencies(engine: Engine) -> None:
    engine.flow("f", {"list": (), "other": ()})
    engine.conn.execute(
        "select pgflow.add_step('f', 'm', array['list', 'other'], step_type => 'map', map_over => 'list')"
    )
    engine.serve("f")
    run_id = engine.start("f")
    by_slug = {t["step_slug"]: t for t in engine.claim()}
    engine.complete([by_slug["list"]], [])
    assert engine.states(run_id)["m"] == "created"
    engine.complete([by_slug["other"]], 1)
    assert engine.states(run_id)["m"] == "completed"
    assert engine.run(run_id)["status"] == "completed"


def test_a_map_over_the_input_with_a_dependency_is_sized_at_the_start(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.conn.execute("select pgflow.add_step('f', 'm', array['a'], step_type => 'map', map_over => 'run')")
    engine.serve("f")
    run_id = engine.start("f", [7, 8])
    assert engine.value("select initial_tasks from pgflow.step_states where step_slug = 'm'") == 2
    engine.complete(engine.claim(), "whole")
    tasks = engine.claim()
    assert [(t["element"], t["input"] and t["input"]["a"]) for t in tasks] == [(7, "whole"), (8, None)]
    engine.complete(tasks, 0)
    assert engine.run(run_id)["output"] == {"m": [0, 0]}


def test_a_map_over_a_step_that_returned_no_array_fails_the_run(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",), "x": ()}, maps=("m",))
    engine.flow("g", {"a": ()})
    engine.serve("f", "g")
    run_id, other = engine.start("f"), engine.start("g")
    tasks = [t for t in engine.claim() if t["step_slug"] == "a"]
    assert engine.complete(tasks, {"no": "array"}) == []
    task = engine.task(run_id, "a")
    assert (task["status"], task["output"]) == ("failed", {"no": "array"})
    assert task["error_message"].startswith("[TYPE_VIOLATION]")
    assert engine.states(run_id) == {"a": "failed", "m": "cancelled", "x": "cancelled"}
    assert engine.run(run_id)["status"] == "failed"
    assert engine.run(other)["status"] == "completed", "the other run of the batch is not touched"
    assert engine.task(run_id, "x")["status"] == "cancelled"


def test_a_step_whose_inputs_are_too_large_together_fails_its_run_and_holds_up_nobody(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b"), "d": ("a",)})
    engine.serve("f")
    run_id, other = engine.start("f"), engine.start("f")
    large = "select array[to_jsonb(repeat('x', 60000000))]"
    for task in (t for t in engine.claim() if t["run_id"] == run_id):
        engine.conn.execute(
            f"select pgflow.complete_tasks(%s, %s, '{{0}}', %s, ({large}))",
            ([run_id], [task["step_slug"]], [task["fence"]]),
        )
    assert engine.states(run_id) == {"a": "completed", "b": "completed", "c": "failed", "d": "cancelled"}
    outcome = engine.row("select * from pgflow.run_outcome(%s)", run_id)
    assert (outcome["status"], outcome["failed_step"], outcome["error_class"]) == ("failed", "c", "InputTooLarge")
    assert "120 MB" in outcome["error_message"]
    assert (
        engine.value("select count(*) from pgflow.step_tasks where run_id = %s and status <> 'completed'", run_id) == 1
    )
    engine.release(
        [{**t, "fence": t["fence"]} for t in engine.rows("select * from pgflow.step_tasks where run_id = %s", other)]
    )
    engine.work_off(1)
    assert engine.run(other)["status"] == "completed"


def test_a_result_handed_in_twice_is_taken_once_and_not_refused(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)})
    engine.serve("f")
    run_id = engine.start("f")
    tasks = engine.claim()
    assert engine.complete(tasks, 1) == []
    before = engine.rows("select * from pgflow.step_states order by step_slug")
    assert engine.complete(tasks, 2) == []
    assert engine.rows("select * from pgflow.step_states order by step_slug") == before
    assert engine.task(run_id, "a")["output"] == 1


def test_a_batch_that_names_a_task_twice_counts_it_once(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",)}, maps=("m",))
    engine.serve("f")
    engine.start("f")
    engine.complete(engine.claim(), [1, 2, 3])
    first, *_ = engine.claim()
    assert engine.complete([first, first], 0) == []
    assert engine.value("select remaining_tasks from pgflow.step_states where step_slug = 'm'") == 2


def test_a_stale_fence_is_refused_and_the_rest_of_the_batch_is_taken(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    engine.start("f")
    stale, fresh = engine.claim()
    engine.release([stale])
    (again,) = engine.claim()
    refused = engine.complete([stale, fresh], "late")
    assert [(r["run_id"], r["reason"]) for r in refused] == [(stale["run_id"], "lease_lost")]
    assert engine.run(fresh["run_id"])["status"] == "completed"
    assert engine.task(stale["run_id"], "a")["status"] == "started"
    assert engine.complete([again], "right") == []
    assert engine.task(stale["run_id"], "a")["output"] == "right"


def test_a_result_of_an_ended_run_or_an_unknown_task_is_refused(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()}, max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f")
    a, b = engine.claim()
    engine.fail([a])
    unknown = {**b, "run_id": uuid.uuid4()}
    assert [r["reason"] for r in engine.complete([b, unknown])] == ["run_ended", "lease_lost"]
    assert engine.task(run_id, "b")["status"] == "cancelled"


def test_complete_and_claim_hands_out_what_the_completion_made_ready(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)})
    engine.serve("f")
    engine.start("f")
    (a,) = engine.claim()
    rows = engine.rows(
        "select * from pgflow.complete_and_claim_tasks(%s, 5, %s, %s, %s, %s, %s::jsonb[])",
        engine.worker_id,
        [a["run_id"], a["run_id"]],
        ["a", "a"],
        [0, 7],
        [a["fence"], 1],
        [Jsonb(1), Jsonb(1)],
    )
    assert [(r["step_slug"], r["task_index"], r["refusal"]) for r in rows] == [("a", 7, "lease_lost"), ("b", 0, None)]


def test_arrays_of_different_length_are_refused(engine: Engine) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute("select pgflow.complete_tasks('{}', '{a}', '{}', '{}', '{}')")
    assert refusal.value.sqlstate == "PF400"


@pytest.mark.parametrize("run_ids", ["null", "'{}'"])
def test_outputs_without_runs_are_refused_although_a_claim_comes_with_them(
    engine: Engine, run_ids: LiteralString
) -> None:
    engine.flow("f", {"a": []})
    engine.serve("f")
    with pytest.raises(psycopg.Error, match="arrays of different length"):
        engine.rows(
            "select * from pgflow.complete_and_claim_tasks(%s, 1, "
            + run_ids
            + ", '{}', '{}', '{}', array['1'::jsonb])",
            engine.worker_id,
        )


def test_complete_task_acts_on_the_current_claim_and_returns_the_row(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    queued = engine.row("select * from pgflow.complete_task(%s, 'a', 0, '1')", run_id)
    assert queued["status"] == "queued", "only a started task changes"
    (task,) = engine.claim()
    done = engine.row("select * from pgflow.complete_task(%s, 'a', 0, '1')", run_id)
    assert (done["status"], done["output"]) == ("completed", 1)
    again = engine.row("select * from pgflow.complete_task(%s, 'a', 0, '2', %s)", run_id, task["fence"])
    assert again == done
    assert engine.rows("select * from pgflow.complete_task(%s, 'nope', 0, '1')", run_id) == []


@pytest.mark.broken_data("an end written by hand leaves the steps and tasks open")
@pytest.mark.parametrize("call", ["complete_task(%s, 'a', 0, '5')", "fail_task(%s, 'a', 0, 'late')"])
@pytest.mark.parametrize(
    "end",
    [
        "update pgflow.runs set status = 'failed', failed_at = now() + interval '1 hour'",
        (
            "update pgflow.step_states set status = 'skipped', skip_reason = 'condition_unmet', remaining_tasks = null, "
            "skipped_at = now() + interval '1 hour' where step_slug = 'a'"
        ),
    ],
)
def test_a_call_for_a_run_or_step_that_was_ended_by_hand_changes_nothing(
    engine: Engine, end: LiteralString, call: LiteralString
) -> None:
    engine.flow("f", {"a": [], "b": ["a"]})
    engine.serve("f")
    run_id = engine.start("f")
    engine.claim()
    engine.conn.execute(end)
    before = engine.run(run_id), engine.states(run_id), engine.task(run_id, "a")
    assert engine.rows("select * from pgflow." + call, run_id) == [before[2]]
    assert (engine.run(run_id), engine.states(run_id), engine.task(run_id, "a")) == before


def test_complete_task_with_a_stale_fence_is_an_error(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    (stale,) = engine.claim()
    engine.release([stale])
    engine.claim()
    for call in ("complete_task(%s, 'a', 0, '1', %s)", "fail_task(%s, 'a', 0, 'boom', %s)"):
        with pytest.raises(psycopg.Error) as refusal:
            engine.conn.execute(f"select pgflow.{call}".encode(), (run_id, stale["fence"]))
        assert refusal.value.sqlstate == "PF413"
    assert engine.task(run_id, "a")["status"] == "started"


def test_a_map_of_10000_elements_keeps_every_element_and_its_place(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",), "z": ("m",)}, maps=("m",))
    engine.serve("f")
    run_id = engine.start("f")
    engine.complete(engine.claim(), [{"n": i} for i in range(10_000)])
    left = 10_000
    while left:
        tasks = engine.claim(1000)
        assert engine.complete(tasks, lambda t: t["element"]["n"]) == []
        left -= len(tasks)
    (last,) = engine.claim()
    assert last["input"]["m"] == list(range(10_000))
    engine.complete([last])
    assert engine.run(run_id)["status"] == "completed"


def test_a_watched_run_notifies_at_its_end(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()}, max_attempts=1)
    engine.serve("f")
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_runs")
        completed, failed, unwatched = engine.start("f"), engine.start("f"), engine.start("f")
        for run_id in (completed, failed):
            assert engine.value("select pgflow.watch_run(%s)", run_id) == "started"
        by_run = {t["run_id"]: t for t in engine.claim()}
        engine.complete([by_run[unwatched]])
        engine.complete([by_run[completed]])
        engine.fail([by_run[failed]])
        notes = list(listener.notifies(timeout=10, stop_after=2))
        assert {note.payload for note in notes} == {str(completed), str(failed)}
    assert engine.value("select pgflow.watch_run(%s)", failed) == "failed"
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute("select pgflow.watch_run(%s)", (uuid.uuid4(),))
    assert refusal.value.sqlstate == "PF405"
