"""Handlers that hold the interpreter: the lease lasts as long as their timeouts allow, and no longer."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowdsl.client import Client
from flowdsl.errors import RunFailed
from flowdsl.model.flow import Flow
from tests.conftest import Run
from tests.integration.executors_app import HOLDING, Order, WorkerProcess, holding, hung
from tests.integration.runtime_support import compile_into, until

DbConn = psycopg.Connection[Any]
LEASE = 3
OPTIONS: dict[str, Any] = {"flows": "HOLDING", "lease_seconds": LEASE, "poll_seconds": 0.1}


def lost(conn: DbConn) -> int:
    return conn.execute("select count(*)::int from pgflow.task_attempts where outcome = 'lost'").fetchall()[0][0]  # type: ignore[no-any-return]  # a row has any types


def pulse_of(worker: WorkerProcess) -> int | None:
    """Return the process of the worker that runs the pulse's program."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            command = (entry / "cmdline").read_text()
        except OSError:
            continue
        if parent == worker.process.pid and command.rstrip("\0").endswith("pulse.py"):
            return int(entry.name)
    return None


async def held(dsn: str, directory: Path, flow: Flow[Order, int], seconds: float, *, pulse: bool = True) -> int:
    """Have one of two workers hold its interpreter while the other waits for its task; return what the run returns."""
    options = {**OPTIONS, "pulse": pulse}
    async with Client(dsn) as client:
        with WorkerProcess(dsn, directory, **options) as one, WorkerProcess(dsn, directory, **options) as other:
            await until(lambda: one.said("worker started")() and other.said("worker started")())
            started = await client.start(flow, Order(directory=str(directory), seconds=seconds))
            return await started.result(60)


def test_a_lease_outlasts_a_handler_that_holds_the_interpreter_for_more_than_three_leases(
    dsn: str, conn: DbConn, run: Run, tmp_path: Path
) -> None:
    compile_into(dsn, *HOLDING)
    assert run(held(dsn, tmp_path, holding, 4 * LEASE), seconds=90) == 1
    assert lost(conn) == 0


def test_without_the_pulse_such_a_handler_loses_its_lease(dsn: str, conn: DbConn, run: Run, tmp_path: Path) -> None:
    compile_into(dsn, *HOLDING)
    # Each worker in turn; a task that seems to bring down three of them is given up.
    with pytest.raises(RunFailed, match="let its lease run out"):
        run(held(dsn, tmp_path, holding, 4 * LEASE, pulse=False), seconds=90)
    assert lost(conn) >= 1


def test_a_worker_that_hangs_for_longer_than_its_handlers_may_take_loses_its_lease(
    dsn: str, conn: DbConn, run: Run, tmp_path: Path
) -> None:
    compile_into(dsn, *HOLDING)
    run(held(dsn, tmp_path, hung, 60), seconds=90)
    assert lost(conn) == 1


def test_the_pulse_goes_with_its_worker_and_has_no_connection_while_all_is_well(
    dsn: str, conn: DbConn, run: Run, tmp_path: Path
) -> None:
    compile_into(dsn, *HOLDING)

    async def scenario(end: Callable[[WorkerProcess], None]) -> None:
        with WorkerProcess(dsn, tmp_path, **OPTIONS) as worker:
            await until(lambda: pulse_of(worker) is not None)
            await until(worker.said("worker started"))
            pulse = pulse_of(worker)
            assert pulse is not None
            await asyncio.sleep(LEASE)
            connections = "select count(*)::int from pg_stat_activity where application_name like 'flowdsl worker%%'"
            assert conn.execute(connections).fetchall()[0][0] <= 4
            end(worker)
            await until(lambda: not Path("/proc", str(pulse)).exists())

    for number in (signal.SIGTERM, signal.SIGKILL):
        run(scenario(lambda worker, number=number: worker.process.send_signal(number)))  # type: ignore[misc]  # a default binds the loop's value


@pytest.mark.parametrize("pulse", [True, False])
def test_a_worker_goes_on_without_its_pulse(dsn: str, run: Run, tmp_path: Path, pulse: bool) -> None:
    compile_into(dsn, *HOLDING)

    async def scenario() -> None:
        async with Client(dsn) as client:
            with WorkerProcess(dsn, tmp_path, pulse=pulse, **OPTIONS) as worker:
                await until(worker.said("worker started"))
                process = pulse_of(worker)
                assert (process is not None) == pulse
                if process is not None:
                    os.kill(process, signal.SIGKILL)
                    await until(worker.said("starting another"))
                started = await client.start(holding, Order(directory=str(tmp_path)))
                assert await started.result(30) == 1

    run(scenario())
