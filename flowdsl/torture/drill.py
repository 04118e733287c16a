"""The whole torture, from an empty server to the verdict: `asyncio.run(torture(Plan(…)))`."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from flowdsl.client import Client
from flowdsl.gateway.errors import translated
from flowdsl.postgres import PostgresServer
from flowdsl.torture import scratch
from flowdsl.torture.checks import Claim, Records, inspect, judge, read_records
from flowdsl.torture.crew import Crew, slots
from flowdsl.torture.nursery import Nursery
from flowdsl.torture.proxy import Proxy
from flowdsl.torture.report import Report, Times, next_after
from flowdsl.torture.torment import Torment
from flowdsl.torture.users import Users

SETTLE_SECONDS = 60.0
"""After the last kill, runs are stuck when none of them ends for so long."""

_PROGRESS_SECONDS = 0.5
_INSPECT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do. `url` None stands for a server of our own.

    To test the test: `sabotage` is SQL that breaks the core, `acts` (names of `torment.ACTS`) leaves only some of the acts.
    """

    seconds: float
    workers: int
    seed: int
    url: str | None = None
    settle_seconds: float = SETTLE_SECONDS
    sabotage: str = ""
    acts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is."""

    phase: str
    seconds: float
    open_runs: int
    runs: int
    kills: int


Listener = Callable[[Progress], None]


async def torture(plan: Plan, listener: Listener) -> Report:
    """Torture a database for some time, let everything finish, and judge.

    Raises:
        ConfigError: there is no PostgreSQL to be had.
        DatabaseError: the server at the URL cannot be used.
    """
    with contextlib.ExitStack() as stack:
        listener(Progress(phase="preparing", seconds=0.0, open_runs=0, runs=0, kills=0))
        async with Nursery("flowdsl.torture.worker", "flowdsl.torture.scratch") as nursery:
            directory = stack.enter_context(scratch.scratch_directory())
            # Should we be killed, the nursery sees to it that nothing is left.
            await nursery.at_the_end("flowdsl.torture.scratch:sweep", directory=str(directory))
            if plan.url is None:
                server = stack.enter_context(scratch.scratch_server(directory))
                dsn, where = server.url(), "a scratch server"
            else:
                server = None
                dsn = stack.enter_context(scratch.throwaway_database(plan.url))
                await nursery.at_the_end("flowdsl.torture.scratch:drop", url=plan.url, dsn=dsn)
                where = scratch.host(plan.url)
            scratch.install(dsn)
            if plan.sabotage:
                scratch.execute(dsn, plan.sabotage)
            return await _Drill(plan, dsn, where, listener).run(nursery, server, directory)


class _Drill:
    def __init__(self, plan: Plan, dsn: str, where: str, listener: Listener) -> None:
        self._plan = plan
        self._dsn = dsn
        self._where = where
        self._listener = listener
        self._began = time.monotonic()
        self._phase = "torturing"
        self._notes: list[str] = []
        self._violations: list[str] = []

    async def run(self, nursery: Nursery, server: PostgresServer | None, directory: Path) -> Report:
        plan = self._plan
        ahead, version = await self._database()
        proxied = await self._proxy_works(directory)
        async with slots(plan.workers, self._dsn, directory, proxied=proxied) as places, Client(self._dsn) as client:
            users = Users(client, plan.seed)
            dice = random.Random(plan.seed)  # noqa: S311 - to be repeated
            torment = Torment(dsn=self._dsn, slots=places, server=server, dice=dice, only=plan.acts)
            async with _beside(self._report_progress(users, torment)), _beside(self._inspect()):
                async with Crew(nursery, self._dsn, places, directory):
                    async with _beside(users.run()), _beside(torment.run()):
                        await asyncio.sleep(plan.seconds)
                    self._phase = "letting everything finish"
                    await users.finish(plan.settle_seconds)
                    stuck = len(users.open)
                    await users.abandon()
                self._phase = "judging"
                with translated(), psycopg.connect(self._dsn, autocommit=True) as conn:
                    records = await asyncio.to_thread(read_records, conn)
            records.violations += self._violations
            claims = judge(records, users.wanted)
            if stuck:
                self._notes.append(f"{stuck} runs were left when for {plan.settle_seconds:.0f} s none had ended.")
            claims.append(
                Claim(claim="clients met no error but outages", checked=len(users.wanted), evidence=tuple(users.errors))
            )
            return self._report(records, claims, users, torment, ahead, version)

    async def _database(self) -> tuple[float, str]:
        """Return how far the database's clock is ahead of ours, and which PostgreSQL it is."""
        with translated():
            async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as conn:
                before = time.time()
                query = "select extract(epoch from clock_timestamp())::float8, current_setting('server_version')"
                row = await (await conn.execute(query)).fetchone()
                now = (before + time.time()) / 2
        return (row[0] - now, row[1]) if row else (0.0, "")

    async def _proxy_works(self, directory: Path) -> bool:
        try:
            async with Proxy(self._dsn, directory) as proxy, await psycopg.AsyncConnection.connect(proxy.dsn) as conn:
                await conn.execute("select 1")
        except psycopg.Error as error:
            self._notes.append(
                "Nothing was killed in chosen calls, since the server cannot be reached through a proxy without encryption: "
                + " ".join(str(error).split())
            )
            return False
        return True

    async def _inspect(self) -> None:
        """Look for violations all the time, since they must not even be there for a moment."""
        pause = _INSPECT_SECONDS
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            at = began - self._began
            # While the server is down there is nothing to look at.
            with contextlib.suppress(psycopg.OperationalError):
                found = await asyncio.to_thread(inspect, self._dsn)
                self._violations += [f"after {at:.0f} s: {violation}" for violation in found]
            # It reads everything, which becomes more and more; the torture is to be of workers, not of the disk.
            pause = max(_INSPECT_SECONDS, 10 * (time.monotonic() - began))

    async def _report_progress(self, users: Users, torment: Torment) -> None:
        while True:
            self._listener(
                Progress(
                    phase=self._phase,
                    seconds=time.monotonic() - self._began,
                    open_runs=len(users.open),
                    runs=len(users.wanted),
                    kills=len(torment.blows),
                )
            )
            await asyncio.sleep(_PROGRESS_SECONDS)

    def _report(
        self, records: Records, claims: list[Claim], users: Users, torment: Torment, ahead: float, version: str
    ) -> Report:
        done = sorted(task.completed_at.timestamp() for task in records.tasks.values() if task.completed_at is not None)
        blows = [replace(blow, at=blow.at + ahead) for blow in torment.blows]
        died = {blow.worker: blow.at for blow in blows if blow.worker is not None}
        lost = [
            task.completed_at.timestamp() - died[worker]
            for key, losses in records.losses.items()
            for worker, _ in losses[-1:]
            if worker in died and (task := records.tasks.get(key)) is not None and task.completed_at is not None
        ]
        stops = [blow.at for blow in blows if blow.what.startswith("server")]
        return Report(
            seed=self._plan.seed,
            seconds=round(time.monotonic() - self._began, 1),
            workers=self._plan.workers,
            server=f"PostgreSQL {version.split()[0]}, {self._where}",
            blows=dict(sorted(torment.counts.items())),
            did=dict(sorted(users.did.items())),
            runs=dict(sorted(Counter(run.status for run in records.runs.values()).items())),
            steps=sum(step.status == "completed" for step in records.steps.values()),
            tasks=sum(task.status == "completed" for task in records.tasks.values()),
            handlers=len(records.starts),
            late_starts=records.late_starts,
            recovery={
                "from any kill to the next completion": Times.of(next_after([blow.at for blow in blows], done)),
                "from a server stop to the next completion": Times.of(next_after(stops, done)),
                "from a worker's death to the completion of a task it held": Times.of([s for s in lost if s > 0]),
            },
            claims=tuple(claims),
            notes=tuple(self._notes),
        )


@contextlib.asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    """Do something beside the block, and end it with the block."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
