"""Two connections at once: nothing deadlocks, nothing is lost. `deadlock_timeout` is short, so a deadlock is an error."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.sql.engine import Engine, Row


@pytest.fixture
def other(dsn: str, engine: Engine) -> Any:
    engine.conn.execute("set deadlock_timeout = '20ms'")
    with psycopg.connect(dsn, options="-c deadlock_timeout=20ms") as conn:
        yield Engine(conn)


def in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def record() -> None:
        try:
            results.append(call())
        except psycopg.Error as error:
            results.append(error)

    thread = threading.Thread(target=record)
    thread.start()
    return thread, results


def wait_until_blocked(engine: Engine) -> None:
    """Until some backend waits for a lock, which is an event the server reports."""
    for _ in range(2000):
        if engine.value("select count(*) from pg_stat_activity where wait_event_type = 'Lock'"):
            return
        engine.conn.execute("select pg_sleep(0.005)")
    pytest.fail("nobody waits for a lock")


def two_runs(engine: Engine) -> tuple[Row, Row]:
    engine.flow("f", {"a": (), "b": ("a",)}, max_attempts=1)
    engine.serve("f")
    engine.start("f")
    engine.start("f")
    first, second = sorted(engine.claim(), key=lambda t: str(t["run_id"]))
    return first, second


def test_completions_of_the_same_runs_in_opposite_order_wait_for_each_other(engine: Engine, other: Engine) -> None:
    first, second = two_runs(engine)
    other.complete([first], 1)
    thread, results = in_thread(lambda: engine.complete([second, first], 2))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.complete([second], 1)
    other.conn.commit()
    thread.join()
    assert results == [[]], "both were taken already, under the same fence"
    assert engine.value("select count(*) from pgflow.step_tasks where step_slug = 'b'") == 2


def test_the_last_two_dependencies_completed_at_once_start_the_step_once(engine: Engine, other: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b")})
    engine.serve("f")
    run_id = engine.start("f")
    a, b = engine.claim()
    other.complete([a], 1)
    thread, results = in_thread(lambda: engine.complete([b], 2))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert results == [[]]
    assert engine.states(run_id) == {"a": "completed", "b": "completed", "c": "started"}
    assert engine.value("select count(*) from pgflow.step_tasks where step_slug = 'c'") == 1


def test_a_completion_against_a_failure_of_the_same_run(engine: Engine, other: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("b",)}, max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f")
    a, b = engine.claim()
    other.fail([a])
    thread, results = in_thread(lambda: engine.complete([b], 2))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert [r["reason"] for r in results[0]] == ["run_ended"]
    assert engine.states(run_id) == {"a": "failed", "b": "cancelled", "c": "cancelled"}


def test_a_claim_in_the_middle_of_a_failing_run_leaves_no_open_task(engine: Engine, other: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()}, max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f")
    (first,) = engine.claim(1)
    claimed = other.claim(1, worker_id=engine.worker_id)
    thread, results = in_thread(lambda: engine.fail([first]))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert results == [[]]
    assert engine.run(run_id)["status"] == "failed"
    assert engine.task(run_id, claimed[0]["step_slug"])["status"] == "cancelled"
    assert [r["reason"] for r in engine.complete(claimed)] == ["run_ended"]


def test_a_skip_takes_along_a_task_that_was_claimed_meanwhile(engine: Engine, other: Engine) -> None:
    """The task is another version of its row by then, which the skip must still find."""
    engine.flow("f", {"m": [], "z": ["m"]}, maps=["m"], max_attempts=1, settings={"m": {"when_exhausted": "skip"}})
    engine.serve("f")
    run_id = engine.start("f", [1, 2])
    first = engine.claim(1)
    claimed = other.claim(1, worker_id=engine.worker_id)
    thread, results = in_thread(lambda: engine.fail(first))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert results == [[]]
    assert engine.task(run_id, "m", 1)["status"] == "skipped"
    assert [r["reason"] for r in engine.complete(claimed)] == ["lease_lost"]


def test_a_skip_takes_along_a_task_that_became_ready_meanwhile(engine: Engine, other: Engine) -> None:
    engine.flow("f", {"m": []}, maps=["m"], settings={"m": {"max_attempts": 2, "when_exhausted": "skip"}})
    engine.serve("f")
    run_id = engine.start("f", [1, 2])
    first, second = engine.claim()
    engine.fail([second])
    other.value("select pgflow.promote_due_tasks()")
    thread, results = in_thread(lambda: engine.fail([first], retryable=False))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert results == [[]]
    assert engine.task(run_id, "m", 1)["status"] == "skipped"
    assert engine.claim() == []


def test_a_recovery_against_a_completion_gives_the_task_to_one_of_them(engine: Engine, other: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f")
    run_id = engine.start("f")
    tasks = engine.claim()
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
    other.complete(tasks, "done")
    thread, results = in_thread(lambda: engine.value("select pgflow.recover_tasks()"))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert results == [0]
    assert engine.run(run_id)["status"] == "completed"


@pytest.mark.parametrize("sweep", ["recover", "stalled"])
def test_a_run_that_somebody_keeps_locked_does_not_hold_up_a_sweep_of_the_others(
    engine: Engine, other: Engine, sweep: str
) -> None:
    """Somebody who watches a run in a transaction that stays open, say."""
    engine.flow("f", {"a": ()})
    engine.serve("f", lease_seconds=1)
    locked, free = engine.start("f"), engine.start("f")
    assert len(engine.claim()) == 2
    other.value("select pgflow.watch_run(%s)", locked)
    engine.set_clock(1000)
    engine.conn.execute("set statement_timeout = '30s'")
    assert engine.value("select pgflow.run_sweep(%s)", sweep) == 1
    assert [engine.task(run_id, "a")["status"] for run_id in (locked, free)] == ["started", "queued"]
    other.conn.commit()
    assert engine.value("select pgflow.run_sweep(%s)", sweep) == 1


def test_two_recoveries_do_not_wait_for_each_other(engine: Engine, other: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f")
    engine.start("f")
    engine.claim()
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
    assert other.value("select pgflow.recover_tasks()") == 1
    engine.conn.execute("set statement_timeout = '10s'")
    assert engine.value("select pgflow.recover_tasks()") == 0
    other.conn.rollback()
    assert engine.value("select pgflow.recover_tasks()") == 1


def test_a_start_that_waited_for_a_drop_leaves_no_run(engine: Engine, other: Engine) -> None:
    engine.flow("f", {"a": ()})
    other.conn.execute("select pgflow.drop_flow_version('f', 1)")
    thread, results = in_thread(lambda: engine.start("f"))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert results[0].sqlstate == "PF404"
    assert engine.value("select count(*) from pgflow.runs") == 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_start_that_waited_for_another_shape_of_its_flow_leaves_no_run(
    engine: Engine, other: Engine, version: int
) -> None:
    """As many steps as before, so that only a closer look tells the definitions apart."""
    for number in range(1, version + 1):
        engine.flow("f", {"a": ()}, version=number, fingerprint=f"shape {number}")
    other.conn.execute("select pgflow.drop_flow_version('f', %s)", (version,))
    other.flow("f", {"a": ()}, maps=["a"], version=version, fingerprint="another")
    thread, results = in_thread(lambda: engine.start("f", [1]))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert results[0].sqlstate == "PF404"
    assert engine.value("select count(*) from pgflow.runs") == 0


def test_starts_of_the_same_run_id_at_once_start_it_once(engine: Engine, other: Engine) -> None:
    engine.flow("f", {"a": ()})
    call = "select run_id from pgflow.start_flow('f', '1', '00000000-0000-0000-0000-000000000001')"
    other.value(call)
    thread, results = in_thread(lambda: engine.value(call))
    with psycopg.connect(other.conn.info.dsn, autocommit=True) as watcher:
        wait_until_blocked(Engine(watcher))
    other.conn.commit()
    thread.join()
    assert str(results[0]) == "00000000-0000-0000-0000-000000000001"
    assert engine.value("select count(*) from pgflow.step_tasks") == 1
