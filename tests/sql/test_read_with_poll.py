"""read_with_poll: phase one of foreign workers."""

import threading
import time
import uuid

import psycopg
import pytest

from tests.sql.engine import Engine, Row


def read(engine: Engine, qty: int = 100, *, queue: str = "f", vt: int = 30, seconds: int = 0) -> list[Row]:
    return engine.rows("select * from pgflow.read_with_poll(%s, %s, %s, %s, 10)", queue, vt, qty, seconds)


def test_a_message_names_its_task_and_tells_how_often_it_was_read(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    run_id = engine.start("f")
    (message,) = read(engine)
    task = engine.task(run_id, "a")
    assert message["msg_id"] == task["message_id"]
    assert message["message"] == {"flow_slug": "f", "run_id": str(run_id), "step_slug": "a", "task_index": 0}
    assert (message["read_ct"], message["enqueued_at"]) == (1, task["queued_at"])
    assert message["vt"] == task["visible_at"]
    assert (task["status"], task["attempts_count"]) == ("queued", 0), "reading is no attempt"


def test_what_was_read_is_neither_read_nor_claimed_again_before_its_time_is_over(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    (first,) = read(engine, vt=30)
    assert read(engine) == []
    assert engine.claim() == []
    engine.set_clock(31)
    (second,) = read(engine)
    assert (second["message"], second["read_ct"]) == (first["message"], 2)
    assert second["msg_id"] > first["msg_id"], "it comes back under a fresh message id"


def test_a_reservation_that_is_over_is_claimed_by_a_worker_of_ours(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    read(engine, vt=5)
    engine.set_clock(6)
    (task,) = engine.claim()
    assert (task["run_id"], task["attempt"]) == (run_id, 1)


def test_with_vt_0_a_message_stays_visible(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.start("f")
    first, second = read(engine, vt=0), read(engine, vt=0)
    assert [(m["msg_id"], m["read_ct"]) for m in first + second] == [(first[0]["msg_id"], 1), (first[0]["msg_id"], 2)]


def test_with_vt_0_a_message_comes_once_although_others_become_ready_in_the_same_call(engine: Engine) -> None:
    engine.flow("f", {"a": []})
    engine.start("f", 1)
    (message,) = engine.rows("select * from pgflow.read_with_poll('f', 1, 1, 0)")
    engine.start("f", 2)
    engine.set_clock(2)
    runs = [row["message"]["run_id"] for row in engine.rows("select * from pgflow.read_with_poll('f', 0, 10, 0)")]
    assert len(runs) == len(set(runs)) == 2
    assert message["message"]["run_id"] in runs


def test_messages_come_oldest_first_and_no_more_than_asked_for(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    runs = [str(engine.start("f", i)) for i in range(5)]
    assert [[m["message"]["run_id"] for m in read(engine, 2)] for _ in range(3)] == [runs[:2], runs[2:4], runs[4:]]
    assert read(engine, 0) == []


def test_one_queue_is_read_in_all_of_its_lanes_and_the_higher_priority_first(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ()})
    engine.flow("g", {"a": ()}, queue="f")
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'b', priority => 5)")
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'c', queue => 'gpu')")
    engine.start("f")
    engine.start("g")
    messages = [(m["message"]["flow_slug"], m["message"]["step_slug"]) for m in read(engine)]
    assert messages[0] == ("f", "b")
    assert sorted(messages) == [("f", "a"), ("f", "b"), ("g", "a")]
    assert [m["message"]["step_slug"] for m in read(engine, queue="gpu")] == ["c"]
    assert read(engine, queue="nobody's") == []


def test_slugs_that_differ_only_in_case_are_different_queues(engine: Engine) -> None:
    """Contract §5, point 8."""
    engine.flow("Flow", {"a": ()})
    engine.flow("flow", {"a": ()})
    engine.start("Flow")
    assert read(engine, queue="flow") == []
    assert [m["message"]["flow_slug"] for m in read(engine, queue="Flow")] == ["Flow"]


def test_a_queue_name_of_128_characters_works(engine: Engine) -> None:
    """Contract §5, point 8."""
    slug = "q" * 128
    engine.flow(slug, {"a": ()})
    engine.start(slug)
    assert len(read(engine, queue=slug)) == 1


def test_two_readers_at_once_never_get_the_same_message(engine: Engine, dsn: str) -> None:
    """Contract §5, point 2, for reservations."""
    engine.flow("f", {"a": ()})
    for i in range(10):
        engine.start("f", i)
    with psycopg.connect(dsn) as other_conn, engine.conn.transaction():
        first, second = read(engine, 6), read(Engine(other_conn), 6)
    ids = [m["msg_id"] for m in first + second]
    assert len(first) == 6
    assert len(set(ids)) == len(ids) == 10


def test_due_tasks_are_promoted_once_by_readers_at_once(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'a', start_delay => 60)")
    for i in range(10):
        engine.start("f", i)
    assert read(engine) == []
    with psycopg.connect(dsn, autocommit=True) as other_conn:
        other = Engine(other_conn)
        for each in (engine, other):
            each.set_clock(61)
        with engine.conn.transaction():
            first, second = read(engine, 6), read(other, 6)
        rest = read(other)
    ids = [m["msg_id"] for m in first + second + rest]
    assert len(set(ids)) == len(ids) == 10


def test_a_poll_sees_what_others_commit_meanwhile(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    got: list[list[Row]] = []
    with psycopg.connect(dsn, autocommit=True) as other_conn:
        thread = threading.Thread(target=lambda: got.append(read(Engine(other_conn), seconds=60)))
        thread.start()
        query = "select count(*) from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"
        while not engine.value(query, other_conn.info.backend_pid):
            engine.conn.execute("select pg_sleep(0.005)")
        written = "select backend_xid is not null from pg_stat_activity where pid = %s"
        assert not engine.value(written, other_conn.info.backend_pid), "it sleeps without locks"
        engine.start("f")
        thread.join()
    assert [m["message"]["step_slug"] for m in got[0]] == ["a"]


def test_a_poll_gives_up_when_its_time_is_over(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    began = time.monotonic()
    assert read(engine, seconds=1) == []
    assert 1 <= time.monotonic() - began < 30


def test_a_fruitless_look_asks_for_a_notification(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    read(engine)
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_tasks")
        engine.start("f")
        (note,) = listener.notifies(timeout=10, stop_after=1)
    assert note.payload == "f"
    read(engine)
    assert engine.value("select waiting from pgflow.lanes") is False


@pytest.mark.parametrize("call", ["'f', null, 1", "'f', -1, 1", "'f', 1, null", "'f', 1, -1"])
def test_bounds_out_of_their_range_are_refused(engine: Engine, call: str) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(f"select pgflow.read_with_poll({call}, 0)".encode())
    assert refusal.value.sqlstate == "PF400"


def test_the_claim_floor_does_not_hide_what_comes_back(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = uuid.uuid4()
    engine.conn.execute("insert into pgflow.workers (worker_id, queue_name) values (%s, 'f')", (worker,))
    for i in range(20):
        engine.start("f", i)
    late = read(engine, 5, vt=30)
    read(engine, 10, vt=1000)
    for _ in range(3):
        engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
    engine.set_clock(31)
    runs = {m["message"]["run_id"] for m in read(engine)}
    assert runs >= {m["message"]["run_id"] for m in late}
    assert len(runs) == 10
