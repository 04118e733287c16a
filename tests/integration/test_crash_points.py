"""A worker is killed in each of its SQL calls, before and after the commit; another one finishes, and nothing is amiss.

A proxy between worker and server stops the call at the exact moment: executed but not committed, or committed but not
answered. What is checked at the end is what `pgflow torture` checks.
"""

import asyncio
import itertools
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from flowdsl.client import Client
from flowdsl.errors import DatabaseUnavailable, RunNotRetryable
from flowdsl.postgres import PostgresServer
from flowdsl.torture.checks import Wanted, judge, read_records
from flowdsl.torture.flows import FAN_OUT, Job
from flowdsl.torture.nursery import Child, Nursery
from flowdsl.torture.proxy import Moment, Proxy, Trap
from flowdsl.torture.scratch import install, install_flows
from flowdsl.types import RunStatus
from tests.integration.runtime_support import until

DbConn = psycopg.Connection[Any]
LIMIT_SECONDS = 40.0
OPEN = """
select t.*, now() from pgflow.runs r left join pgflow.step_tasks t on t.run_id = r.run_id and t.status in ('queued', 'started')
where r.status = 'started'
"""
OPTIONS: dict[str, Any] = {"lease_seconds": 1, "poll_seconds": 0.1, "concurrency": 6, "batch": 3, "grace_seconds": 10}
INPUTS: list[tuple[str, Any]] = [
    ("torture_chain", {"seed": 1, "size": 0}),
    ("torture_fan", {"seed": 2, "size": 6}),
    ("torture_fan", {"seed": 3, "size": 0}),
    ("torture_nested", {"seed": 4, "size": 3}),
    ("torture_root", [1, 2, 3]),
]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def nursery(loop: asyncio.Runner) -> Iterator[Nursery]:
    nursery = Nursery("flowdsl.torture.worker")
    loop.run(nursery.__aenter__())
    yield nursery
    loop.run(nursery.__aexit__(None, None, None))


class House:
    """A database with the tortured flows, and workers for it."""

    def __init__(self, dsn: str, conn: DbConn, nursery: Nursery, directory: Path, loop: asyncio.Runner) -> None:
        self.dsn = dsn
        self.conn = conn
        self.wanted: dict[UUID, Wanted] = {}
        self.to_be_pruned: list[UUID] = []
        self._nursery = nursery
        self.loop = loop
        self._directory = directory
        directory.mkdir()
        self._children: list[Child] = []

    async def clear(self) -> None:
        """Kill what is left."""
        for child in self._children:
            await child.kill()

    def start(self, slug: str, given: Any) -> UUID:
        run_id = uuid4()
        self.conn.execute("select pgflow.start_flow(%s, %s, %s)", (slug, Jsonb(given), run_id))
        self.want(run_id, slug, given)
        return run_id

    def start_all(self, *runs: tuple[str, Any]) -> None:
        for slug, given in runs:
            self.start(slug, given)

    def want(self, run_id: UUID, slug: str, given: Any) -> None:
        model = given if isinstance(given, list) else Job(**given)
        self.wanted[run_id] = Wanted(flow_slug=slug, given=model, status=RunStatus.COMPLETED)

    async def worker(self, dsn: str | None = None, **options: Any) -> Child:
        name = f"worker-{len(self._children)}"
        child = await self._nursery.spawn(
            "flowdsl.torture.worker:serve", self._directory / f"{name}.log",
            dsn=dsn or self.dsn, journal_dsn=self.dsn, name=name, **{**OPTIONS, **options},
        )  # fmt: skip
        self._children.append(child)
        return child

    async def spawn(self, function: str, **arguments: Any) -> Child:
        child = await self._nursery.spawn(function, self._directory / f"{len(self._children)}.log", **arguments)
        self._children.append(child)
        return child

    def has_completed(self, tasks: int) -> bool:
        return bool(self.value("select count(*) from pgflow.step_tasks where status = 'completed'") >= tasks)

    def is_done(self) -> bool:
        open_or_old = "select count(*) from pgflow.runs where status = 'started' or run_id = any (%s)"
        return self.conn.execute(open_or_old, (self.to_be_pruned,)).fetchall() == [(0,)]

    async def finish(self, **options: Any) -> None:
        """Let one healthy worker finish everything, and judge."""
        last = await self.worker(**options)
        log = self._directory / f"worker-{len(self._children) - 1}.log"
        await until(lambda: log.exists() and "worker started" in log.read_text())
        try:
            await until(self.is_done, 20)
        except TimeoutError:
            pytest.fail(f"still open: {self.conn.execute(OPEN).fetchall()}")
        await last.signal(signal.SIGTERM)
        await last.ended.wait()
        assert last.returncode == 0
        assert self.complaints() == []

    def complaints(self) -> list[str]:
        claims = judge(read_records(self.conn), self.wanted)
        return [f"{claim.claim}: {text}" for claim in claims for text in claim.evidence]

    def value(self, query: str) -> Any:
        row = self.conn.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def holds(self, name: str) -> bool:
        """Whether a worker of that name holds tasks."""
        query = "select count(*) from pgflow.step_tasks t join pgflow.workers w on w.worker_id = t.last_worker_id"
        return bool(self.value(f"{query} where t.status = 'started' and w.function_name = '{name}'"))


@contextmanager
def database(server: PostgresServer) -> Iterator[str]:
    """A database with the core and the tortured flows."""
    name = f"crash_{uuid4().hex[:12]}"
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute(f"create database {name} template flowdsl_tortured strategy wal_log".encode())
        try:
            yield server.url(name)
        finally:
            conn.execute(f"drop database {name} with (force)".encode())


@pytest.fixture(scope="module")
def tortured(server: PostgresServer, template: str) -> Iterator[None]:
    """The template of those databases."""
    assert template
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("create database flowdsl_tortured template flowdsl_template")
        install_flows(server.url("flowdsl_tortured"))
        yield
        conn.execute("drop database flowdsl_tortured")


Build = Callable[[], House]


@pytest.fixture
def build(
    tortured: None, server: PostgresServer, nursery: Nursery, tmp_path: Path, loop: asyncio.Runner
) -> Iterator[Build]:
    """Makes a house at each call."""
    del tortured
    numbers = itertools.count()
    with ExitStack() as stack:

        def built() -> House:
            dsn = stack.enter_context(database(server))
            conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            return House(dsn, conn, nursery, tmp_path / str(next(numbers)), loop)

        yield built


@pytest.fixture
def house(build: Build) -> House:
    return build()


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A call to be killed in: the `skip`th of the function; `stop`: the worker has to be told to stop to make it."""

    function: str
    containing: str = ""
    skip: int = 0
    stop: bool = False
    grace: float = 10.0
    before: Callable[[House], Coroutine[Any, Any, None]] | None = None
    runs: Sequence[tuple[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.function, *filter(None, [self.containing, str(self.skip or "")])])


async def a_worker_dies(house: House) -> None:
    child = await house.worker()
    await until(lambda: house.holds("worker-0"))
    await child.kill()


async def a_run_is_overdue(house: House) -> None:
    run_id = house.start("torture_doomed", {"seed": 9})
    house.wanted[run_id] = replace(house.wanted[run_id], status=RunStatus.FAILED)
    # As if it had been started with a deadline long ago; no worker has begun it.
    house.conn.execute("update pgflow.runs set deadline_at = now() - interval '1 s' where run_id = %s", (run_id,))


async def an_old_run_is_there(house: House) -> None:
    house.conn.execute("set pgflow.now = '2001-01-01 00:00:00+00'")
    run_id = house.start("torture_chain", {"seed": 9})
    house.conn.execute("select pgflow.cancel_run(%s)", (run_id,))
    house.conn.execute("reset pgflow.now")
    del house.wanted[run_id]
    house.to_be_pruned.append(run_id)


SLOW = [("torture_slow", {"seed": 5, "slow": 1.2})]
CRASHES = [
    Crash(function="register_worker"),
    Crash(function="heartbeat_worker", skip=2, runs=SLOW),
    Crash(function="lost_tasks", runs=SLOW),
    Crash(function="complete_and_claim_tasks"),
    Crash(function="complete_and_claim_tasks", skip=4),
    Crash(function="complete_tasks", stop=True, runs=SLOW),
    Crash(function="fail_tasks"),
    Crash(function="release_tasks", stop=True, grace=0.0, runs=SLOW),
    Crash(function="release_strays"),
    Crash(function="mark_worker_stopped", stop=True, runs=SLOW),
    Crash(function="run_sweep", containing="recover", before=a_worker_dies),
    Crash(function="run_sweep", containing="stalled"),
    Crash(function="run_sweep", containing="deadlines", before=a_run_is_overdue),
    Crash(function="run_sweep", containing="timers"),
    Crash(function="run_sweep", containing="prune", before=an_old_run_is_there, options={"retention_days": 1}),
]


@pytest.mark.parametrize("crash", CRASHES, ids=str)
def test_a_worker_killed_in_a_call_leaves_nothing_undone_and_nothing_done_twice(build: Build, crash: Crash) -> None:
    async def scenario(house: House, moment: Moment) -> None:
        house.start_all(*INPUTS, *crash.runs)
        if crash.before is not None:
            await crash.before(house)
        async with Proxy(house.dsn) as proxy:
            doomed = await house.worker(proxy.dsn, grace_seconds=crash.grace, **crash.options)
            trap = Trap(function=crash.function, moment=moment, act=doomed.kill, skip=crash.skip)
            proxy.set(replace(trap, containing=crash.containing.encode()))
            if crash.stop:
                await until(lambda: house.value("select count(*) from torture.starts where step_slug = 'doze'") == 1)
                await doomed.signal(signal.SIGTERM)
            await asyncio.wait_for(doomed.ended.wait(), 20)
            assert doomed.returncode == -signal.SIGKILL
        await house.finish(**crash.options)

    # Side by side, since they mostly wait for leases.
    houses = [build(), build()]
    inside(houses, [scenario(houses[0], Moment.EXECUTED), scenario(houses[1], Moment.COMMITTED)])


def inside(houses: list[House], scenarios: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run scenarios side by side, each in a house."""

    async def together() -> None:
        async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
            for scenario in scenarios:
                group.create_task(scenario)

    try:
        houses[0].loop.run(together())
    finally:
        for house in houses:
            house.loop.run(house.clear())


def test_every_call_that_a_worker_makes_is_in_the_list_of_crashes(house: House) -> None:
    async def life() -> None:
        house.start_all(*INPUTS, *SLOW)
        async with Proxy(house.dsn) as proxy:
            worker = await house.worker(proxy.dsn, grace_seconds=0.2, retention_days=1)
            await until(lambda: {"fail_tasks", "release_strays"} <= set(proxy.calls))
            await until(lambda: house.value("select count(*) from torture.starts where step_slug = 'doze'") == 1)
            await worker.signal(signal.SIGTERM)
            await worker.ended.wait()
            assert worker.returncode == 0
            # It only reads.
            assert set(proxy.calls) - {"core_version"} <= {crash.function for crash in CRASHES}

    inside([house], [life()])


LOCKS = {
    # Whatever row the call needs is held by somebody else, so that it waits in the middle.
    "complete_and_claim_tasks": "select from pgflow.runs for update",
    "fail_tasks": "lock table pgflow.task_attempts in exclusive mode",
    "heartbeat_worker": "select from pgflow.workers for update",
    "register_worker": "lock table pgflow.workers in exclusive mode",
    "run_sweep": "lock table pgflow.lanes in access exclusive mode",
}
WAITING = """
select pid from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and query like %s and application_name like 'flowdsl%%'
"""


@pytest.mark.parametrize("function", LOCKS)
def test_a_worker_whose_backend_is_terminated_in_a_call_goes_on_with_another(house: House, function: str) -> None:
    async def scenario() -> None:
        house.start_all(*INPUTS)
        with psycopg.connect(house.dsn) as holder:
            if function == "register_worker":
                holder.execute(LOCKS[function])
                worker = await house.worker()
            else:
                worker = await house.worker()
                await until(lambda: house.holds("worker-0"))
                holder.execute(LOCKS[function].encode())
            await until(lambda: bool(waiting()))
            for pid in waiting():
                house.conn.execute("select pg_terminate_backend(%s)", (pid,))
            await until(lambda: not waiting() or function != "register_worker")
        if function == "register_worker":
            # It had nothing yet, so it may as well give up and say so.
            await asyncio.wait_for(worker.ended.wait(), 20)
            assert worker.returncode == 1
        else:
            await until(house.is_done)
            assert worker.is_alive
        await house.finish()

    def waiting() -> list[int]:
        return [pid for (pid,) in house.conn.execute(WAITING, (f"%{function}%",))]

    inside([house], [scenario()])


@pytest.mark.parametrize("moment", list(Moment))
def test_a_worker_whose_connections_are_cut_in_each_call_goes_on(house: House, moment: Moment) -> None:
    """One worker lives through a cut in every call there is; what it did not hear of, it finds out."""

    async def scenario() -> None:
        house.start_all(*INPUTS, *SLOW)
        async with Proxy(house.dsn) as proxy:
            traps = [
                Trap(function=crash.function, containing=crash.containing.encode(), moment=moment, skip=crash.skip)
                for crash in CRASHES
                if not crash.stop and crash.function != "register_worker" and crash.containing != "prune"
            ]
            for trap in traps:
                proxy.set(trap)
            worker = await house.worker(proxy.dsn)
            await until(lambda: all(trap.done.is_set() for trap in traps if trap.containing != b"stalled"))
            await until(house.is_done)
            assert worker.is_alive
            await worker.signal(signal.SIGTERM)
            await worker.ended.wait()
            assert worker.returncode == 0
        await house.finish()

    inside([house], [scenario()])


def test_a_server_that_is_stopped_at_once_in_the_middle_of_runs_loses_nothing(
    own_server: PostgresServer, nursery: Nursery, tmp_path: Path, loop: asyncio.Runner
) -> None:
    install(own_server.url())
    with ExitStack() as stack:
        house = House(own_server.url(), stack.enter_context(own_connection(own_server)), nursery, tmp_path / "0", loop)

        async def scenario() -> None:
            for seed in range(10):
                house.start_all(
                    ("torture_fan", {"seed": seed, "size": 6}), ("torture_slow", {"seed": seed, "slow": 1.2})
                )
            workers = [await house.worker() for _ in range(2)]
            for done in (10, 30):
                await until(partial(house.has_completed, done))
                house.conn.close()
                await asyncio.to_thread(own_server.stop, "immediate")
                await asyncio.to_thread(own_server.start)
                house.conn = stack.enter_context(own_connection(own_server))
            await until(house.is_done)
            assert [worker.is_alive for worker in workers] == [True, True]
            await house.finish()

        inside([house], [scenario()])


def own_connection(server: PostgresServer) -> DbConn:
    return psycopg.connect(server.url(), autocommit=True)


@pytest.mark.parametrize("moment", list(Moment))
def test_a_start_that_was_killed_in_its_call_and_is_made_again_is_one_run(house: House, moment: Moment) -> None:
    run_id = uuid4()

    async def scenario() -> None:
        async with Proxy(house.dsn) as proxy:
            first = await house.spawn(
                "tests.integration.crash_starts:start", dsn=proxy.dsn, run_id=str(run_id), seed=3, size=2
            )
            proxy.set(Trap(function="start_flows", moment=moment, act=first.kill))
            await asyncio.wait_for(first.ended.wait(), 20)
            assert first.returncode == -signal.SIGKILL
        known = house.value("select count(*) from pgflow.runs")
        assert known == (1 if moment is Moment.COMMITTED else 0)
        await start_again(house, run_id)
        house.want(run_id, "torture_fan", {"seed": 3, "size": 2})
        await house.finish()

    inside([house], [scenario()])


async def start_again(house: House, run_id: UUID) -> None:
    """Start a run with an id that may have been used for it before."""
    async with Client(house.dsn) as client:
        await client.start(FAN_OUT, Job(seed=3, size=2), run_id=run_id)
        await client.start(FAN_OUT, Job(seed=3, size=2), run_id=run_id)


@pytest.mark.parametrize("moment", list(Moment))
def test_calls_of_a_client_whose_connection_is_cut_are_made_again(house: House, moment: Moment) -> None:
    async def scenario() -> None:
        async with Proxy(house.dsn) as proxy, Client(proxy.dsn, min_size=0) as client:
            run_ids = []
            for function in ("start_flows", "cancel_run", "retry_run", "watch_run", "run_outcome"):
                proxy.set(Trap(function=function, moment=moment))
            worker = await house.worker()
            for number in range(2):
                run = await client.start(FAN_OUT, Job(seed=number, size=3), run_id=uuid4())
                run_ids.append(run.run_id)
                house.want(run.run_id, "torture_fan", {"seed": number, "size": 3})
            status = await run.cancel()
            if status is RunStatus.CANCELLED:
                # It does nothing twice by itself, since it is not known what the first try came to.
                with pytest.raises(DatabaseUnavailable):
                    await run.retry()
                with suppress(RunNotRetryable):
                    await run.retry()
                house.wanted[run.run_id] = replace(house.wanted[run.run_id], retried=True)
            assert (await run.result(20)).value > 0
            assert worker.is_alive
        await house.finish()

    inside([house], [scenario()])
