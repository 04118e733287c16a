"""promote_due_tasks, run_sweep."""

import psycopg
import pytest

from tests.sql.engine import Engine

SWEEPS = ("recover", "stalled", "deadlines", "timers", "prune")


def sweep(engine: Engine, name: str, most: int = 1000) -> int | None:
    swept: int | None = engine.value("select pgflow.run_sweep(%s, %s, '1 day')", name, most)
    return swept


def test_due_tasks_of_all_lanes_become_ready_and_their_queues_are_notified(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": (), "b": ()})
    engine.flow("g", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options(x, 1, 'a', start_delay => 60) from unnest('{f,g}'::text[]) x")
    engine.conn.execute("update pgflow.lanes set waiting = true where queue_name = 'g'")
    for slug in ("f", "g"):
        engine.start(slug)
    ids = "select message_id from pgflow.step_tasks where step_slug = 'a' order by 1"
    before = engine.rows(ids)
    assert engine.value("select pgflow.promote_due_tasks()") == 0
    engine.set_clock(61)
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_tasks")
        assert engine.value("select pgflow.promote_due_tasks()") == 2
        assert [n.payload for n in listener.notifies(timeout=10, stop_after=1)] == ["g"]
    assert engine.value("select count(*) from pgflow.step_tasks where visible_at is null") == 3
    assert min(r["message_id"] for r in engine.rows(ids)) > max(r["message_id"] for r in before), "behind all others"
    assert engine.value("select pgflow.promote_due_tasks()") == 0


def test_a_call_promotes_no_more_than_it_is_asked_to(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'a', start_delay => 60)")
    for i in range(5):
        engine.start("f", i)
    engine.set_clock(61)
    assert [engine.value("select pgflow.promote_due_tasks(2)") for _ in range(4)] == [2, 2, 1, 0]


def test_reservations_that_are_over_are_promoted(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.start("f")
    engine.rows("select * from pgflow.read_with_poll('f', 10, 1, 0)")
    engine.set_clock(11)
    assert engine.value("select pgflow.promote_due_tasks()") == 1


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_answers_0_when_there_is_nothing_to_do(engine: Engine, name: str) -> None:
    engine.flow("f", {"a": ()})
    engine.start("f")
    assert sweep(engine, name) == 0


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_that_another_does_at_this_moment_is_left_to_it(engine: Engine, dsn: str, name: str) -> None:
    with psycopg.connect(dsn) as other:
        assert sweep(Engine(other), name) == 0
        assert sweep(engine, name) is None
        others = [sweep(engine, x) for x in SWEEPS if x != name]
        assert others == [0, 0, 0, 0], "the other sweeps go on"
        other.commit()
        assert sweep(engine, name) == 0


def test_the_sweeps_do_their_work(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, timeout=10)
    engine.flow("late", {"a": ()}, deadline=100)
    engine.flow("slow", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options('slow', 1, 'a', start_delay => 50)")
    engine.start("slow")
    lost = engine.start("f")
    late = engine.start("late")
    engine.serve("f", lease_seconds=20)
    engine.claim()
    engine.set_clock(60)
    assert sweep(engine, "timers") == 1
    assert sweep(engine, "recover") == 1
    assert engine.task(lost, "a")["status"] == "queued"
    engine.set_clock(101)
    assert sweep(engine, "deadlines") == 1
    assert engine.run(late)["status"] == "failed"
    engine.conn.execute("select pgflow.heartbeat_worker(%s)", (engine.worker_id,))
    engine.claim()
    engine.set_clock(142)
    assert sweep(engine, "stalled") == 1
    engine.set_clock(100_000)
    assert sweep(engine, "prune") == 1


@pytest.mark.parametrize("call", ["'tidy'", "null", "'prune'"])
def test_unknown_sweeps_and_a_prune_without_retention_are_refused(engine: Engine, call: str) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(f"select pgflow.run_sweep({call})".encode())
    assert refusal.value.sqlstate == "PF400"


@pytest.mark.parametrize("analyzed", [False, True])
def test_timers_with_nothing_due_cost_a_look_whatever_sleeps(engine: Engine, analyzed: bool) -> None:
    engine.flow("f", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'a', start_delay => 100000)")

    def pages() -> int:
        with engine.conn.transaction(force_rollback=True):
            plan = engine.value("explain (analyze, buffers, timing off, format json) select pgflow.promote_due_tasks()")
        return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])

    pages()
    engine.conn.execute("select pgflow.start_flows('f', array_fill('1'::jsonb, array[5000]))")
    if analyzed:
        engine.conn.execute("analyze")
        engine.conn.execute("discard plans")
    assert min(pages() for _ in range(3)) < 50
