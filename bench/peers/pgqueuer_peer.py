"""pgqueuer: a job queue on asyncpg. It has no flows, so a run of three steps is three jobs, each enqueueing the next."""

# mypy: disable-error-code="import-not-found"
# The peers live in an environment of their own, where the type checker does not look.

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from bench.peers.common import Item, MeasurementFailed, Role
from bench.peers.entry import main
from bench.peers.peer import Peer, Session

T = TypeVar("T")

# Tried: steps/s of the chain, one worker process, one to three alternating rounds on a machine that was busy with other
# things, so ratios count. One manager: batch 50 and a pool of 20 248 (259, 261, 223), batch 10 and 20 239, batch 100 and
# 40 221, batch 10 and 5 214, batch 50 and 5 206, batch 200 and 10 191. Two managers, batch 50, pool of 10: 170. Five
# managers with batch 10, as pgqueuer's own benchmark has them: 120. Each enqueue notifies, and PostgreSQL commits
# transactions with a notification one after the other, which is why more connections do not help further.
BATCH = 50
MANAGERS = 1
POOL = 20
# The client learns of the end of a flow by a notification that its last job sends: queues keep no results.
CHANNEL = "bench_done"
DONE_ELEMENTS = "select count(*) from pgqueuer_log where status = 'successful' and entrypoint = 'plain'"
POLL_SECONDS = 0.02


class PgQueuerSession(Session):
    """One asyncpg connection, driven from ordinary code."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.conn: Any = self.runner.run(asyncpg.connect(url))
        self.queries = Queries(AsyncpgDriver(self.conn))
        self.told = asyncio.Event()
        self.run(self.conn.add_listener(CHANNEL, lambda *_: self.told.set()))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.runner.run(coroutine)

    def close(self) -> None:
        """Close the connection and the loop."""
        self.run(self.conn.close())
        self.runner.close()

    def start(self, number: int) -> None:
        """Enqueue the first job of a flow."""
        self.run(self.queries.enqueue("first", payload(number)))

    def start_batch(self, numbers: range) -> None:
        """Enqueue the first jobs of many flows in one call."""
        self.run(enqueue_many(self.queries, "first", numbers))

    def start_plain(self, numbers: range) -> None:
        """Enqueue independent jobs in one call."""
        self.run(enqueue_many(self.queries, "plain", numbers))

    def round_trip(self, number: int) -> None:
        """Enqueue the first job and wait for the word of the third."""
        self.run(self._answered("first", number))

    def fan_outs(self) -> Mapping[str, Callable[[int], None]]:
        """Jobs are all there is."""
        return {"jobs": self._fan_out_jobs}

    def _fan_out_jobs(self, elements: int) -> None:
        """Enqueue a job for each element, wait until none is left, run the aggregate as one more job.

        The queue keeps no results: an application would write them to a table of its own, which is not measured here.
        """
        self.run(self._fan_out(elements))

    async def _answered(self, entrypoint: str, number: int) -> None:
        self.told.clear()
        await self.queries.enqueue(entrypoint, payload(number, reply=True))
        await self.told.wait()

    async def _fan_out(self, elements: int) -> None:
        await enqueue_many(self.queries, "plain", range(elements))
        while await self.conn.fetchval("select exists (select from pgqueuer)"):  # noqa: ASYNC110 - the server knows it
            await asyncio.sleep(POLL_SECONDS)
        if (done := await self.conn.fetchval(DONE_ELEMENTS)) != elements:
            raise MeasurementFailed(f"{done} of {elements} elements were handled.")
        await self._answered("third", elements)


def payload(number: int, *, reply: bool = False) -> bytes:
    """Return the payload of a job."""
    return Item(number=number, reply=reply).model_dump_json().encode()


async def enqueue_many(queries: Any, entrypoint: str, numbers: range) -> None:
    """Enqueue a job for each number in one statement."""
    await queries.enqueue([entrypoint] * len(numbers), [payload(number) for number in numbers], [0] * len(numbers))


def register(manager: Any, producer: Any, pool: Any) -> None:
    """Register the handlers; what they enqueue goes through the pool, as the documentation recommends."""

    def step(job: Any) -> Item:
        return Item.model_validate_json(job.payload)

    async def first(job: Any) -> None:
        await producer.enqueue("second", step(job).model_dump_json().encode())

    async def second(job: Any) -> None:
        await producer.enqueue("third", step(job).model_dump_json().encode())

    async def third(job: Any) -> None:
        if step(job).reply:
            await pool.execute("select pg_notify($1, '')", CHANNEL)

    async def plain(job: Any) -> None:
        step(job)

    for name, handler in {"first": first, "second": second, "third": third, "plain": plain}.items():
        manager.entrypoint(name)(handler)


class PgQueuerPeer(Peer):
    """How pgqueuer is installed, called and read."""

    name: ClassVar[str] = "pgqueuer"
    package: ClassVar[str] = "pgqueuer"
    runs: ClassVar[int] = 3_000
    plain_jobs: ClassVar[bool] = True
    settings: ClassVar[dict[str, str]] = {
        "driver": "asyncpg on uvloop (guide 'Benchmarks': about double of psycopg; its benchmark runs on uvloop)",
        "connections": f"one for each of {MANAGERS} queue manager(s), a pool of {POOL} for producers ('Performance Tuning')",
        "batch_size": f"{BATCH} ('Performance Tuning': increase it when jobs are short; default 10; tuned)",
        "durability": "durable ('Performance Tuning': the level without data loss; the default)",
        "autovacuum": "pgq autovac ('Performance Tuning', checklist)",
        "starts": "Queries.enqueue, with lists for batches",
        "flow": "three jobs, each enqueueing the next; W2: a batch of jobs, then one more",
    }
    finished_runs: ClassVar[str] = (
        "select count(*) from pgqueuer_log where status = 'successful' and entrypoint in ('third', 'plain')"
    )
    completed_steps: ClassVar[str] = "select count(*) from pgqueuer_log where status = 'successful'"
    work_seconds: ClassVar[str] = (
        "select extract(epoch from max(created) - min(created)) from pgqueuer_log where status in ('picked', 'successful')"
    )

    def install(self, url: str) -> None:
        """Install the schema, durable as by default, with the autovacuum settings that the documentation recommends."""
        asyncio.run(install(url))

    @contextmanager
    def session(self, url: str) -> Iterator[Session]:
        """Open a client."""
        session = PgQueuerSession(url)
        try:
            yield session
        finally:
            session.close()

    def serve(self, url: str, role: Role) -> None:
        """Run queue managers on uvloop, as pgqueuer's own benchmark does."""
        uvloop.run(work(url))


async def install(url: str) -> None:
    """Install the schema."""
    conn = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(conn))
    await queries.install()
    await queries.optimize_autovacuum()
    await conn.close()


async def work(url: str) -> None:
    """Work all entrypoints until the process ends."""
    pool = await asyncpg.create_pool(url, min_size=POOL, max_size=POOL)
    producer = Queries(AsyncpgPoolDriver(pool))
    async with asyncio.TaskGroup() as group:
        for _ in range(MANAGERS):
            manager = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))
            register(manager, producer, pool)
            group.create_task(manager.run(batch_size=BATCH))


def run() -> None:
    """Do what the command line says."""
    main(PgQueuerPeer())
