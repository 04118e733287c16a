"""set_vt_batch: moving visibilities."""

import psycopg
import pytest

from tests.sql.engine import Engine, Row


def read(engine: Engine, qty: int = 100, vt: int = 30) -> list[Row]:
    return engine.rows("select * from pgflow.read_with_poll('f', %s, %s, 0)", vt, qty)


def move(engine: Engine, messages: list[int], offsets: list[int], queue: str = "f") -> list[Row]:
    return engine.rows("select * from pgflow.set_vt_batch(%s, %s::bigint[], %s::int[])", queue, messages, offsets)


def test_a_reservation_is_extended_and_keeps_its_message(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    run_id = engine.start("f")
    (message,) = read(engine, vt=10)
    (moved,) = move(engine, [message["msg_id"]], [100])
    assert {k: v for k, v in moved.items() if k != "vt"} == {k: v for k, v in message.items() if k != "vt"}
    assert moved["vt"] == engine.task(run_id, "a")["visible_at"]
    assert (moved["vt"] - message["vt"]).total_seconds() == pytest.approx(90, abs=5)
    engine.set_clock(50)
    assert read(engine) == []


def test_each_message_gets_its_own_offset(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    for i in range(3):
        engine.start("f", i)
    ids = [m["msg_id"] for m in read(engine)]
    moved = move(engine, ids, [100, 200, 300])
    assert [m["msg_id"] for m in moved] == ids
    times = [m["vt"] for m in moved]
    assert [(t - times[0]).total_seconds() for t in times] == [0, 100, 200]


@pytest.mark.parametrize("offset", [0, -5])
def test_an_offset_of_0_or_less_gives_a_message_back_at_once(engine: Engine, dsn: str, offset: int) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    (message,) = read(engine)
    assert read(engine) == []
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgflow_tasks")
        (moved,) = move(engine, [message["msg_id"]], [offset])
        (note,) = listener.notifies(timeout=10, stop_after=1)
        assert note.payload == "f"
    assert moved["msg_id"] == engine.task(run_id, "a")["message_id"] > message["msg_id"]
    assert engine.task(run_id, "a")["visible_at"] is None
    assert len(engine.claim()) == 1


def test_a_message_that_is_ready_keeps_its_place(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.start("f", 1)
    engine.start("f", 2)
    first = read(engine, 1, vt=0)[0]["msg_id"]
    assert [m["msg_id"] for m in move(engine, [first], [0])] == [first]
    assert read(engine, 1)[0]["msg_id"] == first


def test_a_ready_message_is_put_off(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    (message,) = read(engine, vt=0)
    assert len(move(engine, [message["msg_id"]], [60])) == 1
    assert engine.claim() == []
    engine.set_clock(61)
    assert len(engine.claim()) == 1


def test_started_ended_and_unknown_messages_and_those_of_other_queues_are_left_alone(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.flow("g", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    other = engine.task(engine.start("g"), "a")["message_id"]
    tasks = engine.claim()
    message = engine.task(run_id, "a")["message_id"]
    before = engine.task(run_id, "a")
    assert move(engine, [message, other, -1], [10, 10, 10]) == []
    assert engine.task(run_id, "a") == before
    engine.complete(tasks)
    assert move(engine, [message], [10]) == []


def test_of_a_message_named_twice_the_last_offset_counts(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.start("f")
    (message,) = read(engine)
    (moved,) = move(engine, [message["msg_id"]] * 2, [10, 1000])
    assert (moved["vt"] - message["vt"]).total_seconds() > 900


def test_a_message_in_other_hands_is_not_waited_for(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.start("f")
    (message,) = read(engine)
    with psycopg.connect(dsn) as other:
        assert len(move(Engine(other), [message["msg_id"]], [5])) == 1
        engine.conn.execute("set statement_timeout = '10s'")
        assert move(engine, [message["msg_id"]], [10]) == []


def test_no_messages_move_nothing(engine: Engine) -> None:
    assert move(engine, [], []) == []


@pytest.mark.parametrize("call", ["'{1,2}', '{1}'", "'{}', '{1}'", "'{1}', null", "'{1}', '{null}'"])
def test_arrays_that_do_not_fit_are_refused(engine: Engine, call: str) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(f"select pgflow.set_vt_batch('f', {call})".encode())
    assert refusal.value.sqlstate == "PF400"


def test_moving_touches_few_pages_although_its_plan_was_made_on_small_tables(engine: Engine) -> None:
    engine.flow("f", {"a": ()})

    def start(count: int) -> None:
        engine.conn.execute("select pgflow.start_flows('f', array_fill('1'::jsonb, array[%s]))", (count,))

    def pages(messages: list[int]) -> int:
        with engine.conn.transaction(force_rollback=True):
            plan = engine.value(
                "explain (analyze, buffers, timing off, format json) select * from pgflow.set_vt_batch('f', %s, %s)",
                messages,
                [0, 5] * (len(messages) // 2),
            )[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    start(20)
    reserved = [m["msg_id"] for m in read(engine, 10)]
    small = min(pages(reserved) for _ in range(3))
    start(5000)
    read(engine, 2500)
    ready = engine.rows("select message_id from pgflow.step_tasks where visible_at is null order by 1 desc limit 10")
    for messages in (reserved, [row["message_id"] for row in ready]):
        assert min(pages(messages) for _ in range(3)) < small * 3
