"""The eleven points in which the core differs on purpose from the model it shares with others (docs/sql.md lists them)."""

import re
import uuid
from typing import Any

import psycopg
import pytest

from flowdsl.core import manifest
from tests.sql.engine import Engine


def test_point_1_results_of_a_superseded_attempt_are_refused_in_both_directions(engine: Engine) -> None:
    engine.flow("f", {"a": []}, max_attempts=3)
    engine.serve("f")
    run_id = engine.start("f", {})
    (old,) = engine.claim()
    engine.release([old])
    (new,) = engine.claim()
    for call in ("complete_task(%s, 'a', 0, '1', %s)", "fail_task(%s, 'a', 0, 'late', %s)"):
        with pytest.raises(psycopg.Error) as caught:
            engine.rows(f"select * from pgflow.{call}", run_id, old["fence"])
        assert caught.value.sqlstate == "PF413"
    assert engine.task(run_id, "a")["status"] == "started"
    # without a fence the call acts on the current attempt
    (row,) = engine.rows("select * from pgflow.complete_task(%s, 'a', 0, '1')", run_id)
    assert (row["status"], row["fence"]) == ("completed", new["fence"])


def test_point_2_no_task_is_handed_to_two_callers(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"m": []}, maps=["m"])
    engine.serve("f")
    engine.start("f", list(range(10)))
    with psycopg.connect(dsn) as other:
        theirs = Engine(other)
        theirs.worker_id = engine.worker_id
        mine = theirs.claim(6)  # not committed
        left = engine.claim(10)
        reserved = engine.rows("select * from pgflow.read_with_poll('f', 5, 10, 0)")
    taken = [task["task_index"] for task in (*mine, *left)] + [row["message"]["task_index"] for row in reserved]
    assert sorted(taken) == list(range(10))
    started = engine.rows("select task_index from pgflow.step_tasks where status = 'started' order by task_index")
    assert [row["task_index"] for row in started] == sorted(task["task_index"] for task in (*mine, *left))


def test_point_3_a_task_that_stalls_for_good_fails_its_run(engine: Engine) -> None:
    engine.flow("f", {"a": []}, timeout=1)
    run_id = engine.start("f", {})
    for stall in range(4):
        engine.set_clock(1000 * stall)
        worker_id = engine.serve("f", worker_id=uuid.uuid4())
        assert len(engine.claim(worker_id=worker_id)) == 1
        engine.set_clock(1000 * stall + 500)
        engine.value("select pgflow.requeue_stalled_tasks()")
    assert engine.run(run_id)["status"] == "failed"
    assert engine.rows("select from pgflow.step_tasks where status = 'started'") == []


def test_point_4_conditions_are_judged_for_steps_made_ready_by_an_empty_map(engine: Engine) -> None:
    engine.flow("f", {"m": [], "c": ["m"]}, maps=["m"], settings={"c": {"required_input_pattern": {"m": ["x"]}}})
    assert engine.states(engine.start("f", [])) == {"m": "completed", "c": "skipped"}


def test_point_5_there_are_no_iteration_limits_and_no_exponential_walks(engine: Engine) -> None:
    never = {"required_input_pattern": {"never": 1}}
    chain = {f"s{i}": [f"s{i - 1}"] if i else [] for i in range(200)}
    engine.flow("skips", chain, settings=dict.fromkeys(chain, never))
    engine.flow("maps", chain, maps=list(chain))
    ladder: dict[str, list[str]] = {"t0": []}
    for i in range(18):
        ladder |= {f"l{i}": [f"t{i}"], f"r{i}": [f"t{i}"], f"t{i + 1}": [f"l{i}", f"r{i}"]}
    engine.flow("ladder", ladder, settings={"t0": {**never, "when_unmet": "skip-cascade"}})
    engine.conn.execute("set statement_timeout = '10s'")
    for slug in ("skips", "maps", "ladder"):
        assert engine.run(engine.start(slug, []))["status"] == "completed"


@pytest.mark.parametrize(
    ("step", "deps", "step_type", "sqlstate"),
    [
        ("c", ["a", "a"], "single", "PF400"),
        ("b", [], "single", "PF409"),
        ("b", ["a"], "map", "PF409"),
    ],
)
def test_point_6_duplicate_dependencies_and_changed_steps_are_refused(
    engine: Engine, step: str, deps: list[str], step_type: str, sqlstate: str
) -> None:
    engine.flow("f", {"a": [], "b": ["a"]})
    with pytest.raises(psycopg.Error) as caught:
        engine.rows("select pgflow.add_step('f', %s, %s::text[], step_type => %s)", step, deps, step_type)
    assert caught.value.sqlstate == sqlstate
    assert engine.value("select count(*) from pgflow.deps") == 1


def test_point_7_the_backoff_has_a_cap_does_not_overflow_and_its_delay_is_exact(engine: Engine) -> None:
    assert engine.value("select pgflow.calculate_retry_delay(5, 3)") == 40
    assert engine.value("select pgflow.calculate_retry_delay(5, 1000)") == 2**31 - 1
    engine.flow("f", {"a": []}, max_attempts=2_000_000_000, base_delay=5, max_delay=100)
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.set_clock(0)
    engine.conn.execute("update pgflow.step_tasks set attempts_count = 1000000")
    engine.fail(engine.claim())
    delay = engine.value(
        "select extract(epoch from visible_at - pgflow._now()) from pgflow.step_tasks where run_id = %s", run_id
    )
    assert 100 <= delay <= 110


def test_point_8_slugs_differ_by_case_and_may_have_128_characters(engine: Engine) -> None:
    long = "L" * 128
    for slug in ("orders", "Orders", long):
        engine.flow(slug, {long: []})
    for slug in ("orders", "Orders", long):
        run_id = engine.start(slug, slug)
        (row,) = engine.rows("select * from pgflow.read_with_poll(%s, 5, 10, 0)", slug)
        assert row["message"]["run_id"] == str(run_id)


@pytest.mark.parametrize("value", ["0", "false", '""', "[]", "{}", "null"])
def test_point_9_falsy_outputs_are_stored_as_they_are(engine: Engine, value: str) -> None:
    engine.flow("f", {"a": [], "b": ["a"]})
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.claim()
    engine.rows("select * from pgflow.complete_task(%s, 'a', 0, %s::jsonb)", run_id, value)
    (task,) = engine.rows("select input::text as input from pgflow.claim_tasks(%s, 1)", engine.worker_id)
    assert task["input"] in (f'{{"a": {value}, "run": {{}}}}', f'{{"run": {{}}, "a": {value}}}')
    engine.rows("select * from pgflow.complete_task(%s, 'b', 0, %s::jsonb)", run_id, value)
    assert engine.value("select output ->> 'b' is not distinct from %s::jsonb #>> '{}' from pgflow.runs", value) is True
    assert engine.value("select output ? 'b' from pgflow.runs") is True


def test_point_10_the_array_is_read_once_and_a_retry_writes_only_rows_that_change(engine: Engine) -> None:
    def pages(count: int) -> int:
        slug = f"f{count}"
        engine.flow(slug, {"a": [], "m": ["a"]}, maps=["m"])
        engine.serve(slug)
        engine.start(slug, {})
        engine.complete(engine.claim(), [{"n": n, "text": "x" * 100} for n in range(count)])
        plan: Any = engine.value(
            "explain (analyze, buffers, format json) select * from pgflow.claim_tasks(%s, 100)", engine.worker_id
        )[0]["Plan"]
        return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])

    assert pages(10_000) < 3 * pages(200)

    engine.flow("r", {"m": []}, maps=["m"])
    engine.serve("r")
    engine.start("r", list(range(50)))
    tasks = engine.claim()
    changes = "select sum(n_tup_upd) from pg_stat_xact_user_tables where schemaname = 'pgflow'"
    before = engine.value(changes)
    with engine.conn.transaction():
        engine.fail(tasks[:1])
        assert engine.value(changes) - before == 1


def test_point_11_every_function_is_declared_safely() -> None:
    for name in manifest.file_names():
        text = manifest.read(name)
        if not name.startswith("functions/"):
            continue
        assert "set search_path = ''" in text or re.search(r"^return\b", text, re.MULTILINE), name
        assert re.search(r"\b(volatile|stable|immutable)\b", text), name
        if "volatile" in text.split("as $fn$")[0]:
            assert not re.search(r"^language .*\bstrict\b", text, re.MULTILINE), name
        assert not re.search(r"raise exception '", text), name
