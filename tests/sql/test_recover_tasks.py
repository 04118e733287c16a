"""recover_tasks, release_tasks, release_strays, mark_worker_stopped: leases and what happens without them."""

import uuid

import psycopg

from tests.sql.engine import Engine


def test_tasks_of_a_worker_whose_lease_ran_out_go_to_another_without_using_an_attempt(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, max_attempts=1)
    dead = engine.serve("f", lease_seconds=10)
    run_id = engine.start("f")
    lost = engine.claim(worker_id=dead)
    assert engine.value("select pgflow.recover_tasks()") == 0
    engine.set_clock(11)
    assert engine.value("select pgflow.recover_tasks()") == 1
    task = engine.task(run_id, "a")
    assert (task["status"], task["attempts_count"], task["requeued_count"]) == ("queued", 0, 1)
    other = engine.serve("f", worker_id=uuid.uuid4())
    (again,) = engine.claim(worker_id=other)
    assert again["attempt"] == 1
    assert [r["reason"] for r in engine.complete(lost, "late")] == ["lease_lost"]
    assert engine.complete([again], "right") == []
    assert engine.run(run_id)["output"] == {"a": "right"}
    attempts = engine.rows("select outcome, error_class from pgflow.task_attempts")
    assert attempts == [{"outcome": "lost", "error_class": "LeaseLost"}]


def test_a_heartbeat_keeps_the_lease(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f", lease_seconds=10)
    engine.start("f")
    engine.claim()
    for seconds in (9, 18, 27):
        engine.set_clock(seconds)
        assert engine.value("select pgflow.recover_tasks()") == 0
        engine.conn.execute("select pgflow.heartbeat_worker(%s)", (worker,))


def test_what_a_stopped_worker_holds_is_recovered_at_once(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f")
    engine.start("f")
    engine.claim()
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
    assert engine.value("select pgflow.recover_tasks()") == 1


def test_a_task_lost_with_three_workers_fails_its_run_as_poison(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)}, max_attempts=10)
    run_id = engine.start("f")
    for _ in range(3):
        assert engine.run(run_id)["status"] == "started"
        worker = engine.serve("f", worker_id=uuid.uuid4())
        assert len(engine.claim(worker_id=worker)) == 1
        engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
        engine.conn.execute("select pgflow.recover_tasks()")
    task = engine.task(run_id, "a")
    assert (task["status"], task["requeued_count"]) == ("failed", 3)
    assert task["permanently_stalled_at"] is not None
    assert engine.states(run_id) == {"a": "failed", "b": "cancelled"}
    assert engine.run(run_id)["status"] == "failed"
    outcome = engine.row("select * from pgflow.run_outcome(%s)", run_id)
    assert (outcome["failed_step"], outcome["error_class"]) == ("a", "LeaseLost")


def test_tasks_claimed_together_with_a_poison_task_do_not_fail_with_it(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    runs = [engine.start("f", i) for i in range(7)]
    poison = runs[3]
    for _ in range(20):
        worker = engine.serve("f", worker_id=uuid.uuid4())
        while tasks := engine.claim(worker_id=worker):
            if poison in {t["run_id"] for t in tasks}:
                break
            engine.complete(tasks, 1)
        if not tasks:
            break
        engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
        engine.conn.execute("select pgflow.recover_tasks()")
    statuses = {run_id: engine.run(run_id)["status"] for run_id in runs}
    assert statuses == {run_id: "failed" if run_id == poison else "completed" for run_id in runs}
    assert engine.task(poison, "a")["requeued_count"] == 3


def test_a_suspect_is_held_alone_and_waits_for_a_worker_that_holds_nothing(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    suspect = engine.start("f", "suspect")
    busy = engine.claim()
    engine.release(busy)
    engine.conn.execute("update pgflow.step_tasks set requeued_count = 2")
    others = [engine.start("f", i) for i in range(3)]
    (first,) = engine.claim()
    assert first["run_id"] == suspect
    assert engine.claim() == [], "nothing beside a suspect"
    engine.complete([first])
    assert len(engine.claim(1) + engine.claim(1)) == 2, "afterwards it works as before"
    engine.release(engine.rows("select * from pgflow.step_tasks where status = 'started'"))
    held = engine.claim(1)
    others.remove(held[0]["run_id"])
    engine.conn.execute("update pgflow.step_tasks set requeued_count = 2 where run_id = %s", (others[1],))
    assert engine.claim() == [], "the worker runs empty first"
    engine.complete(held)
    assert [t["run_id"] for t in engine.claim()] == [others[1]]


def test_a_suspect_that_becomes_due_with_a_claim_is_held_alone_too(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, base_delay=1)
    suspect = engine.start("f", "suspect")
    for _ in range(2):
        worker_id = engine.serve("f", worker_id=uuid.uuid4())
        engine.claim(worker_id=worker_id)
        engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker_id,))
        engine.value("select pgflow.recover_tasks()")
    engine.serve("f")
    engine.fail(engine.claim())
    for _ in range(3):
        engine.start("f", "harmless")
    engine.set_clock(5)
    together = engine.claim()
    assert [task["run_id"] == suspect for task in together] == [False, False, False]
    assert engine.claim() == [], "the worker runs empty first"
    engine.complete(together)
    assert [task["run_id"] for task in engine.claim()] == [suspect]


def test_a_recovery_takes_no_more_than_asked_for(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f")
    for i in range(5):
        engine.start("f", i)
    engine.claim()
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
    assert [engine.value("select pgflow.recover_tasks(2)") for _ in range(4)] == [2, 2, 1, 0]


def test_released_tasks_are_ready_at_once_and_keep_their_attempts(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    tasks = engine.claim()
    assert engine.release(tasks) == []
    task = engine.task(run_id, "a")
    assert (task["status"], task["attempts_count"], task["requeued_count"]) == ("queued", 0, 0)
    assert [r["reason"] for r in engine.release(tasks)] == ["lease_lost"]
    assert [t["attempt"] for t in engine.claim()] == [1]


def test_released_and_abandoned_tasks_find_the_queue_their_step_has_now(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f", "released")
    tasks = engine.claim()
    with psycopg.connect(dsn) as slow_conn:
        Engine(slow_conn).start("f", "committed late")
        engine.conn.execute("select pgflow.set_flow_options('f', queue => 'new')")
        slow_conn.commit()
    engine.release(tasks)
    new = uuid.uuid4()
    engine.conn.execute("select pgflow.register_worker(%s, '{f}', '{shape}', '{new}')", (new,))
    assert [t["input"]["run"] for t in engine.claim(worker_id=new)] == ["released"]
    engine.conn.execute("select pgflow.recover_tasks()")
    assert [t["input"]["run"] for t in engine.claim(worker_id=new)] == ["committed late"]


def test_strays_are_what_a_worker_holds_without_knowing(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f")
    for i in range(4):
        engine.start("f", i)
    known, lost = engine.claim(2), engine.claim(2)
    fences = [t["fence"] for t in known]
    assert engine.value("select pgflow.release_strays(%s, %s::bigint[])", worker, fences) == 2
    assert engine.value("select pgflow.release_strays(%s, %s::bigint[])", worker, fences) == 0
    assert {t["run_id"] for t in engine.claim()} == {t["run_id"] for t in lost}
    assert engine.complete(known) == []
    assert engine.value("select pgflow.release_strays(%s, '{}')", worker) == 2


def _suspect(engine: Engine, slug: str) -> uuid.UUID:
    """Start a run whose only task was lost with two workers."""
    run_id = engine.start(slug, "suspect")
    for _ in range(2):
        worker_id = engine.serve(slug, worker_id=uuid.uuid4())
        assert len(engine.claim(worker_id=worker_id)) == 1
        engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker_id,))
        assert engine.value("select pgflow.recover_tasks()") == 1
    return run_id


def test_a_busy_worker_runs_empty_for_a_suspect_of_another_flow(engine: Engine) -> None:
    engine.flow("busy", {"a": []})
    engine.flow("rare", {"a": []})
    suspect = _suspect(engine, "rare")
    for _ in range(20):
        engine.start("busy")
    engine.serve("busy")
    held = engine.claim(5)
    engine.serve("busy", "rare")
    ordinary = engine.start("rare", "ordinary")
    assert engine.claim(5) == [], "it runs empty"
    engine.complete(held, 1)
    assert [task["run_id"] for task in engine.claim(5)] == [suspect]
    assert engine.claim(5) == [], "nothing beside a suspect"
    engine.complete([{**engine.task(suspect, "a")}], 1)
    assert ordinary in {task["run_id"] for task in engine.claim(100)}


def test_while_one_worker_runs_empty_for_a_suspect_the_others_go_on(engine: Engine) -> None:
    engine.flow("f", {"a": []})
    suspect = _suspect(engine, "f")
    first, second = uuid.uuid4(), uuid.uuid4()
    for worker_id in (first, second):
        engine.serve("f", worker_id=worker_id)
    engine.conn.execute("update pgflow.step_tasks set visible_at = now() + interval '1 hour'")
    runs = [engine.start("f") for _ in range(10)]
    held = [engine.claim(1, worker_id=worker_id) for worker_id in (first, second)]
    engine.conn.execute("update pgflow.step_tasks set visible_at = null where run_id = %s", (suspect,))
    assert engine.claim(5, worker_id=first) == []
    more = engine.claim(5, worker_id=second)
    assert len(more) == 5
    assert {task["run_id"] for task in more} <= set(runs)
    engine.complete(held[0], 1)
    assert [task["run_id"] for task in engine.claim(5, worker_id=first)] == [suspect]


def test_a_worker_that_runs_empty_for_a_suspect_goes_on_when_another_has_it(engine: Engine) -> None:
    engine.flow("f", {"a": []})
    engine.serve("f")
    engine.start("f")
    held = engine.claim()
    suspect, beside = engine.start("f"), engine.start("f")
    engine.conn.execute("update pgflow.step_tasks set requeued_count = 2 where run_id = %s", (suspect,))
    assert engine.claim() == []
    other = engine.serve("f", worker_id=uuid.uuid4())
    assert [task["run_id"] for task in engine.claim(worker_id=other)] == [suspect]
    assert [task["run_id"] for task in engine.claim()] == [beside]
    assert held[0]["run_id"] not in (suspect, beside)
