"""requeue_stalled_tasks: nothing stays started for ever, whether or not its worker has a lease."""

import uuid

from tests.sql.engine import Engine


def test_a_task_past_its_timeout_and_half_a_minute_comes_back(engine: Engine) -> None:
    engine.flow("f", {"a": []}, timeout=60)
    engine.serve("f")
    run_id = engine.start("f", {})
    engine.claim()
    engine.set_clock(89)
    assert engine.value("select pgflow.requeue_stalled_tasks()") == 0
    engine.set_clock(92)
    assert engine.value("select pgflow.requeue_stalled_tasks()") == 1
    task = engine.task(run_id, "a")
    assert (task["status"], task["attempts_count"], task["requeued_count"], task["started_at"]) == (
        "queued",
        0,
        1,
        None,
    )
    assert task["last_requeued_at"] is not None
    assert engine.value("select pgflow.requeue_stalled_tasks()") == 0


def test_a_task_that_stalls_for_good_fails_its_run(engine: Engine) -> None:
    """Contract §5, point 3: it comes back three times and fails with the fourth stall."""
    engine.flow("f", {"a": [], "b": ["a"]}, timeout=60)
    run_id = engine.start("f", {})
    for stall in range(4):
        engine.set_clock(100 * stall)
        worker_id = engine.serve("f", worker_id=uuid.uuid4(), lease_seconds=100_000)
        assert len(engine.claim(worker_id=worker_id)) == 1
        engine.set_clock(100 * stall + 95)
        assert engine.value("select pgflow.requeue_stalled_tasks()") == 1
    task = engine.task(run_id, "a")
    assert (task["status"], task["error_message"]) == ("failed", "stalled 4 times")
    assert task["permanently_stalled_at"] is not None
    assert engine.states(run_id) == {"a": "failed", "b": "cancelled"}
    assert engine.run(run_id)["status"] == "failed"


def test_a_stalled_result_is_refused(engine: Engine) -> None:
    engine.flow("f", {"a": []}, timeout=10)
    engine.serve("f")
    engine.start("f", {})
    tasks = engine.claim()
    engine.set_clock(50)
    engine.value("select pgflow.requeue_stalled_tasks()")
    assert engine.complete(tasks, 1)[0]["reason"] == "lease_lost"


def test_a_started_task_that_names_no_worker_comes_back_too(engine: Engine) -> None:
    engine.flow("f", {"a": []}, timeout=60)
    run_id = engine.start("f", {})
    engine.conn.execute("update pgflow.step_tasks set status = 'started', attempts_count = 1, started_at = queued_at")
    engine.set_clock(95)
    assert engine.value("select pgflow.requeue_stalled_tasks()") == 1
    assert engine.task(run_id, "a")["status"] == "queued"


def test_it_is_bounded(engine: Engine) -> None:
    engine.flow("f", {"m": []}, maps=["m"], timeout=10)
    engine.serve("f")
    engine.start("f", [1, 2, 3])
    engine.claim()
    engine.set_clock(50)
    assert engine.value("select pgflow.requeue_stalled_tasks(-1)") == 0
    assert engine.value("select pgflow.requeue_stalled_tasks(2)") == 2
    assert engine.value("select pgflow.requeue_stalled_tasks(2)") == 1


def test_a_workers_row_written_by_hand_has_no_lease_to_lose(engine: Engine) -> None:
    worker_id = uuid.uuid4()
    engine.conn.execute(
        "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, 'f', 'theirs')", (worker_id,)
    )
    engine.flow("f", {"a": []}, timeout=3600)
    engine.start("f", {})
    engine.conn.execute(
        "update pgflow.step_tasks set status = 'started', started_at = now(), attempts_count = 1, last_worker_id = %s",
        (worker_id,),
    )
    engine.set_clock(3000)
    assert engine.value("select pgflow.recover_tasks()") == 0
    engine.set_clock(3700)
    assert engine.value("select pgflow.requeue_stalled_tasks()") == 1
