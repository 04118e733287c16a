"""A worker: one process that runs the handlers of some flows, for as long as it is told to.

This module holds its life: start, supervision, the two stages of stopping. What it does all day is in `exchange`.
Services (listener, reaper, heartbeat) live in an outer scope, attempts in an inner one, so that leases are renewed until
the last result is handed in.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from flowdsl.errors import ConfigError, DatabaseError
from flowdsl.gateway import calls
from flowdsl.gateway.connections import conninfo
from flowdsl.model.flow import Flow
from flowdsl.runtime.attempt import Attempt, Attempts
from flowdsl.runtime.connection import Link
from flowdsl.runtime.exchange import Exchange
from flowdsl.runtime.heartbeat import Heartbeat
from flowdsl.runtime.ledger import Ledger
from flowdsl.runtime.listener import Listener
from flowdsl.runtime.options import WorkerOptions
from flowdsl.runtime.reaper import Reaper
from flowdsl.runtime.registration import Registration
from flowdsl.runtime.signals import stopping
from flowdsl.runtime.state import WorkerState
from flowdsl.runtime.steps import Catalog

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 5.0
HAND_BACK_SECONDS = 10.0


class Worker:
    """Serves flows: claims their tasks, runs their handlers, hands in the results.

    Args:
        flows: what to serve; each must be compiled into the database in exactly this shape.
        dsn: a PostgreSQL URL.
        concurrency: how many attempts run at once; sync handlers run in as many threads.
        batch: how many tasks to claim, and results to hand in, in one call. More concurrency than batch lets handlers and
            database work at the same time.
        queues: serve these queues only; None serves all queues of the flows.
        lease_seconds: how long after this worker's death others wait before they take its tasks.
        grace_seconds: how long a stopping worker lets running attempts go on.
        poll_seconds: how often an idle worker looks for work when no notification arrives.
        name: a free label, shown in listings.
        linger_ms: how long a finished result may wait for others to be handed in with.
        listen: whether to use notifications; polling works without.

    Attempts run at least once: a worker that dies, or a timeout in a handler that cannot be interrupted, leads to another
    attempt. A sync handler that outlives its timeout is failed in time, but its thread (and its slot) goes on to the end of
    the call, and so does the process.

    Raises:
        ConfigError: an option cannot be used, or two flows have the same slug.
    """

    def __init__(
        self,
        flows: Sequence[Flow[Any, Any]],
        dsn: str,
        *,
        concurrency: int = 100,
        batch: int = 50,
        queues: Sequence[str] | None = None,
        lease_seconds: int = 30,
        grace_seconds: float = 30.0,
        poll_seconds: float = 1.0,
        name: str = "",
        linger_ms: float = 2.0,
        listen: bool = True,
    ) -> None:
        self._options = WorkerOptions(
            concurrency=concurrency,
            batch=batch,
            queues=None if queues is None else tuple(queues),
            lease_seconds=lease_seconds,
            grace_seconds=grace_seconds,
            poll_seconds=poll_seconds,
            linger_ms=linger_ms,
            name=name,
            listen=listen,
        )
        self._catalog = Catalog(flows)
        self._conninfo = conninfo(dsn, f"flowdsl worker {name}".rstrip())
        self._registration = Registration(
            self._catalog.fingerprints(), queues=self._options.queues, name=name, lease_seconds=lease_seconds
        )
        self._lock = threading.Lock()
        self._state = WorkerState.NEW
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limit: asyncio.Timeout | None = None
        self._ledger: Ledger[Attempt] | None = None

    @property
    def state(self) -> WorkerState:
        """Where the worker is in its life."""
        return self._state

    @property
    def worker_id(self) -> Any:
        """The id under which the database knows this worker; a new one after the database forgot it."""
        return self._registration.worker_id

    # -- stopping

    def stop(self) -> None:
        """Ask the worker to drain: no new claims; running attempts may end within the grace time.

        May be called from any thread, any number of times, and before the start (then `run` returns at once).
        """
        with self._lock:
            if self._state is WorkerState.NEW:
                self._state = WorkerState.STOPPED
            loop = self._loop
        _call(loop, self._drain)

    def abort(self) -> None:
        """Ask the worker to stop now: running attempts are cancelled and their tasks released. From any thread."""
        self.stop()
        _call(self._loop, self._cut_short)

    def _drain(self) -> None:
        if self._state is not WorkerState.RUNNING:
            return
        self._state = WorkerState.DRAINING
        logger.info("worker is draining", extra=self._extra())
        if self._ledger is not None:
            self._ledger.drain()
        self._move_limit(self._options.grace_seconds)

    def _cut_short(self) -> None:
        self._move_limit(0.0)

    def _move_limit(self, seconds: float) -> None:
        # There is no limit before the start, and a limit that has been reached cannot be moved.
        if self._limit is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._limit.reschedule(self._loop.time() + seconds)

    # -- running

    async def run(self, *, stop_signals: bool = True) -> None:
        """Serve until stopped.

        Args:
            stop_signals: handle SIGTERM and SIGINT (main thread only): the first drains, the second aborts.

        Raises:
            DatabaseUnavailable: there is no database at the start; later outages are waited out.
            CoreNotInstalled, CoreVersionMismatch, FlowNotCompiled: the database is not ready for these flows.
            ConfigError: the worker has run before.
        """
        with self._lock:
            if self._state is WorkerState.STOPPED and self._loop is None:
                return
            if self._loop is not None:
                raise ConfigError("a worker runs only once; make another one")
            self._loop = asyncio.get_running_loop()
            self._state = WorkerState.RUNNING
        handled = stopping(on_first=self.stop, on_second=self.abort) if stop_signals else contextlib.nullcontext()
        try:
            with handled:
                await self._serve()
        finally:
            self._state = WorkerState.STOPPED
            logger.info("worker stopped", extra=self._extra())

    async def _serve(self) -> None:
        link = Link(self._conninfo, "tasks", extra=self._extra())
        try:
            conn = await link.open()
            await calls.check_core(conn)
            await self._registration.register(conn)
            logger.info("worker started", extra=self._extra())
            async with self._services():
                await self._attend(link)
        finally:
            await link.close()

    @contextlib.asynccontextmanager
    async def _services(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        extra = self._extra()
        heartbeat = Heartbeat(
            self._conninfo,
            self._registration,
            lease_seconds=self._options.lease_seconds,
            on_deprecated=self.stop,
            on_lost=lambda: _call(loop, self._ask),
        )
        services: list[Coroutine[Any, Any, None]] = [
            Reaper(self._conninfo, interval=self._options.lease_seconds, on_work=self._ask, extra=extra).run()
        ]
        if self._options.listen:
            queues = self._options.queues or self._catalog.queues()
            link = Link(self._conninfo, "notifications", extra=extra)
            services.append(Listener(link, queues=queues, on_work=self._ask, extra=extra).run())
        with heartbeat:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(service) for service in services]
                try:
                    yield
                finally:
                    for task in tasks:
                        task.cancel()

    async def _attend(self, link: Link) -> None:
        options = self._options
        executor = concurrent.futures.ThreadPoolExecutor(options.concurrency, thread_name_prefix="flowdsl-handler")
        loop = asyncio.get_running_loop()
        ledger: Ledger[Attempt] = Ledger(
            loop, concurrency=options.concurrency, batch=options.batch, linger=options.linger_ms / 1000
        )
        attempts = Attempts(ledger, self._catalog.find, executor, extra=self._extra())
        exchange = Exchange(link, self._registration, ledger, attempts, options)
        crash: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    async with asyncio.timeout(None) as self._limit:
                        self._begin(ledger)
                        await exchange.run(group)
                except TimeoutError:
                    logger.warning("the grace time is over", extra=self._extra())
                except Exception as error:
                    crash = error
                finally:
                    attempts.cancel_all()
                    await _to_its_end(self._hand_back(ledger, exchange))
        finally:
            attempts.close()
            ledger.close()
            executor.shutdown(wait=False, cancel_futures=True)
        if crash is not None:
            raise crash

    def _begin(self, ledger: Ledger[Attempt]) -> None:
        self._ledger = ledger
        if self._state is WorkerState.DRAINING:
            ledger.drain()

    async def _hand_back(self, ledger: Ledger[Attempt], exchange: Exchange) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await ledger.wait_idle()
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                await exchange.hand_back()
        except (DatabaseError, TimeoutError) as error:
            why = error.message if isinstance(error, DatabaseError) else "the database does not answer"
            logger.warning(
                "could not hand everything back; others get it when the lease runs out: %s", why, extra=self._extra()
            )
        for attempt in (*ledger.running, *ledger.stuck):
            logger.warning("the handler of step '%s' does not end", attempt.task.step_slug, extra=self._extra())

    def _ask(self) -> None:
        if self._ledger is not None:
            self._ledger.ask()

    def _extra(self) -> dict[str, Any]:
        return {"worker_id": str(self._registration.worker_id)}


def _call(loop: asyncio.AbstractEventLoop | None, function: Any) -> None:
    """Call a function in the loop's thread; nothing when the loop is not there or closed."""
    if loop is not None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(function)


async def _to_its_end(coroutine: Coroutine[Any, Any, None]) -> None:
    """Await a short piece of work to its end even when we are cancelled meanwhile."""
    work = asyncio.ensure_future(coroutine)
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
