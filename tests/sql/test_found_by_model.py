"""What the comparison with the reference model found (tests/property/test_engine_model.py), as small as it gets."""

from tests.sql.engine import Engine


def test_a_retry_from_a_step_runs_nothing_that_a_cascade_elsewhere_skipped(engine: Engine) -> None:
    """`both` reads `left`, which skips all that depends on it: running `right` again is no reason to run `both`."""
    engine.flow("f", {"left": (), "right": (), "both": ("left", "right"), "after": ("both",)})
    engine.conn.execute(
        "update pgflow.steps set required_input_pattern = '{\"go\": true}', when_unmet = 'skip-cascade' where step_slug = 'left'"
    )
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.work_off(1)
    skipped = {"left": "skipped", "both": "skipped", "after": "skipped"}
    assert engine.states(run_id) == {**skipped, "right": "completed"}
    engine.rows("select * from pgflow.retry_run(%s, 'right')", run_id)
    assert engine.states(run_id) == {**skipped, "right": "started"}
    engine.work_off(2)
    assert engine.states(run_id) == {**skipped, "right": "completed"}
    assert engine.run(run_id)["status"] == "completed"


def test_an_output_that_is_sql_null_and_no_array_is_taken_once_and_not_refused_the_second_time(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",)}, maps=["m"])
    engine.serve("f")
    run_id = engine.start("f")
    (task,) = engine.claim()
    keys = ([run_id], ["a"], [0], [task["fence"]])
    call = "select * from pgflow.complete_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])"
    for _ in range(2):
        assert engine.rows(call, *keys, [None]) == []
    assert engine.task(run_id, "a")["error_message"].startswith("[TYPE_VIOLATION]")
    late = engine.fail([task])
    assert [refusal["reason"] for refusal in late] == ["run_ended"], "an error after an output is no duplicate of it"


def test_an_error_after_an_output_that_was_no_array_is_refused(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",)}, maps=["m"])
    engine.serve("f")
    engine.start("f")
    tasks = engine.claim()
    assert engine.complete(tasks, {"no": "array"}) == []
    assert engine.complete(tasks, {"no": "array"}) == []
    assert [refusal["reason"] for refusal in engine.fail(tasks)] == ["run_ended"]
