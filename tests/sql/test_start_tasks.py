"""start_tasks: phase two of foreign workers."""

import threading
import uuid
from collections.abc import Sequence

import psycopg
import pytest

from tests.sql.engine import Engine, Row


def foreign_worker(engine: Engine) -> uuid.UUID:
    """A worker as others write it: the contract's columns alone, so without a lease."""
    engine.conn.execute(
        "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, 'f', 'foreign')",
        (engine.worker_id,),
    )
    return engine.worker_id


def read(engine: Engine, qty: int = 100) -> list[int]:
    return [row["msg_id"] for row in engine.rows("select msg_id from pgflow.read_with_poll('f', 30, %s, 0)", qty)]


def begin(engine: Engine, messages: Sequence[int], flow: str = "f", worker_id: uuid.UUID | None = None) -> list[Row]:
    return engine.rows(
        "select * from pgflow.start_tasks(%s, %s::bigint[], %s)", flow, list(messages), worker_id or engine.worker_id
    )


def test_a_reserved_task_becomes_started_with_a_fence_and_its_attempt_counted(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = foreign_worker(engine)
    run_id = engine.start("f", {"x": 1})
    messages = read(engine)
    (record,) = begin(engine, messages)
    task = engine.task(run_id, "a")
    assert record == {
        "flow_slug": "f",
        "run_id": run_id,
        "step_slug": "a",
        "input": {},
        "msg_id": messages[0],
        "task_index": 0,
        "flow_input": {"x": 1},
        "fence": task["fence"],
    }
    assert (task["status"], task["attempts_count"], task["last_worker_id"]) == ("started", 1, worker)
    assert task["visible_at"] is None
    assert task["started_at"] >= task["queued_at"]
    assert engine.complete([record], "done") == [], "the fence is current"


def test_a_task_that_was_not_reserved_is_started_by_its_message_id_too(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    foreign_worker(engine)
    run_id = engine.start("f")
    (record,) = begin(engine, [engine.task(run_id, "a")["message_id"]])
    assert record["run_id"] == run_id


def test_a_second_call_with_the_same_messages_returns_nothing(engine: Engine) -> None:
    """Contract §5, point 2."""
    engine.flow("f", {"a": ()})
    foreign_worker(engine)
    run_id = engine.start("f")
    messages = read(engine)
    assert len(begin(engine, messages * 2)) == 1
    assert begin(engine, messages) == []
    assert engine.task(run_id, "a")["attempts_count"] == 1


def test_two_callers_with_the_same_messages_share_them_without_overlap(engine: Engine, dsn: str) -> None:
    """Contract §5, point 2."""
    engine.flow("f", {"a": ()})
    foreign_worker(engine)
    for i in range(200):
        engine.start("f", i)
    messages = read(engine, 200)
    got: list[list[Row]] = []

    def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            mine = Engine(conn)
            got.append([t for i in range(0, 200, 20) for t in begin(mine, messages[i : i + 30], "f", engine.worker_id)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = [t["msg_id"] for tasks in got for t in tasks]
    assert sorted(started) == sorted(messages), "each exactly once"
    assert engine.value("select max(attempts_count) from pgflow.step_tasks") == 1


def test_a_caller_does_not_wait_for_another_one_that_has_not_committed(engine: Engine, dsn: str) -> None:
    """Contract §5, point 2."""
    engine.flow("f", {"a": ()})
    foreign_worker(engine)
    engine.start("f", 1)
    engine.start("f", 2)
    messages = read(engine)
    with psycopg.connect(dsn) as other_conn:
        assert len(begin(Engine(other_conn), messages[:1], worker_id=engine.worker_id)) == 1
        engine.conn.execute("set statement_timeout = '10s'")
        assert [t["msg_id"] for t in begin(engine, messages)] == messages[1:]


def test_a_message_id_that_was_replaced_starts_nothing(engine: Engine) -> None:
    """Contract §5, point 2: a reader that slept too long has lost its reservation."""
    engine.flow("f", {"a": ()})
    foreign_worker(engine)
    engine.start("f")
    slow = read(engine)
    engine.set_clock(31)
    fresh = read(engine)
    assert begin(engine, slow) == []
    assert len(begin(engine, fresh)) == 1


def test_a_task_that_a_worker_of_ours_has_claimed_is_left_out(engine: Engine) -> None:
    """Contract §5, point 2."""
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    message = engine.task(run_id, "a")["message_id"]
    engine.claim()
    assert begin(engine, [message]) == []


def test_tasks_of_ended_runs_and_of_other_flows_are_left_out(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()}, max_attempts=1)
    engine.flow("g", {"a": ()}, queue="f")
    foreign_worker(engine)
    engine.start("f")
    messages = read(engine)
    first, second = messages
    assert begin(engine, messages, flow="g") == []
    (task,) = begin(engine, [first])
    engine.fail([task])
    assert begin(engine, [second]) == []
    assert engine.value("select count(*) from pgflow.step_tasks where status = 'cancelled'") == 1


@pytest.mark.broken_data("the core itself never leaves a queued task in an ended run or step")
@pytest.mark.parametrize("table", ["runs", "step_states"])
@pytest.mark.broken_data("the run or the step is closed by hand")
def test_a_queued_task_is_left_out_while_its_run_or_step_is_not_started(engine: Engine, table: str) -> None:
    engine.flow("f", {"a": ()})
    foreign_worker(engine)
    engine.start("f")
    messages = read(engine)
    if table == "runs":
        engine.conn.execute("update pgflow.runs set status = 'failed', failed_at = now()")
    else:
        engine.conn.execute("update pgflow.step_states set status = 'failed', failed_at = now()")
    assert begin(engine, messages) == []


def test_a_start_that_meets_the_end_of_the_run_leaves_nothing_started(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": (), "b": ()}, max_attempts=1)
    foreign_worker(engine)
    run_id = engine.start("f")
    first, second = read(engine)
    (task,) = begin(engine, [first])
    with psycopg.connect(dsn) as other_conn:
        Engine(other_conn).fail([task])
        assert begin(engine, [second]) == [], "the end of the run has the task already"
        other_conn.commit()
    assert begin(engine, [second]) == []
    assert engine.states(run_id) == {"a": "failed", "b": "cancelled"}


def test_the_end_of_a_run_waits_for_a_start_and_cancels_what_it_started(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": (), "b": ()}, max_attempts=1)
    foreign_worker(engine)
    run_id = engine.start("f")
    first, second = read(engine)
    (task,) = begin(engine, [first])
    with psycopg.connect(dsn) as other_conn:
        (late,) = begin(Engine(other_conn), [second], worker_id=engine.worker_id)
        thread = threading.Thread(target=lambda: engine.fail([task]))
        thread.start()
        with psycopg.connect(dsn, autocommit=True) as watcher:
            while not watcher.execute("select from pg_stat_activity where wait_event_type = 'Lock'").fetchall():
                watcher.execute("select pg_sleep(0.005)")
        other_conn.commit()
        thread.join()
    assert engine.task(run_id, "b")["status"] == "cancelled"
    assert [r["reason"] for r in engine.complete([late])] == ["run_ended"]


def test_a_dependent_step_gets_the_outputs_of_its_dependencies_and_nothing_else(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b")})
    foreign_worker(engine)
    engine.start("f", {"x": 1})
    engine.complete(begin(engine, read(engine)), lambda task: {"from": task["step_slug"]})
    (record,) = begin(engine, read(engine))
    assert record["input"] == {"a": {"from": "a"}, "b": {"from": "b"}}
    assert record["flow_input"] is None


@pytest.mark.parametrize("falsy", [0, False, "", [], {}, None])
def test_falsy_outputs_arrive_as_they_are(engine: Engine, falsy: object) -> None:
    """Contract §5, point 9."""
    engine.flow("f", {"a": (), "b": ("a",)})
    foreign_worker(engine)
    engine.start("f", falsy)
    (first,) = begin(engine, read(engine))
    assert first["flow_input"] == falsy
    engine.complete([first], falsy)
    (second,) = begin(engine, read(engine))
    assert second["input"] == {"a": falsy}


def test_a_map_task_gets_its_element(engine: Engine) -> None:
    engine.flow("f", {"m": (), "n": ("m",)}, maps=("m", "n"))
    foreign_worker(engine)
    engine.start("f", [1, None, {"x": [2]}])
    tasks = begin(engine, read(engine))
    assert [(t["task_index"], t["input"], t["flow_input"]) for t in tasks] == [
        (0, 1, None),
        (1, None, None),
        (2, {"x": [2]}, None),
    ]
    engine.complete(tasks, lambda task: task["input"])
    assert [t["input"] for t in begin(engine, read(engine))] == [1, None, {"x": [2]}]


def test_an_attempt_taken_up_again_gets_a_new_fence_and_the_old_one_is_refused(engine: Engine) -> None:
    """Contract §5, point 1, for foreign workers."""
    engine.flow("f", {"a": ()})
    foreign_worker(engine)
    run_id = engine.start("f")
    (first,) = begin(engine, read(engine))
    engine.fail([first])
    (second,) = begin(engine, read(engine))
    assert second["fence"] > first["fence"]
    assert engine.task(run_id, "a")["attempts_count"] == 2
    assert [r["reason"] for r in engine.complete([first])] == ["lease_lost"]
    assert engine.complete([second]) == []


def test_an_unknown_worker_and_a_stopped_one_are_refused(engine: Engine) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        begin(engine, [1])
    assert refusal.value.sqlstate == "PF406"
    worker = foreign_worker(engine)
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
    with pytest.raises(psycopg.Error) as refusal:
        begin(engine, [1])
    assert refusal.value.sqlstate == "PF412"


def test_a_worker_whose_lease_ran_out_starts_nothing(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = engine.serve("f", lease_seconds=10)
    engine.start("f")
    messages = read(engine)
    engine.set_clock(20)
    assert begin(engine, messages) == []
    engine.conn.execute("select pgflow.heartbeat_worker(%s)", (worker,))
    assert len(begin(engine, messages)) == 1


def test_no_messages_and_unknown_messages_start_nothing(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    foreign_worker(engine)
    engine.start("f")
    assert begin(engine, []) == begin(engine, [-1]) == begin(engine, [1], flow="nope") == []
    assert engine.rows("select * from pgflow.start_tasks('f', null, %s)", engine.worker_id) == []


def pages(engine: Engine, messages: list[int]) -> int:
    with engine.conn.transaction(force_rollback=True):
        plan = engine.value(
            "explain (analyze, buffers, timing off, format json) select * from pgflow.start_tasks('f', %s, %s)",
            messages,
            engine.worker_id,
        )[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_the_cost_of_a_map_is_linear_in_its_tasks(engine: Engine) -> None:
    """Contract §5, point 10: the array a map runs over is not taken apart once per task."""
    engine.flow("f", {"m": ()}, maps=("m",))
    foreign_worker(engine)
    engine.start("f", [{"text": "x" * 1000, "i": i} for i in range(4000)])
    messages = read(engine, 4000)
    few, many = pages(engine, messages[:500]), pages(engine, messages)
    assert many < few * 8 * 1.5


@pytest.mark.parametrize("reserved", [True, False])
def test_starting_touches_few_pages_whatever_the_backlog_and_the_statistics(engine: Engine, reserved: bool) -> None:
    engine.flow("f", {"a": ()})
    foreign_worker(engine)

    def start(count: int) -> None:
        engine.conn.execute(
            "select pgflow.start_flows('f', array(select to_jsonb(i) from generate_series(1, %s) i))", (count,)
        )

    def ten() -> list[int]:
        if reserved:
            return read(engine, 10)
        query = "select message_id from pgflow.step_tasks where visible_at is null order by message_id limit 10"
        return [row["message_id"] for row in engine.rows(query)]

    start(20)
    messages = ten()
    small = min(pages(engine, messages) for _ in range(3))
    engine.conn.execute("analyze")
    start(5000)
    read(engine, 2500)
    messages = ten()
    large = min(pages(engine, messages) for _ in range(3))
    assert large < small * 2


def test_readers_and_claims_at_once_give_every_task_to_one_of_them(engine: Engine, dsn: str) -> None:
    """Contract §5, point 2, over both roads to a task."""
    engine.flow("f", {"a": ()}, max_attempts=1)
    ours = engine.serve("f", worker_id=uuid.uuid4())
    foreign = foreign_worker(engine)
    engine.conn.execute("select pgflow.start_flows('f', array(select to_jsonb(i) from generate_series(1, 400) i))")
    got: list[tuple[uuid.UUID, str]] = []

    def work(road: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            mine = Engine(conn)
            while True:
                messages = [] if road == "ours" else read(mine, 7)
                tasks = mine.claim(7, ours) if road == "ours" else begin(mine, messages, worker_id=foreign)
                while len(tasks) < len(messages):  # a claim that just missed them may keep their rows for a moment
                    tasks += begin(mine, messages, worker_id=foreign)
                if not tasks:
                    return
                got.extend((task["run_id"], road) for task in tasks)
                assert mine.complete(tasks) == []

    threads = [threading.Thread(target=work, args=(road,)) for road in ("ours", "foreign") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run for run, _ in got}) == len(got) == 400
    assert engine.value("select count(*) from pgflow.runs where status = 'completed'") == 400
