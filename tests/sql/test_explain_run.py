"""What each open step and task of a run waits for, in one row and one sentence."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.sql.engine import Engine, Row

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _frozen(engine: Engine) -> None:
    at(engine, 0)


def at(engine: Engine, seconds: float) -> None:
    engine.conn.execute("select set_config('pgflow.now', %s, false)", ((NOW + timedelta(seconds=seconds)).isoformat(),))


def explain(engine: Engine, run_id: uuid.UUID, *more: Any) -> list[Row]:
    if more:
        return engine.rows("select * from pgflow.explain_run(%s, %s)", run_id, *more)
    return engine.rows("select * from pgflow.explain_run(%s)", run_id)


def task_row(engine: Engine, run_id: uuid.UUID) -> Row:
    """The only task's row."""
    (row,) = [row for row in explain(engine, run_id) if row["task_index"] is not None]
    return row


def test_a_created_step_names_the_dependencies_that_are_open(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("a",), "d": ("a", "b", "c")})
    engine.serve("f")
    run_id = engine.start("f")
    engine.complete([task for task in engine.claim() if task["step_slug"] == "b"])
    rows = {row["step_slug"]: row for row in explain(engine, run_id) if row["task_index"] is None}
    assert list(rows) == ["a", "c", "d"]
    assert rows["d"]["waits_for"] == "dependency"
    assert rows["d"]["status"] == "created"
    assert rows["d"]["since"] == NOW
    assert rows["d"]["detail"] == (
        "Step 'd' waits for 2 of the 3 it depends on: 'a' (1 of 1 tasks left), 'c' (not started)."
    )


def test_a_leased_task_names_its_worker_and_until_when_its_lease_holds(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, max_attempts=3)
    engine.conn.execute(
        "select pgflow.register_worker(%s, '{f}', '{shape}', function_name => 'box-1', lease_seconds => 30)",
        (engine.worker_id,),
    )
    run_id = engine.start("f")
    engine.claim()
    at(engine, 10)
    row = task_row(engine, run_id)
    assert (row["status"], row["waits_for"], row["worker_id"]) == ("started", "lease", engine.worker_id)
    assert (row["since"], row["until"]) == (NOW, NOW + timedelta(seconds=30))
    assert row["detail"] == (
        f"The task of step 'a' is with worker {engine.worker_id} 'box-1' since 2026-11-21 12:00:00 UTC"
        " (attempt 1 of 3); its lease is valid until 2026-11-21 12:00:30 UTC."
    )


def test_a_lease_that_ran_out_says_that_the_task_will_be_recovered(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f", lease_seconds=30)
    run_id = engine.start("f")
    engine.claim()
    at(engine, 40)
    assert task_row(engine, run_id)["detail"].endswith(
        "; its lease ran out at 2026-11-21 12:00:30 UTC, it will be recovered."
    )
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (engine.worker_id,))
    assert task_row(engine, run_id)["detail"].endswith(
        "; that worker stopped at 2026-11-21 12:00:40 UTC, so it will be recovered."
    )


def test_a_task_of_a_worker_without_a_lease_says_when_it_counts_as_stalled(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, timeout=60)
    engine.conn.execute("insert into pgflow.workers (worker_id, queue_name) values (%s, 'f')", (engine.worker_id,))
    run_id = engine.start("f")
    engine.rows(
        "select * from pgflow.start_tasks('f', array(select message_id from pgflow.step_tasks), %s)", engine.worker_id
    )
    row = task_row(engine, run_id)
    assert row["detail"].endswith("; it has no lease and counts as stalled after 2026-11-21 12:01:30 UTC.")
    assert row["until"] == NOW + timedelta(seconds=90)


def test_a_failed_attempt_waits_for_its_backoff(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, max_attempts=3)
    engine.serve("f")
    run_id = engine.start("f")
    at(engine, 5)
    engine.fail(engine.claim(), retry_after=60)
    row = task_row(engine, run_id)
    assert (row["status"], row["waits_for"], row["worker_id"]) == ("queued", "backoff", None)
    assert (row["since"], row["until"]) == (NOW + timedelta(seconds=5), NOW + timedelta(seconds=65))
    assert row["detail"] == (
        "The task of step 'a' is tried again at 2026-11-21 12:01:05 UTC: attempt 1 of 3 failed (boom)."
    )


def test_a_start_delay_is_not_called_a_backoff(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, settings={"a": {"start_delay": 60}})
    run_id = engine.start("f")
    row = task_row(engine, run_id)
    assert row["waits_for"] == "start_delay"
    assert row["detail"] == "The task of step 'a' is delayed until its start at 2026-11-21 12:01:00 UTC."
    at(engine, 61)
    assert task_row(engine, run_id)["waits_for"] == "no_worker", "once due it is ready, whoever promotes it"


def test_a_reserved_task_says_until_when(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    run_id = engine.start("f")
    engine.rows("select * from pgflow.read_with_poll('f', 20, 1, 0)")
    row = task_row(engine, run_id)
    assert (row["waits_for"], row["until"]) == ("reserved", NOW + timedelta(seconds=20))
    assert row["detail"] == "The task of step 'a' is reserved by a reader until 2026-11-21 12:00:20 UTC."


def test_a_ready_task_behind_others_says_how_many_are_ready_and_who_takes_them(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    run_id = engine.start("f")
    row = task_row(engine, run_id)
    assert (row["waits_for"], row["since"], row["until"]) == ("worker", NOW, None)
    assert row["detail"] == (
        "The task of step 'a' waits for its turn in queue 'f', where 2 tasks are ready and 1 live worker takes them."
    )


def test_without_any_worker_it_says_so(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    run_id = engine.start("f")
    row = task_row(engine, run_id)
    assert row["waits_for"] == "no_worker"
    assert row["detail"] == "The task of step 'a' waits for a worker: none was ever registered for flow 'f'."


def test_workers_of_another_version_are_told_from_none_at_all(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.flow("f", {"a": (), "b": ()}, version=2, fingerprint="newer")
    run_id = engine.start("f")
    row = explain(engine, run_id)[1]
    assert row["waits_for"] == "no_worker"
    assert row["detail"] == (
        "The task of step 'a' waits for a worker of version 2 of flow 'f': all live ones (1) have only other versions."
    )


def test_workers_of_another_queue_are_told_from_none_at_all(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, queue="big")
    engine.conn.execute("select pgflow.register_worker(%s, '{f}', '{shape}', queues => '{small}')", (engine.worker_id,))
    run_id = engine.start("f")
    assert task_row(engine, run_id)["detail"] == (
        "The task of step 'a' waits for a worker of queue 'big': all live ones of flow 'f' (1) serve only other queues."
    )


def test_stopped_lapsed_and_draining_workers_are_told_apart(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f", lease_seconds=30)
    run_id = engine.start("f")
    engine.conn.execute("update pgflow.workers set deprecated_at = pgflow._now()")
    assert "were asked to drain and take nothing new" in task_row(engine, run_id)["detail"]
    at(engine, 31)
    gone = (
        "The task of step 'a' waits for a worker: all of flow 'f' (1) have stopped or let their lease run out,"
        " the last one was seen at 2026-11-21 12:00:00 UTC."
    )
    assert task_row(engine, run_id)["detail"] == gone
    at(engine, 0)
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (engine.worker_id,))
    assert task_row(engine, run_id)["detail"] == gone


def test_a_started_step_counts_what_its_tasks_wait_for(engine: Engine) -> None:
    engine.flow("f", {"m": ()}, maps=["m"])
    engine.serve("f")
    run_id = engine.start("f", list(range(10)))
    engine.complete(engine.claim(2))
    engine.fail(engine.claim(1), retry_after=60)
    engine.claim(3)
    step = explain(engine, run_id)[0]
    assert (step["step_slug"], step["task_index"], step["waits_for"]) == ("m", None, "lease")
    assert step["detail"] == ("Step 'm' has 8 of 10 tasks left: 3 with a worker, 4 ready, 1 between two attempts.")
    (task,) = [row for row in explain(engine, run_id) if row["task_index"] == 9]
    assert task["detail"].startswith("Task 9 of step 'm' waits for its turn")


def test_the_number_of_task_rows_is_bounded_and_the_steps_count_all(engine: Engine) -> None:
    engine.flow("f", {"m": ()}, maps=["m"])
    run_id = engine.start("f", list(range(1500)))
    assert len(explain(engine, run_id)) == 1001
    rows = explain(engine, run_id, 2)
    assert [row["task_index"] for row in rows] == [None, 0, 1]
    assert rows[0]["detail"] == (
        "Step 'm' has 1500 of 1500 tasks left: 1500 ready without a worker that could take them."
    )
    assert len(explain(engine, run_id, 0)) == 1


def test_an_ended_run_has_one_row_that_says_how_and_why(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)}, max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f")
    engine.work_off()
    assert explain(engine, run_id) == [
        {
            "step_slug": None,
            "task_index": None,
            "status": "completed",
            "waits_for": "run_ended",
            "detail": "The run completed at 2026-11-21 12:00:00 UTC.",
            "since": NOW,
            "until": None,
            "worker_id": None,
        }
    ]
    run_id = engine.start("f")
    engine.fail(engine.claim())
    (row,) = explain(engine, run_id)
    assert (row["status"], row["waits_for"]) == ("failed", "run_ended")
    assert row["detail"] == "The run failed at 2026-11-21 12:00:00 UTC in step 'a': boom."
    run_id = engine.start("f")
    engine.conn.execute("select pgflow.cancel_run(%s, 'no longer needed')", (run_id,))
    (row,) = explain(engine, run_id)
    assert (row["status"], row["waits_for"]) == ("cancelled", "cancelled")
    assert row["detail"] == "The run was cancelled at 2026-11-21 12:00:00 UTC: no longer needed."


def test_an_overdue_run_says_that_its_deadline_ended_it(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, deadline=10)
    run_id = engine.start("f")
    at(engine, 11)
    engine.conn.execute("select pgflow.enforce_deadlines()")
    (row,) = explain(engine, run_id)
    assert row["detail"].startswith("The run failed at 2026-11-21 12:00:11 UTC: deadline of ")


def test_an_unknown_run_is_refused(engine: Engine) -> None:
    with pytest.raises(psycopg.Error) as caught:
        explain(engine, uuid.UUID(int=0))
    assert caught.value.sqlstate == "PF405"
