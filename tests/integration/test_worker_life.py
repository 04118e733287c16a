"""A worker through outages, lost replies, lost registrations, notifications and stops."""

import asyncio
import threading
from collections import Counter
from typing import Any

import psycopg
import pytest
from psycopg import sql

from flowdsl.client import Client
from flowdsl.errors import ConfigError, CoreNotInstalled, DatabaseError, DatabaseUnavailable, FlowNotCompiled
from flowdsl.gateway import calls
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.postgres import PostgresServer
from flowdsl.runtime.connection import Link
from flowdsl.runtime.state import WorkerState
from flowdsl.runtime.worker import Worker
from tests.conftest import Run, install_core
from tests.integration.runtime_support import compile_into, until, working

DbConn = psycopg.Connection[Any]


async def double(number: int) -> int:
    return number * 2


doubling = Flow("doubling", int).step(double).returns(double)
idle_lanes = "select count(*) from pgflow.lanes where waiting"


def state_of(worker: Worker) -> WorkerState:
    """The state, which changes behind the type checker's back."""
    return worker.state


def said(caplog: pytest.LogCaptureFixture, text: str) -> Any:
    return lambda: any(text in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "crashed"])
def test_a_worker_waits_out_an_outage_and_runs_every_task_once(
    own_server: PostgresServer, run: Run, caplog: pytest.LogCaptureFixture, crash: bool
) -> None:
    counts: Counter[int] = Counter()
    go_on = threading.Event()

    async def count(number: int) -> int:
        counts[number] += 1
        while number >= 100 and not go_on.is_set():  # noqa: ASYNC110 - set by the test's other half
            await asyncio.sleep(0.01)
        return number

    counted = Flow("counted", list[int], timeout=600).map(count).returns(collect(count))
    dsn = own_server.url()
    install_core(dsn)
    compile_into(dsn, counted)

    async def scenario() -> None:
        options = {"lease_seconds": 60, "batch": 10, "concurrency": 20}
        async with working(counted, dsn=dsn, **options), Client(dsn) as client:
            started = await client.start(counted, list(range(300)))
            result = asyncio.ensure_future(started.result(90))
            await until(lambda: counts.total() >= 120)
            await asyncio.to_thread(own_server.kill if crash else own_server.stop)
            go_on.set()
            await until(said(caplog, "lost the database connection for tasks"))
            await asyncio.sleep(2)  # the outage itself, not a way to wait for something
            await asyncio.to_thread(own_server.start)
            assert await result == list(range(300))
            await until(said(caplog, "the database connection for tasks is back"))

    with caplog.at_level("INFO", logger="flowdsl"):
        run(scenario())
    assert counts == Counter(range(300))
    assert len([r for r in caplog.records if "lost the database connection for tasks" in r.getMessage()]) == 1


def test_a_worker_leaves_a_server_that_takes_no_writes(
    dsn: str, conn: DbConn, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = sql.Identifier(conn.info.dbname)

    refusals: list[str | None] = []
    drop = Link.drop

    async def noted(link: Link, error: DatabaseError) -> None:
        refusals.append(error.sqlstate)
        await drop(link, error)

    monkeypatch.setattr(Link, "drop", noted)

    async def scenario() -> None:
        async with (
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as mine,
            working(doubling, dsn=dsn),
            Client(dsn) as client,
        ):
            assert await (await client.start(doubling, 1)).result(30) == 2
            conn.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(name))
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'flowdsl worker' and datname = current_database()"
            )
            started = await client.start(doubling, 4, connection=mine)
            await until(lambda: "25006" in refusals)
            conn.execute(sql.SQL("alter database {} reset default_transaction_read_only").format(name))
            assert await started.result(30, connection=mine) == 8

    compile_into(dsn, doubling)
    run(scenario(), 60)


def test_claims_whose_reply_was_lost_are_given_back(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        async with working(doubling, dsn=dsn, lease_seconds=1) as worker, Client(dsn) as client:
            await until(lambda: conn.execute(idle_lanes).fetchall() == [(1,)])
            run_id = conn.execute("select run_id from pgflow.start_flow('doubling', '21')").fetchall()[0][0]
            # What the database did for a claim of this worker that never arrived there.
            conn.execute(
                "update pgflow.step_tasks set status = 'started', attempts_count = 1, fence = 999999, started_at = clock_timestamp(),"
                " last_worker_id = %s where run_id = %s and status = 'queued'",
                (worker.worker_id, run_id),
            )
            assert await client.run(doubling, run_id).result(30) == 42

    compile_into(dsn, doubling)
    run(scenario())
    assert conn.execute("select max(attempts_count) from pgflow.step_tasks").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "loss",
    ["delete from pgflow.workers", "update pgflow.workers set stopped_at = now()"],
    ids=["forgotten", "declared dead"],
)
def test_a_worker_the_database_no_longer_knows_registers_again(dsn: str, conn: DbConn, run: Run, loss: str) -> None:
    async def scenario() -> None:
        async with working(doubling, dsn=dsn) as worker, Client(dsn) as client:
            assert await (await client.start(doubling, 1)).result(30) == 2
            former = worker.worker_id
            conn.execute(loss.encode())
            assert await (await client.start(doubling, 2)).result(30) == 4
            assert worker.worker_id != former
            assert conn.execute("select worker_id from pgflow.workers where stopped_at is null").fetchall() == [
                (worker.worker_id,)
            ]

    compile_into(dsn, doubling)
    run(scenario())


def test_a_worker_registers_again_although_all_its_slots_are_taken(dsn: str, conn: DbConn, run: Run) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang(number: int) -> int:
        begun.set()
        go_on.wait(30)
        return number

    flow = Flow("flow", int).step(hang).returns(hang)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, concurrency=1, lease_seconds=1) as worker, Client(dsn) as client:
            started = await client.start(flow, 7)
            await until(begun.is_set)
            former = worker.worker_id
            conn.execute("delete from pgflow.workers")
            await until(lambda: worker.worker_id != former)
            go_on.set()
            # Its fence, not its worker, decides whether a result is taken.
            assert await started.result(30) == 7

    compile_into(dsn, flow)
    run(scenario())


def test_a_stop_that_comes_while_the_worker_registers_is_obeyed(
    dsn: str, conn: DbConn, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker([doubling], dsn, grace_seconds=3600)
    register = calls.register_worker

    async def stopped_meanwhile(*arguments: Any) -> None:
        # It is heard when this has come back, so the start comes to its end all the same.
        await register(*arguments)
        worker.stop()

    monkeypatch.setattr(calls, "register_worker", stopped_meanwhile)
    compile_into(dsn, doubling)
    run(worker.run(stop_signals=False), 30)
    assert state_of(worker) is WorkerState.STOPPED
    assert conn.execute("select count(*) from pgflow.workers where stopped_at is not null").fetchall() == [(1,)]


@pytest.mark.parametrize("waits_for", ["a server that does not answer", "a lock"])
def test_a_stop_ends_a_start_that_does_not_get_on(dsn: str, conn: DbConn, run: Run, waits_for: str) -> None:
    def blocked() -> bool:
        query = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        return conn.execute(query).fetchall() != []

    async def silent_server() -> None:
        calling: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        server = await asyncio.start_server(lambda reader, writer: calling.put_nowait(writer), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        worker = Worker([doubling], f"postgresql://127.0.0.1:{port}/x?connect_timeout=3600&sslmode=disable")
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop_signals=False))
            caller = await calling.get()
            worker.stop()
        caller.close()
        await caller.wait_closed()
        server.close()
        assert state_of(worker) is WorkerState.STOPPED

    async def lock() -> None:
        worker = Worker([doubling], dsn)
        async with await psycopg.AsyncConnection.connect(dsn) as other, asyncio.TaskGroup() as group:
            await other.execute("lock table pgflow.workers")
            group.create_task(worker.run(stop_signals=False))
            await until(blocked)
            worker.stop()
        assert state_of(worker) is WorkerState.STOPPED

    compile_into(dsn, doubling)
    run(lock() if waits_for == "a lock" else silent_server(), 30)


def test_work_wakes_an_idle_worker_without_a_poll(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        # The next poll is hours away, so only a notification can bring the work.
        async with working(doubling, dsn=dsn, poll_seconds=36_000, lease_seconds=36_000), Client(dsn) as client:
            for number in range(5):
                await until(lambda: conn.execute(idle_lanes).fetchall() == [(1,)])
                assert await (await client.start(doubling, number)).result(30) == number * 2

    compile_into(dsn, doubling)
    run(scenario())


def test_polling_alone_is_enough(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(doubling, dsn=dsn, listen=False, poll_seconds=0.05), Client(dsn) as client:
            assert await (await client.start(doubling, 4)).result(30) == 8

    compile_into(dsn, doubling)
    run(scenario())


def test_a_worker_serves_only_the_queues_it_is_told(dsn: str, conn: DbConn, run: Run) -> None:
    async def urgent(number: int) -> int:
        return number

    flow = Flow("flow", int).step(double).step(urgent, queue="fast")

    async def scenario() -> None:
        async with working(flow, dsn=dsn, queues=["fast"]), Client(dsn) as client:
            started = await client.start(flow, 1)
            await until(
                lambda: (
                    conn.execute("select status from pgflow.step_tasks where step_slug = 'urgent'").fetchall()
                    == [("completed",)]
                )
            )
            assert (await started.status()).step("double").tasks == {
                "queued": 1, "started": 0, "completed": 0, "failed": 0, "skipped": 0, "cancelled": 0,
            }  # fmt: skip

    compile_into(dsn, flow)
    run(scenario())


def test_a_deprecated_worker_drains_and_stops(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        worker = Worker([doubling], dsn, lease_seconds=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop_signals=False))
            await until(lambda: conn.execute("select count(*) from pgflow.workers").fetchall() == [(1,)])
            conn.execute("update pgflow.workers set deprecated_at = now()")
        assert state_of(worker) is WorkerState.STOPPED

    compile_into(dsn, doubling)
    run(scenario())


def test_a_stop_before_the_start_is_a_start_that_returns_at_once(run: Run) -> None:
    worker = Worker([doubling], "postgresql://nowhere.invalid/none")
    assert state_of(worker) is WorkerState.NEW
    worker.stop()
    worker.stop()
    run(worker.run(stop_signals=False))
    assert state_of(worker) is WorkerState.STOPPED


def test_stop_may_come_from_another_thread_and_more_than_once(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        worker = Worker([doubling], dsn)
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop_signals=False))
            await until(lambda: conn.execute("select count(*) from pgflow.workers").fetchall() == [(1,)])
            assert state_of(worker) is WorkerState.RUNNING
            for _ in range(3):
                await asyncio.to_thread(worker.stop)
        assert state_of(worker) is WorkerState.STOPPED
        worker.stop()
        worker.abort()
        with pytest.raises(ConfigError, match="runs only once"):
            await worker.run()

    compile_into(dsn, doubling)
    run(scenario())


def test_cancelling_the_worker_releases_what_it_held(dsn: str, conn: DbConn, run: Run) -> None:
    begun = threading.Event()

    async def hang(number: int) -> int:
        begun.set()
        await asyncio.Event().wait()
        return number

    flow = Flow("flow", int).step(hang)

    async def scenario() -> None:
        worker = Worker([flow], dsn)
        running = asyncio.ensure_future(worker.run(stop_signals=False))
        async with Client(dsn) as client:
            await client.start(flow, 1)
        await until(begun.is_set)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert state_of(worker) is WorkerState.STOPPED

    compile_into(dsn, flow)
    run(scenario())
    assert conn.execute("select status, attempts_count from pgflow.step_tasks").fetchall() == [("queued", 0)]


def test_a_thread_that_outlives_an_abort_is_released_and_named(dsn: str, conn: DbConn, run: Run) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang(number: int) -> int:
        begun.set()
        go_on.wait(30)
        return number

    flow = Flow("flow", int).step(hang)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, grace_seconds=3600) as worker, Client(dsn) as client:
            await client.start(flow, 1)
            await until(begun.is_set)
            worker.abort()
            await until(lambda: state_of(worker) is WorkerState.STOPPED)
            assert worker.stuck == ("hang",)
            go_on.set()
            await until(lambda: worker.stuck == ())

    compile_into(dsn, flow)
    run(scenario())
    assert conn.execute("select status, attempts_count from pgflow.step_tasks").fetchall() == [("queued", 0)]


def test_a_handler_that_is_done_within_the_grace_time_is_handed_in_and_the_grace_time_is_not_waited_out(
    dsn: str, conn: DbConn, run: Run
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(number: int) -> int:
        begun.set()
        go_on.wait(30)
        return number

    flow = Flow("flow", int).step(slow)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, grace_seconds=3600) as worker, Client(dsn) as client:
            await client.start(flow, 1)
            await until(begun.is_set)
            worker.stop()
            await until(lambda: state_of(worker) is WorkerState.DRAINING)
            go_on.set()

    compile_into(dsn, flow)
    run(scenario())
    assert conn.execute("select status from pgflow.runs").fetchall() == [("completed",)]


def test_a_worker_does_not_start_without_its_flow_its_core_or_its_database(dsn: str, empty_dsn: str, run: Run) -> None:
    changed = Flow("doubling", int).step(double, slug="triple")
    compile_into(dsn, doubling)
    with pytest.raises(FlowNotCompiled, match="another shape"):
        run(Worker([changed], dsn).run(stop_signals=False))
    with pytest.raises(FlowNotCompiled, match="'absent' is not in the database"):
        run(Worker([Flow("absent", int).step(double)], dsn).run(stop_signals=False))
    with pytest.raises(CoreNotInstalled):
        run(Worker([doubling], empty_dsn).run(stop_signals=False))
    with pytest.raises(DatabaseUnavailable):
        run(Worker([doubling], "postgresql://127.0.0.1:1/none").run(stop_signals=False))


def test_a_stop_during_an_outage_ends_the_worker(
    own_server: PostgresServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    dsn = own_server.url()
    install_core(dsn)
    compile_into(dsn, doubling)

    async def scenario() -> None:
        async with working(doubling, dsn=dsn, lease_seconds=1, grace_seconds=1):
            await until(said(caplog, "worker started"))
            await asyncio.to_thread(own_server.stop)
            await until(said(caplog, "lost the database connection for tasks"))

    with caplog.at_level("INFO", logger="flowdsl"):
        run(scenario(), 30)
    assert said(caplog, "could not hand everything back")()
