"""claim_tasks, register_worker, heartbeat_worker, mark_worker_stopped."""

import uuid

import psycopg
import pytest

from tests.sql.engine import Engine


def test_a_task_is_claimed_once_and_the_attempt_counted(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, max_attempts=4)
    engine.serve("f")
    run_id = engine.start("f", {"x": 1})
    (task,) = engine.claim()
    assert (task["run_id"], task["step_slug"], task["attempt"], task["max_attempts"]) == (run_id, "a", 1, 4)
    assert task["input"] == {"run": {"x": 1}}
    assert engine.claim() == []
    row = engine.task(run_id, "a")
    assert (row["status"], row["attempts_count"], row["last_worker_id"]) == ("started", 1, engine.worker_id)
    assert row["fence"] == task["fence"] > 0


def test_tasks_are_claimed_oldest_first_and_no_more_than_asked_for(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    ids = [engine.start("f", i) for i in range(7)]
    claimed = [{t["run_id"] for t in engine.claim(3)} for _ in range(3)]
    assert claimed == [set(ids[:3]), set(ids[3:6]), set(ids[6:])]
    assert engine.claim(0) == []


def test_higher_priority_goes_first(engine: Engine) -> None:
    engine.flow("low", {"a": ()}, priority=-1)
    engine.flow("high", {"a": ()}, priority=1)
    engine.serve("low", "high")
    for slug in ("low", "high", "low", "high"):
        engine.start(slug)
    assert [t["flow_slug"] for t in engine.claim(2) + engine.claim(2)] == ["high", "high", "low", "low"]


def test_a_worker_claims_only_flows_and_queues_it_serves(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()})
    engine.flow("g", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'b', queue => 'gpu')")
    engine.start("f")
    engine.start("g")
    gpu = uuid.uuid4()
    engine.conn.execute("select pgflow.register_worker(%s, '{f}', '{shape}', '{gpu}')", (gpu,))
    assert [(t["flow_slug"], t["step_slug"]) for t in engine.claim(worker_id=gpu)] == [("f", "b")]
    engine.serve("g")
    assert [(t["flow_slug"], t["step_slug"]) for t in engine.claim()] == [("g", "a")]


def test_two_workers_never_get_the_same_task(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    for i in range(10):
        engine.start("f", i)
    with psycopg.connect(dsn) as other_conn, engine.conn.transaction():
        other = Engine(other_conn)
        first = engine.claim(6)
        second = other.claim(6, worker_id=engine.worker_id)
        keys = [t["run_id"] for t in first + second]
        assert len(first) == 6
        assert len(set(keys)) == len(keys) == 10
        assert {t["fence"] for t in first}.isdisjoint({t["fence"] for t in second})
        other_conn.rollback()
    assert len(engine.claim(10)) == 4


@pytest.mark.parametrize("call", ["claim_tasks(%s, 1)", "heartbeat_worker(%s)"])
def test_an_unknown_or_stopped_worker_is_refused(engine: Engine, call: str) -> None:
    engine.flow("f", {"a": ()})
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(f"select pgflow.{call}".encode(), (uuid.uuid4(),))
    assert refusal.value.sqlstate == "PF406"
    worker = engine.serve("f")
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(f"select pgflow.{call}".encode(), (worker,))
    assert refusal.value.sqlstate == "PF412"
    with pytest.raises(psycopg.Error) as refusal:
        engine.serve("f")
    assert refusal.value.sqlstate == "PF412"


def test_an_uncompiled_flow_or_shape_is_refused_by_name(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    with pytest.raises(psycopg.Error, match=r"'f' is in the database, but in another shape.*'g' is not in") as refusal:
        engine.conn.execute("select pgflow.register_worker(%s, '{f,g}', '{other,x}')", (uuid.uuid4(),))
    assert refusal.value.sqlstate == "PF414"


def test_a_worker_whose_lease_ran_out_gets_nothing_until_its_next_heartbeat(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f", lease_seconds=10)
    engine.start("f")
    engine.set_clock(11)
    assert engine.claim() == []
    engine.conn.execute("select pgflow.heartbeat_worker(%s)", (worker,))
    assert len(engine.claim()) == 1


def test_a_deprecated_worker_is_told_and_gets_nothing_new(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f")
    assert engine.value("select pgflow.heartbeat_worker(%s)", worker) is False
    engine.conn.execute("update pgflow.workers set deprecated_at = now()")
    engine.start("f")
    assert engine.claim() == []
    assert engine.value("select pgflow.heartbeat_worker(%s)", worker) is True


def test_inputs_hold_the_completed_dependencies_and_the_runs_input_when_asked_for(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()})
    engine.conn.execute("select pgflow.add_step('f', 'c', array['a', 'b'], uses_run_input => false)")
    engine.conn.execute("select pgflow.add_step('f', 'd', array['c'])")
    engine.serve("f")
    engine.start("f", [1])
    tasks = engine.work_off(lambda t: {"from": t["step_slug"]})
    assert {t["step_slug"]: t["input"] for t in tasks} == {
        "a": {"run": [1]},
        "b": {"run": [1]},
        "c": {"a": {"from": "a"}, "b": {"from": "b"}},
        "d": {"c": {"from": "c"}, "run": [1]},
    }


def test_the_whole_inputs_of_a_step_are_sent_once_per_batch(engine: Engine) -> None:
    engine.flow("f", {"list": (), "whole": ()})
    engine.conn.execute(
        "select pgflow.add_step('f', 'm', array['list', 'whole'], step_type => 'map', map_over => 'list')"
    )
    engine.serve("f")
    engine.start("f")
    engine.complete(engine.claim(), lambda t: [10, None, 30] if t["step_slug"] == "list" else "big")
    tasks = engine.claim()
    assert [(t["task_index"], t["element"]) for t in tasks] == [(0, 10), (1, None), (2, 30)]
    assert [t["input"] for t in tasks] == [{"run": None, "whole": "big"}, None, None]
    missing = engine.value("select count(*) from pgflow.step_tasks where step_slug = 'm' and input is null")
    assert missing == 0, "a JSON null element is not a missing one"


def test_an_empty_lane_is_marked_and_the_next_start_notifies_once_per_queue(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": (), "b": ()})
    engine.serve("f")
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_tasks")
        engine.start("f")
        engine.work_off()
        engine.start("f")
        (note,) = listener.notifies(timeout=10, stop_after=1)
        assert (note.channel, note.payload) == ("pgflow_tasks", "f")
        engine.work_off()
        engine.conn.execute("update pgflow.lanes set waiting = false")
        engine.start("f")
        assert list(listener.notifies(timeout=0.2)) == [], "a busy lane sends none"


def test_the_claim_floor_follows_the_oldest_ready_task(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    for i in range(20):
        engine.start("f", i)
    engine.complete(engine.claim(15), 0)
    oldest = engine.value("select min(message_id) from pgflow.step_tasks where status = 'queued'")
    for _ in range(3):
        engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
    assert engine.value("select claim_floor from pgflow.lanes") == oldest
    assert len(engine.work_off()) == 5


def test_the_claim_floor_waits_for_an_open_transaction_with_older_tasks(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    with psycopg.connect(dsn) as slow_conn:
        slow = Engine(slow_conn)
        late = slow.start("f", "late")
        for i in range(5):
            engine.start("f", i)
        engine.complete(engine.claim(3), 0)
        for _ in range(5):
            engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
        slow_conn.commit()
        for _ in range(5):
            engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
    assert late in {t["run_id"] for t in engine.claim()}


def test_the_claim_floor_moves_on_while_a_reader_keeps_an_old_snapshot(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    with psycopg.connect(dsn) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("select count(*) from pgflow.runs")
        for i in range(10):
            engine.start("f", i)
        engine.complete(engine.claim(8), 0)
        for _ in range(3):
            engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
        oldest = engine.value("select min(message_id) from pgflow.step_tasks where status = 'queued'")
        assert engine.value("select claim_floor from pgflow.lanes") == oldest


def test_a_claim_touches_few_pages_whatever_the_backlog_the_sleepers_and_the_history(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.flow("later", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options('later', 1, 'a', start_delay => 100000)")
    engine.serve("f", "later")

    def start(slug: str, count: int) -> None:
        engine.conn.execute(
            "select pgflow.start_flows(%s, array(select to_jsonb(i) from generate_series(1, %s) i))", (slug, count)
        )

    def pages() -> int:
        # statistics as they are after a bulk load: none; the pages are those of the function's own statements
        with engine.conn.transaction(force_rollback=True):
            plan = engine.value(
                "explain (analyze, buffers, timing off, format json) select * from pgflow.claim_tasks(%s, 10)",
                engine.worker_id,
            )[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    start("f", 20)
    small = min(pages() for _ in range(5))
    start("f", 5000)
    engine.complete(engine.claim(5000), 1)
    start("f", 5000)
    start("later", 5000)
    large = min(pages() for _ in range(5))
    assert large < small * 2


def test_the_claim_floor_waits_for_a_transaction_newer_than_the_last_one_that_ended(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    with psycopg.connect(dsn) as early_conn, psycopg.connect(dsn) as late_conn:
        early, late = Engine(early_conn), Engine(late_conn)
        early_conn.execute("select pg_current_xact_id()")
        first = late.start("f", "drawn first, committed last, by the newest transaction")
        for i in range(5):
            early.start("f", i)
        early_conn.commit()
        for _ in range(5):
            engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
        late_conn.commit()
        for _ in range(5):
            engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
    assert first in {t["run_id"] for t in engine.claim()}


def test_the_claim_floor_moves_although_no_task_is_left(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    for _ in range(3):
        last = engine.start("f")
        engine.work_off()
        engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
    assert engine.value("select claim_floor from pgflow.lanes") == engine.task(last, "a")["message_id"]
    engine.start("f")
    assert len(engine.claim()) == 1


def test_the_claim_floor_moves_in_a_transaction_that_has_written_before(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    for i in range(10):
        engine.start("f", i)
    oldest = engine.rows("select message_id from pgflow.step_tasks order by message_id")
    for done in (3, 3):
        tasks = engine.claim(done)
        with engine.conn.transaction():
            engine.complete(tasks, 0)
            engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
    engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
    lane = engine.row("select * from pgflow.lanes")
    assert (lane["claim_floor"], lane["next_floor"]) == (oldest[6]["message_id"], oldest[6]["message_id"])


def test_starting_touches_few_pages_although_statistics_say_the_tables_are_empty(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)})
    engine.start("f")
    engine.conn.execute("analyze")

    def pages() -> int:
        plan = engine.value(
            "explain (analyze, buffers, timing off, format json)"
            " select pgflow.start_flows('f', array_fill('1'::jsonb, array[50]))"
        )[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    first = pages()
    for _ in range(5):
        engine.conn.execute("select pgflow.start_flows('f', array_fill('1'::jsonb, array[1000]))")
    assert pages() < first * 2
