"""A fleet of workers, one of which is cut off from the database, outlives its lease, and is connected again.

Nothing is killed here, and no connection breaks: the worker that is cut off does not know that it is, goes on with what it
has, and hands its results in as soon as it can. The tests run in network namespaces where they can be made, and in any case
as plain processes behind sockets that fall silent.
"""

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest

from flowdsl.client import Client
from flowdsl.postgres import PostgresServer
from flowdsl.runtime.attempt import WHY_REFUSED
from tests.conftest import Run, install_core, violations
from tests.integration.fleet_app import CONCURRENCY, GATE, Execution, FleetWorker, executions, spread
from tests.integration.runtime_support import compile_into, until
from tests.networks import Spoke, Wire, network, why_no_network
from tests.servers import new_server, scratch_directory

DbConn = psycopg.Connection[Any]
WORKERS = 3
ELEMENTS = 60
RUNS = 3
SECONDS = 60.0

# Each time the result of a task is taken is a row: a second row for the same task would be a result taken twice.
SIDE_TABLE = """
create table public.taken (run_id uuid, step_slug text, task_index int, fence bigint, worker_id uuid);
create function public.note_taken() returns trigger language plpgsql as $$
begin
  insert into public.taken values (new.run_id, new.step_slug, new.task_index, new.fence, new.last_worker_id);
  return null;
end $$;
create trigger note_taken after update on pgflow.step_tasks for each row
when (old.status is distinct from new.status and new.status = 'completed') execute function public.note_taken();
"""


@dataclass
class Fleet:
    """Workers on one database, each at the end of a line that can be cut. `dsn` is the way that is never cut."""

    dsn: str
    directory: Path
    lines: Sequence[Spoke | Wire]
    launch: Callable[[int], FleetWorker]
    """Start the worker at the end of a line, and end it with the test."""


@contextmanager
def scratch_server() -> Iterator[PostgresServer]:
    directory = scratch_directory()
    server = new_server(directory)
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def prepare(dsn: str) -> None:
    install_core(dsn)
    compile_into(dsn, spread)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SIDE_TABLE)


async def in_namespaces(stack: AsyncExitStack, directory: Path) -> Fleet:
    made = stack.enter_context(network(WORKERS))
    server = stack.enter_context(scratch_server())
    server.settings = {**server.settings, "listen_addresses": made.address}
    with (server.data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet trust\n")
    with made.hub.entered():
        server.start()
    prepare(server.url())

    def launch(number: int) -> FleetWorker:
        with made.spokes[number].namespace.entered():
            worker = FleetWorker(f"postgresql://postgres@{made.address}/postgres", directory, f"w{number}")
        stack.callback(worker.end)
        return worker

    return Fleet(server.url(), directory, made.spokes, launch)


async def behind_wires(stack: AsyncExitStack, directory: Path) -> Fleet:
    server = stack.enter_context(scratch_server())
    server.start()
    prepare(server.url())
    socket = server.sockets / ".s.PGSQL.5432"
    wires = [await stack.enter_async_context(Wire(socket).laid()) for _ in range(WORKERS)]

    def launch(number: int) -> FleetWorker:
        url = f"postgresql://postgres@/postgres?host={wires[number].directory}"
        worker = FleetWorker(url, directory, f"w{number}")
        stack.callback(worker.end)
        return worker

    return Fleet(server.url(), directory, wires, launch)


@contextlib.asynccontextmanager
async def a_fleet(road: Literal["namespaces", "sockets"], directory: Path) -> Any:
    async with AsyncExitStack() as stack:
        yield await (in_namespaces if road == "namespaces" else behind_wires)(stack, directory)


def one(conn: DbConn, query: str, *values: Any) -> Any:
    row = conn.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def holds(conn: DbConn, name: str) -> int:
    """How many started tasks the worker of this name has."""
    return int(
        one(
            conn,
            "select count(*) from pgflow.step_tasks t join pgflow.workers w on w.worker_id = t.last_worker_id"
            " where t.status = 'started' and w.function_name = %s",
            name,
        )
    )


def taken_from(conn: DbConn, *names: str) -> int:
    """How many results of the workers of these names were taken."""
    return int(
        one(
            conn,
            "select count(*) from taken t join pgflow.workers w on w.worker_id = t.worker_id"
            " where w.function_name = any (%s)",
            list(names),
        )
    )


def endings_of(fleet: Fleet, worker: FleetWorker) -> list[Execution]:
    return [ending for ending in executions(fleet.directory, "endings") if ending.worker == worker.name]


async def cut_off_and_back(fleet: Fleet, conn: DbConn) -> None:
    async with Client(fleet.dsn) as client:

        async def work_some() -> None:
            run = await client.start(spread, list(range(ELEMENTS)))
            assert len(await run.result(SECONDS)) == ELEMENTS

        # One worker takes as much as it can and finishes nothing. The runs stay open: each has an element that waits.
        (fleet.directory / "hold-w0").touch()
        victim = fleet.launch(0)
        runs = await client.start_many(spread, [[GATE, *range(ELEMENTS)]] * RUNS)
        await until(lambda: holds(conn, victim.name) == CONCURRENCY, SECONDS)
        others = [fleet.launch(number).name for number in range(1, WORKERS)]
        while not all(taken_from(conn, name) for name in others):
            await work_some()
        fleet.lines[0].cut()

        # The others go on, and take over what it holds when its lease has run out.
        await work_some()
        ids = [run.run_id for run in runs]
        completed = "select count(*) from pgflow.step_tasks where run_id = any (%s) and status = 'completed'"
        await until(lambda: one(conn, completed, ids) == RUNS * ELEMENTS, SECONDS)
        assert taken_from(conn, victim.name) == 0
        assert one(conn, "select count(*) from pgflow.task_attempts where outcome = 'lost'") >= CONCURRENCY

        # Its handlers end, too late. One of their tasks is at work elsewhere, the others are done.
        victim.hold.unlink()
        await until(lambda: len(endings_of(fleet, victim)) == CONCURRENCY, SECONDS)
        fleet.lines[0].mend()
        await until(
            lambda: victim.log.read_text().count(f"was not taken: {WHY_REFUSED['lease_lost']}") >= CONCURRENCY, SECONDS
        )
        assert one(conn, completed, ids) == RUNS * ELEMENTS
        assert sum(holds(conn, name) for name in others) == RUNS

        # It comes back and works.
        (fleet.directory / "go").touch()
        assert [len(set(await run.result(SECONDS))) for run in runs] == [ELEMENTS + 1] * RUNS
        while not taken_from(conn, victim.name):
            await work_some()


def check_the_books(fleet: Fleet, conn: DbConn) -> None:
    tasks = conn.execute("select run_id::text, task_index, output #>> '{}', status from pgflow.step_tasks").fetchall()
    assert {status for *_, status in tasks} == {"completed"}
    assert one(conn, "select count(*) from taken") == len(tasks)
    assert one(conn, "select count(*) from (select distinct run_id, step_slug, task_index from taken) d") == len(tasks)

    # A task is executed once, and once more for each lease on it that was lost.
    lost = Counter(conn.execute("select run_id::text, task_index from pgflow.task_attempts").fetchall())
    begun = executions(fleet.directory)
    times = Counter((execution.run_id, execution.task_index) for execution in begun)
    assert all(1 <= times[run, index] <= 1 + lost[run, index] for run, index, *_ in tasks)
    assert sum(times.values()) - len(tasks) == sum(times[task] - 1 for task in lost)

    # What is kept was made by one of these executions: that of the worker whose result was taken.
    names = dict(conn.execute("select worker_id, function_name from pgflow.workers").fetchall())
    makers = {execution.token: (execution.run_id, execution.task_index, execution.worker) for execution in begun}
    kept = conn.execute(
        "select t.run_id::text, t.task_index, s.output #>> '{}', t.worker_id"
        " from taken t join pgflow.step_tasks s using (run_id, step_slug, task_index) where t.fence = s.fence"
    ).fetchall()
    assert len(kept) == len(tasks)
    assert all(makers[token] == (run, index, names[worker]) for run, index, token, worker in kept)


@pytest.mark.parametrize("road", ["namespaces", "sockets"])
def test_a_worker_that_was_cut_off_for_longer_than_its_lease_doubles_nothing_and_comes_back(
    road: Literal["namespaces", "sockets"], run: Run, tmp_path: Path
) -> None:
    if road == "namespaces" and (reason := why_no_network()) is not None:
        pytest.skip(reason)

    async def scenario() -> None:
        async with a_fleet(road, tmp_path) as fleet:
            with psycopg.connect(fleet.dsn, autocommit=True) as conn:
                await cut_off_and_back(fleet, conn)
                check_the_books(fleet, conn)
            assert violations(fleet.dsn) == []

    run(scenario())
