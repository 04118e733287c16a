"""What becomes of running handlers when their run ends without them, and what workers do although no task caused it."""

import asyncio
import logging
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from flowdsl.client import Client
from flowdsl.errors import ResultTimeout, RunCancelled, RunFailed
from flowdsl.gateway import calls
from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.types import RunStatus
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, until, working
from tests.integration.worker_app import FLOWS, WorkerProcess, gates, journal

DbConn = psycopg.Connection[Any]
SHORT: dict[str, Any] = {"lease_seconds": 1, "poll_seconds": 0.1}
FOR_EVER = {"lease_seconds": 3600}
"""A lease whose heartbeats come every twenty minutes: whatever a test sees, no heartbeat told it."""


def task_counts(conn: DbConn) -> dict[str, int]:
    return dict(conn.execute("select status, count(*)::int from pgflow.step_tasks group by status").fetchall())


def attempts(conn: DbConn) -> list[tuple[Any, ...]]:
    return conn.execute("select outcome, error_class from pgflow.task_attempts").fetchall()


def messages(caplog: pytest.LogCaptureFixture, text: str, level: int = logging.DEBUG) -> list[str]:
    return [r.getMessage() for r in caplog.records if text in r.getMessage() and r.levelno >= level]


class Waiting:
    """An async handler that waits to be cancelled, and notes that it was."""

    def __init__(self) -> None:
        self.begun: set[int] = set()
        self.cancelled: set[int] = set()

    async def handle(self, number: int) -> int:
        self.begun.add(number)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.add(number)
            raise
        return number


def test_the_handlers_of_a_cancelled_run_are_cancelled_with_the_next_beat_and_those_of_others_go_on(
    dsn: str, conn: DbConn, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Waiting()
    flow = Flow("waits", list[int], timeout=600).map(waiting.handle).returns(collect(waiting.handle))

    async def scenario() -> None:
        async with working(flow, dsn=dsn, grace_seconds=0, **SHORT), Client(dsn) as client:
            cancelled = await client.start(flow, [1, 2])
            await client.start(flow, [3])
            await until(lambda: waiting.begun == {1, 2, 3})
            assert await cancelled.cancel("wrong list") is RunStatus.CANCELLED
            await until(lambda: waiting.cancelled == {1, 2}, 5)
            with pytest.raises(RunCancelled, match="was cancelled: wrong list"):
                await cancelled.result(5)
            assert task_counts(conn) == {"cancelled": 2, "started": 1}

    compile_into(dsn, flow)
    with caplog.at_level(logging.INFO, logger="flowdsl"):
        run(scenario())
    assert task_counts(conn) == {"cancelled": 2, "queued": 1}
    assert attempts(conn) == []
    told = messages(caplog, "an attempt of step 'handle' is cancelled")
    assert told == ["an attempt of step 'handle' is cancelled: its run has ended"] * 2
    assert messages(caplog, "released") == ["released 1 unfinished tasks"]
    assert messages(caplog, "was not taken") == []
    assert messages(caplog, "", logging.WARNING) == ["out of time: cancelling 1 attempts"]


def test_a_sync_handler_may_look_whether_it_is_cancelled_and_its_result_is_dropped(
    dsn: str, conn: DbConn, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def poll(number: int, context: Context) -> int:
        begun.set()
        while not context.cancelled:
            ended.wait(0.01)
        ended.set()
        return number

    flow = Flow("polls", int, timeout=600).step(poll).returns(poll)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, **SHORT) as worker, Client(dsn) as client:
            started = await client.start(flow, 1)
            await asyncio.to_thread(begun.wait, 30)
            await client.cancel(started.run_id)
            assert await asyncio.to_thread(ended.wait, 5)
            await until(lambda: worker.stuck == ())

    compile_into(dsn, flow)
    with caplog.at_level(logging.INFO, logger="flowdsl"):
        run(scenario())
    assert task_counts(conn) == {"cancelled": 1}
    assert attempts(conn) == []
    assert messages(caplog, "was not taken") == messages(caplog, "released") == []


def test_a_sync_handler_that_looks_at_nothing_keeps_its_slot_until_it_ends(dsn: str, conn: DbConn, run: Run) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def block(number: int) -> int:
        if number == 1:
            begun.set()
            go_on.wait(60)
        return number

    flow = Flow("blocks", int, timeout=600).step(block).returns(block)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, concurrency=1, **SHORT) as worker, Client(dsn) as client:
            started = await client.start(flow, 1)
            await asyncio.to_thread(begun.wait, 30)
            await started.cancel()
            await until(lambda: worker.stuck == ("block",))
            after = await client.start(flow, 2)
            with pytest.raises(ResultTimeout):
                await after.result(1)
            go_on.set()
            assert await after.result(30) == 2

    compile_into(dsn, flow)
    run(scenario())
    assert task_counts(conn) == {"cancelled": 1, "completed": 1}
    assert attempts(conn) == []


def test_a_run_that_is_cancelled_while_its_tasks_are_queued_never_begins(dsn: str, conn: DbConn, run: Run) -> None:
    seen: list[int] = []

    async def note(number: int) -> int:
        seen.append(number)
        return number

    flow = Flow("notes", list[int]).map(note).returns(collect(note))

    async def scenario() -> None:
        async with Client(dsn) as client:
            queued = await client.start(flow, [1, 2, 3])
            other = await client.start(flow, [4])
            assert await queued.cancel() is RunStatus.CANCELLED
            async with working(flow, dsn=dsn, **SHORT):
                assert await other.result(30) == [4]
            with pytest.raises(RunCancelled):
                await queued.result(0)

    compile_into(dsn, flow)
    run(scenario())
    assert seen == [4]
    assert task_counts(conn) == {"cancelled": 3, "completed": 1}


def test_a_failure_cancels_the_other_handlers_of_the_run_when_the_next_result_is_refused(
    dsn: str, conn: DbConn, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    waiting, go_on = Waiting(), asyncio.Event()

    async def bad(number: int) -> int:
        if number == 1:
            await go_on.wait()
            return number
        return await waiting.handle(number)

    flow = Flow("fails", list[int], timeout=600, max_attempts=1).map(bad).returns(collect(bad))

    async def scenario() -> None:
        async with working(flow, dsn=dsn, **FOR_EVER), Client(dsn) as client:
            started = await client.start(flow, [1, 2, 3])
            await until(lambda: waiting.begun == {2, 3})
            conn.execute("select pgflow.cancel_run(%s)", (started.run_id,))
            go_on.set()
            await until(lambda: waiting.cancelled == {2, 3}, 10)

    compile_into(dsn, flow)
    with caplog.at_level(logging.INFO, logger="flowdsl"):
        run(scenario())
    assert messages(caplog, "result of step 'bad' was not taken: its run has ended") != []
    assert len(messages(caplog, "is cancelled: its run has ended")) == 2
    assert messages(caplog, "released") == []


def test_a_deadline_fails_the_run_and_cancels_its_running_handler(dsn: str, conn: DbConn, run: Run) -> None:
    waiting = Waiting()
    flow = Flow("late", int, timeout=600).step(waiting.handle).returns(waiting.handle)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, **SHORT), Client(dsn) as client:
            started = await client.start(flow, 1)
            with pytest.raises(RunFailed) as caught:
                await started.result(30)
            assert (caught.value.error_class, caught.value.step_slug) == ("DeadlineExceeded", None)
            assert "deadline of " in str(caught.value)
            await until(lambda: waiting.cancelled == {1}, 10)
            detail = await started.status()
            assert (detail.status, detail.deadline_at) == (RunStatus.FAILED, None)
            assert detail.end_reason is not None

    compile_into(dsn, flow)
    conn.execute("select pgflow.set_flow_options('late', deadline => 1)")
    run(scenario())
    assert task_counts(conn) == {"cancelled": 1}
    assert attempts(conn) == []


def test_a_task_that_others_took_over_is_given_up_and_not_handed_back(
    dsn: str, conn: DbConn, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Waiting()
    flow = Flow("taken", int, timeout=600).step(waiting.handle).returns(waiting.handle)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, **SHORT), Client(dsn) as client:
            started = await client.start(flow, 1)
            await until(lambda: waiting.begun == {1})
            # as if the worker had been frozen for longer than its lease
            conn.execute(
                "update pgflow.step_tasks set fence = 0, status = 'queued', started_at = null, visible_at = 'infinity'"
            )
            await until(lambda: waiting.cancelled == {1}, 10)
            await started.cancel()

    compile_into(dsn, flow)
    with caplog.at_level(logging.INFO, logger="flowdsl"):
        run(scenario())
    (told,) = messages(caplog, "an attempt of step 'handle' is cancelled")
    assert "lease was lost" in told
    assert messages(caplog, "released") == []
    assert messages(caplog, "was not taken") == []


def test_draining_lets_a_cancelled_handler_clean_up(dsn: str, run: Run) -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def careful(number: int) -> int:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.5)  # what it has to put in order
            cleaned.set()
        return number

    flow = Flow("careful", int, timeout=600).step(careful).returns(careful)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, **SHORT) as worker, Client(dsn) as client:
            started = await client.start(flow, 1)
            await begun.wait()
            await started.cancel()
            await until(lambda: worker.stuck == ("careful",))
            worker.stop()
            await cleaned.wait()

    compile_into(dsn, flow)
    run(scenario())


# ---- sweeps ---------------------------------------------------------------------------------------------------------


def test_many_sweepers_end_every_overdue_run_once(dsn: str, conn: DbConn, run: Run) -> None:
    async def never(number: int) -> int:
        await asyncio.Event().wait()
        return number

    flow = Flow("overdue", int, timeout=600, queue="elsewhere").step(never).returns(never)
    idle = Flow("idle", int).step(never, slug="idle")

    async def scenario() -> None:
        async with Client(dsn) as client:
            await client.start_many(flow, list(range(250)))
        async with working(idle, dsn=dsn, **SHORT), working(idle, dsn=dsn, **SHORT):
            ended = "select count(*) from pgflow.runs where status = 'failed' and end_reason like 'deadline of%'"
            await until(lambda: conn.execute(ended).fetchall() == [(250,)])

    compile_into(dsn, flow, idle)
    conn.execute("select pgflow.set_flow_options('overdue', deadline => 1)")
    run(scenario())
    assert task_counts(conn) == {"cancelled": 250}


def test_a_sweep_that_somebody_else_does_at_this_moment_is_left_to_them(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with (
            await psycopg.AsyncConnection.connect(dsn) as first,
            await psycopg.AsyncConnection.connect(dsn) as second,
        ):
            assert await calls.run_sweep(first, "deadlines", 10) == 0
            assert await calls.run_sweep(second, "deadlines", 10) is None
            assert await calls.run_sweep(second, "timers", 10) == 0
            await first.commit()
            assert await calls.run_sweep(second, "deadlines", 10) == 0
            assert await calls.run_sweep(second, "prune", 10, timedelta(days=1)) == 0

    run(scenario())


def test_tasks_started_long_ago_by_somebody_without_a_lease_come_back(dsn: str, conn: DbConn, run: Run) -> None:
    async def double(number: int) -> int:
        return number * 2

    flow = Flow("stalled", int, timeout=1).step(double).returns(double)

    async def scenario() -> None:
        async with Client(dsn) as client:
            started = await client.start(flow, 4)
            conn.execute(
                "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, 'stalled', 'by hand')",
                (UUID(int=1),),
            )
            conn.execute(
                "update pgflow.step_tasks set status = 'started', attempts_count = 1, last_worker_id = %s, fence = 1,"
                " queued_at = now() - interval '3 minutes', started_at = now() - interval '2 minutes'",
                (UUID(int=1),),
            )
            async with working(flow, dsn=dsn, **SHORT):
                assert await started.result(30) == 8

    compile_into(dsn, flow)
    run(scenario())


def test_a_worker_with_a_retention_deletes_runs_that_ended_long_ago_and_one_without_keeps_them(
    dsn: str, conn: DbConn, run: Run
) -> None:
    async def double(number: int) -> int:
        return number * 2

    flow = Flow("doubling", int).step(double).returns(double)
    count = "select count(*) from pgflow.runs"

    async def scenario() -> None:
        async with working(flow, dsn=dsn, **SHORT), Client(dsn) as client:
            old = await client.start_many(flow, list(range(250)))
            for started in old:
                await started.result(30)
            conn.execute(
                "update pgflow.runs set started_at = started_at - interval '2 days', completed_at = completed_at - interval '2 days'"
            )
            await (await client.start(flow, 1)).result(30)
            await asyncio.sleep(1.5)  # time for a first sweep that must not happen
            assert conn.execute(count).fetchall() == [(251,)]
        async with working(flow, dsn=dsn, retention=timedelta(days=1), **SHORT):
            await until(lambda: conn.execute(count).fetchall() == [(1,)])

    compile_into(dsn, flow)
    run(scenario())
    assert task_counts(conn) == {"completed": 1}


def test_the_tasks_of_the_only_worker_that_was_killed_are_taken_by_the_one_that_follows(
    dsn: str, conn: DbConn, tmp_path: Path, run: Run
) -> None:
    def begun(count: int) -> Any:
        return lambda: sum(line.startswith("begin") for line in journal(tmp_path)) >= count

    async def scenario() -> None:
        async with Client(dsn) as client:
            with WorkerProcess(dsn, tmp_path, **SHORT) as first:
                cancelled = await client.start(gates, ["never"])
                started = await client.start(gates, ["go", "go"])
                await until(begun(3))
                first.process.send_signal(signal.SIGKILL)
                first.process.wait(30)
            await cancelled.cancel()
            (tmp_path / "go").touch()
            with WorkerProcess(dsn, tmp_path, **SHORT):
                assert await started.result(30) == ["go", "go"]

    compile_into(dsn, *FLOWS)
    run(scenario())
    assert [line for line in journal(tmp_path) if line.endswith("never")] == ["begin never"]
    assert attempts(conn) == [("lost", "LeaseLost")] * 2
