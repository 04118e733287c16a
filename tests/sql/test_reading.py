"""run_outcome, step_output, describe_run, find_runs, list_runs, list_flows."""

import uuid

import psycopg
import pytest

from tests.sql.engine import Engine


def test_the_outcome_of_a_failed_run_names_the_attempt_that_failed_it(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()}, max_attempts=2)
    engine.serve("f")
    run_id = engine.start("f")
    engine.fail(engine.claim(1), message="first")
    by_slug = {t["step_slug"]: t for t in engine.claim()}
    engine.fail([by_slug["b"]], message="also, but it has an attempt left")
    engine.fail([by_slug["a"]], message="fatal", **{"class": "pkg.Broken", "traceback": "File x"})
    outcome = engine.row("select * from pgflow.run_outcome(%s)", run_id)
    assert (outcome["status"], outcome["attempt"], outcome["error_class"]) == ("failed", 2, "pkg.Broken")
    assert (outcome["error_message"], outcome["traceback"]) == ("fatal", "File x")


def test_a_description_holds_steps_in_order_with_their_counts(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",)}, maps=("m",))
    engine.serve("f")
    run_id = engine.start("f", 1)
    engine.complete(engine.claim(), [1, 2, 3, 4])
    first, second, *_ = engine.claim(3)
    engine.complete([first])
    engine.fail([second])
    description = engine.value("select pgflow.describe_run(%s, 2)", run_id)
    assert [s["step_slug"] for s in description["steps"]] == ["a", "m"]
    counts = description["steps"][1]["tasks"]
    assert (counts["completed"], counts["queued"], counts["retrying"], counts["started"]) == (1, 2, 1, 1)
    assert description["steps"][1]["deps"] == ["a"]
    assert (len(description["tasks"]), description["tasks_total"]) == (2, 5)
    assert [t["status"] for t in description["tasks"]] == ["started", "queued"]
    assert [a["error_message"] for a in description["attempts"]] == ["boom"]
    assert description["run"]["status"] == "started"
    assert description["steps"][0]["output"] == [1, 2, 3, 4]
    glance = engine.value("select pgflow.describe_run(%s, 0, false)", run_id)
    assert (glance["run"]["input"], glance["steps"][0]["output"], glance["tasks"]) == (None, None, [])


def test_runs_are_listed_newest_first_and_page_by_page(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.flow("g", {"a": ()})
    ids = [engine.start("f" if i % 2 else "g", i) for i in range(6)]
    listed = engine.rows("select * from pgflow.list_runs(max_runs => 4)")
    assert [r["run_id"] for r in listed] == ids[:1:-1]
    rest = engine.rows("select * from pgflow.list_runs(before => %s)", listed[-1]["started_at"])
    assert [r["run_id"] for r in rest] == ids[1::-1]
    assert [r["run_id"] for r in engine.rows("select * from pgflow.list_runs('f')")] == ids[::-1][::2]
    assert engine.rows("select * from pgflow.list_runs(status => 'failed')") == []


def test_flows_are_listed_with_their_runs_and_live_workers(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()})
    engine.serve("f")
    engine.start("f")
    (flow,) = engine.rows("select * from pgflow.list_flows()")
    assert (flow["steps_count"], flow["runs"], flow["live_workers"]) == (2, {"started": 1}, 1)
    engine.set_clock(3600)
    assert engine.row("select * from pgflow.list_flows()")["live_workers"] == 0


def test_an_old_version_is_listed_while_it_has_open_runs_or_live_workers(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    engine.conn.execute("select pgflow.create_flow('f', version => 2, fingerprint => 'shape2')")
    engine.start("f")
    query = "select flow_version, is_current, runs, live_workers from pgflow.list_flows()"
    new = {"flow_version": 2, "is_current": True, "runs": {"completed": 1}, "live_workers": 0}
    old = {"flow_version": 1, "is_current": False, "runs": {"started": 1}, "live_workers": 1}
    assert engine.rows(query) == [new, old]
    engine.work_off()
    assert engine.rows(query) == [new, {**old, "runs": {"completed": 1}}]
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (engine.worker_id,))
    assert engine.rows(query) == [new]


def test_runs_are_found_by_the_beginning_of_their_id(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    run_id = engine.start("f")
    for length in (1, 8, 9, 20, 36):
        assert engine.rows("select pgflow.find_runs(%s)", str(run_id)[:length]) == [{"find_runs": run_id}]
    assert engine.rows("select pgflow.find_runs(%s)", str(uuid.uuid4())) == []
    for prefix in ("x", "0" * 37, "00000000a", None):
        with pytest.raises(psycopg.Error) as refusal:
            engine.conn.execute("select pgflow.find_runs(%s)", (prefix,))
        assert refusal.value.sqlstate == "PF400"


def test_step_outputs_are_read_by_slug(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)})
    engine.serve("f")
    run_id = engine.start("f")
    engine.complete(engine.claim(), {"x": 1})
    assert engine.row("select * from pgflow.step_output(%s, 'a')", run_id) == {
        "status": "completed",
        "output": {"x": 1},
    }
    assert engine.row("select * from pgflow.step_output(%s, 'b')", run_id)["status"] == "started"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("run_outcome(gen_random_uuid())", "PF405"),
        ("describe_run(gen_random_uuid())", "PF405"),
        ("step_output(gen_random_uuid(), 'a')", "PF405"),
        ("step_output(%(run_id)s, 'nope')", "PF407"),
        ("list_runs('nope')", "PF404"),
    ],
)
def test_unknown_things_are_refused(engine: Engine, call: str, code: str) -> None:
    engine.flow("f", {"a": ()})
    run_id = engine.start("f")
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(f"select pgflow.{call}".encode(), {"run_id": run_id})
    assert refusal.value.sqlstate == code
