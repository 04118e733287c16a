"""procrastinate: a job queue for Python. It has no flows, so a run of three steps is three jobs, each deferring the next."""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# The peers live in an environment of their own, where the type checker does not look.

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import procrastinate
import psycopg

from bench.peers.common import Item, MeasurementFailed, Role
from bench.peers.database import number as one_number
from bench.peers.entry import main
from bench.peers.peer import Peer, Session

# Tried: independent jobs/s of one worker process, medians of two alternating rounds on a machine that was busy with other
# things, so ratios count: concurrency 20 over 5 connections 99, 5 over 5 74, 30 (as in the documentation) over 20 62; 20
# over 5 without autocommit 52.
CONCURRENCY = 20
POOL_SIZE = 5
# A notification can be missed while the worker is between two looks; with the default of 5 s such a job makes p99 of W3.
POLL_INTERVAL_SECONDS = 0.1
# The client learns of the end of a flow by a notification that its last job sends: queues keep no results.
CHANNEL = "bench_done"
OPEN_JOBS = "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"
DONE_ELEMENTS = "select count(*) from procrastinate_jobs where status = 'succeeded' and task_name = 'plain'"
POLL_SECONDS = 0.02

# Its tasks are what we need; each client and worker puts a connector of its own below them.
tasks = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())


def step(item: dict[str, Any]) -> Item:
    """Do nothing, typed; arguments are JSON, so the model is built from a dictionary."""
    return Item.model_validate(item)


@tasks.task(name="first")
async def first(item: dict[str, Any]) -> None:
    """Run the first step and defer the second."""
    await second.defer_async(item=step(item).model_dump(mode="json"))


@tasks.task(name="second")
async def second(item: dict[str, Any]) -> None:
    """Run the second step and defer the third."""
    await third.defer_async(item=step(item).model_dump(mode="json"))


@tasks.task(name="third", pass_context=True)
async def third(context: Any, item: dict[str, Any]) -> None:
    """Run the third step; a flow ends here."""
    result = step(item)
    if result.reply:
        await context.app.connector.execute_query_async(f"select pg_notify('{CHANNEL}', '')")


@tasks.task(name="plain")
async def plain(item: dict[str, Any]) -> None:
    """Do nothing, typed: a job that leads to nothing."""
    step(item)


class ProcrastinateSession(Session):
    """The synchronous connector, made for deferring from ordinary code."""

    def __init__(self, url: str) -> None:
        connector = procrastinate.SyncPsycopgConnector(
            conninfo=url, min_size=1, max_size=1, configure=lambda conn: conn.set_autocommit(True)
        )
        self.stack = ExitStack()
        self.app = self.stack.enter_context(tasks.replace_connector(connector))
        self.stack.enter_context(self.app.open())
        self.conn = psycopg.connect(url, autocommit=True)
        self.conn.execute(f"listen {CHANNEL}")

    def close(self) -> None:
        """Close both connections."""
        self.conn.close()
        self.stack.close()

    def start(self, number: int) -> None:
        """Defer the first job of a flow."""
        self._defer("first", number)

    def start_batch(self, numbers: range) -> None:
        """Defer the first jobs of many flows in one call."""
        self._batch("first", numbers)

    def start_plain(self, numbers: range) -> None:
        """Defer independent jobs in one call."""
        self._batch("plain", numbers)

    def round_trip(self, number: int) -> None:
        """Defer the first job and wait for the word of the third."""
        self._defer("first", number, reply=True)
        self._told()

    def fan_outs(self) -> Mapping[str, Callable[[int], None]]:
        """Jobs are all there is."""
        return {"jobs": self._fan_out_jobs}

    def _fan_out_jobs(self, elements: int) -> None:
        """Defer a job for each element, wait until none is left, run the aggregate as one more job.

        The queue keeps no results: an application would write them to a table of its own, which is not measured here.
        """
        self._batch("plain", range(elements))
        while one_number(self.conn, OPEN_JOBS) > 0:
            time.sleep(POLL_SECONDS)
        if (done := one_number(self.conn, DONE_ELEMENTS)) != elements:
            raise MeasurementFailed(f"{done:.0f} of {elements} elements were handled.")
        self._defer("third", elements, reply=True)
        self._told()

    def _defer(self, name: str, number: int, *, reply: bool = False) -> None:
        self.app.tasks[name].defer(item=Item(number=number, reply=reply).model_dump(mode="json"))

    def _batch(self, name: str, numbers: range) -> None:
        items = [{"item": Item(number=number).model_dump(mode="json")} for number in numbers]
        self.app.tasks[name].batch_defer(*items)

    def _told(self) -> None:
        for _ in self.conn.notifies(stop_after=1):
            return


class ProcrastinatePeer(Peer):
    """How procrastinate is installed, called and read."""

    name: ClassVar[str] = "procrastinate"
    package: ClassVar[str] = "procrastinate"
    runs: ClassVar[int] = 1_000
    plain_jobs: ClassVar[bool] = True
    settings: ClassVar[dict[str, str]] = {
        "concurrency": f"{CONCURRENCY} (how-to 'Execute multiple jobs at the same time'; tuned)",
        "pool": f"{POOL_SIZE} connections (how-to 'Instantiate your connector': arguments of psycopg's pool; tuned)",
        "autocommit": "on, by the pool's `configure` (the default sends BEGIN and COMMIT around each statement)",
        "fetch_job_polling_interval": f"{POLL_INTERVAL_SECONDS} s, with listen_notify (App.run_worker)",
        "delete_jobs": "never (the default; the events that are measured by hang on the jobs)",
        "starts": "Task.defer one by one, Task.batch_defer for batches (how-to 'Batch defer multiple jobs')",
        "flow": "three jobs, each deferring the next; W2: a batch of jobs, then one more",
    }
    finished_runs: ClassVar[str] = (
        "select count(*) from procrastinate_jobs where status = 'succeeded' and task_name in ('third', 'plain')"
    )
    completed_steps: ClassVar[str] = "select count(*) from procrastinate_jobs where status = 'succeeded'"
    work_seconds: ClassVar[str] = (
        "select extract(epoch from max(at) - min(at)) from procrastinate_events where type in ('started', 'succeeded')"
    )

    def install(self, url: str) -> None:
        """Apply the schema."""
        with tasks.replace_connector(procrastinate.SyncPsycopgConnector(conninfo=url)) as app, app.open():
            app.schema_manager.apply_schema()

    @contextmanager
    def session(self, url: str) -> Iterator[Session]:
        """Open a client."""
        session = ProcrastinateSession(url)
        try:
            yield session
        finally:
            session.close()

    def serve(self, url: str, role: Role) -> None:
        """Run the asynchronous worker."""
        asyncio.run(work(url))


async def autocommit(conn: Any) -> None:
    """Send no BEGIN and COMMIT around the single statements that procrastinate sends."""
    await conn.set_autocommit(True)


async def work(url: str) -> None:
    """Work all queues until the process ends."""
    connector = procrastinate.PsycopgConnector(
        conninfo=url, min_size=POOL_SIZE, max_size=POOL_SIZE, configure=autocommit
    )
    with tasks.replace_connector(connector) as app:
        async with app.open_async():
            await app.run_worker_async(
                concurrency=CONCURRENCY, fetch_job_polling_interval=POLL_INTERVAL_SECONDS, listen_notify=True
            )


def run() -> None:
    """Do what the command line says."""
    main(ProcrastinatePeer())
