"""Workers that are killed, frozen or told to stop: nothing is lost, nothing counts twice."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg

from flowdsl.client import Client
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, until
from tests.integration.worker_app import FLOWS, WorkerProcess, blocking, counting, gates, holding, journal

DbConn = psycopg.Connection[Any]
SHORT: dict[str, Any] = {"lease_seconds": 1, "poll_seconds": 0.1}


def begun(directory: Path, number: int) -> Any:
    return lambda: sum(line.startswith("begin") for line in journal(directory)) >= number


def test_a_killed_worker_is_replaced_and_every_element_counts_once(
    dsn: str, conn: DbConn, tmp_path: Path, run: Run
) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            with WorkerProcess(dsn, tmp_path, concurrency=10, batch=5, **SHORT) as first:
                started = await client.start(counting, list(range(60)))
                done = "select count(*) from pgflow.step_tasks where status = 'completed'"
                await until(lambda: conn.execute(done).fetchall() == [(20,)])
                first.process.send_signal(signal.SIGKILL)
                first.process.wait(30)
            before = Counter(journal(tmp_path))
            assert sum(before.values()) == 20
            (tmp_path / "go").touch()
            with WorkerProcess(dsn, tmp_path, concurrency=10, batch=5, **SHORT):
                assert await started.result(60) == dict.fromkeys(range(60), 1)
        assert Counter(journal(tmp_path)) == Counter(f"count {number} 1" for number in range(60))

    compile_into(dsn, *FLOWS)
    run(scenario())
    lost = conn.execute("select outcome, count(*) from pgflow.task_attempts group by outcome").fetchall()
    assert lost == [("lost", 10)]


def test_sigterm_lets_running_attempts_end_and_releases_the_rest_without_using_an_attempt(
    dsn: str, conn: DbConn, tmp_path: Path, run: Run
) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            with WorkerProcess(dsn, tmp_path, grace_seconds=2, concurrency=2) as worker:
                await client.start(gates, ["soon", "never", ""])
                await until(begun(tmp_path, 2))
                worker.process.send_signal(signal.SIGTERM)
                await until(worker.said("worker is draining"))
                (tmp_path / "soon").touch()
                await until(lambda: worker.process.poll() is not None)
                assert worker.process.returncode == 0
                assert "released 1 unfinished tasks" in worker.log.read_text()

    compile_into(dsn, *FLOWS)
    run(scenario())
    rows = conn.execute("select status, attempts_count from pgflow.step_tasks order by task_index").fetchall()
    assert rows == [("completed", 1), ("queued", 0), ("queued", 0)]
    assert "begin " not in journal(tmp_path)
    assert conn.execute("select count(*) from pgflow.workers where stopped_at is null").fetchall() == [(0,)]
    assert conn.execute("select count(*) from pgflow.task_attempts").fetchall() == [(0,)]


def test_a_second_signal_cancels_at_once_and_releases(dsn: str, conn: DbConn, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            with WorkerProcess(dsn, tmp_path, grace_seconds=3600) as worker:
                await client.start(gates, ["never", "never"])
                await until(begun(tmp_path, 2))
                worker.process.send_signal(signal.SIGINT)
                await until(worker.said("worker is draining"))
                assert worker.process.poll() is None
                worker.process.send_signal(signal.SIGINT)
                await until(lambda: worker.process.poll() is not None)
                assert worker.process.returncode == 0

    compile_into(dsn, *FLOWS)
    run(scenario())
    rows = conn.execute("select status, attempts_count from pgflow.step_tasks").fetchall()
    assert rows == [("queued", 0), ("queued", 0)]


def test_an_idle_worker_stops_at_the_first_signal(dsn: str, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        with WorkerProcess(dsn, tmp_path, grace_seconds=3600) as worker:
            await until(worker.said("worker started"))
            worker.process.send_signal(signal.SIGTERM)
            await until(lambda: worker.process.poll() is not None)
            assert worker.process.returncode == 0

    compile_into(dsn, *FLOWS)
    run(scenario())


def test_heartbeats_keep_the_lease_while_a_handler_blocks_the_event_loop(
    dsn: str, conn: DbConn, tmp_path: Path, run: Run
) -> None:
    recovered: list[int] = []

    def over() -> bool:
        recovered.extend(row[0] for row in conn.execute("select pgflow.recover_tasks()").fetchall())
        return "blocked" in journal(tmp_path)

    async def scenario() -> None:
        async with Client(dsn) as client:
            with WorkerProcess(dsn, tmp_path, **SHORT):
                started = await client.start(blocking, 3.0)
                await until(lambda: "blocking" in journal(tmp_path))
                await until(over)
                assert await started.result(30) == 3.0

    compile_into(dsn, *FLOWS)
    run(scenario())
    assert len(recovered) > 10
    assert set(recovered) == {0}
    assert journal(tmp_path) == ["blocking", "blocked"]


def test_a_frozen_worker_loses_its_lease_and_its_late_result_is_refused(
    dsn: str, conn: DbConn, tmp_path: Path, run: Run
) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            with WorkerProcess(dsn, tmp_path, **SHORT) as frozen:
                # It holds the event loop: a handler that can be cancelled may be, by a heartbeat, before its result is there.
                started = await client.start(holding, "go")
                await until(begun(tmp_path, 1))
                frozen.process.send_signal(signal.SIGSTOP)
                try:
                    # A lease that it does not lose itself when the machine is busy.
                    with WorkerProcess(dsn, tmp_path, lease_seconds=5, poll_seconds=0.1):
                        await until(begun(tmp_path, 2))
                        (tmp_path / "go").touch()
                        assert await started.result(30) == "go"
                finally:
                    frozen.process.send_signal(signal.SIGCONT)
                await until(frozen.said("was not taken"))
                # And it goes on working.
                assert await (await client.start(gates, ["", ""])).result(30) == ["", ""]

    compile_into(dsn, *FLOWS)
    run(scenario())
    assert conn.execute("select outcome, error_class from pgflow.task_attempts").fetchall() == [("lost", "LeaseLost")]
