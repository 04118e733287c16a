"""A worker: one process that runs the handlers of some flows, for as long as it is told to.

This module holds its life: the start, and the two stages of stopping. What it does in between is in `engine` and
`exchange`.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from flowdsl.errors import ConfigError
from flowdsl.gateway import calls
from flowdsl.gateway.connections import conninfo
from flowdsl.model.flow import Flow
from flowdsl.model.options import ExecutorChoice
from flowdsl.runtime.advice import advice
from flowdsl.runtime.child import refuse_in_child
from flowdsl.runtime.connection import Link
from flowdsl.runtime.engine import Engine
from flowdsl.runtime.executors import Executors
from flowdsl.runtime.horizon import Horizon
from flowdsl.runtime.options import WorkerOptions
from flowdsl.runtime.registration import Registration
from flowdsl.runtime.services import services
from flowdsl.runtime.signals import stopping
from flowdsl.runtime.state import WorkerState
from flowdsl.runtime.steps import Catalog
from flowdsl.types import WorkerId

logger = logging.getLogger(__name__)


class Worker:
    """Serves flows: claims their tasks, runs their handlers, hands in the results.

    Args:
        flows: what to serve; each must be compiled into the database in exactly this shape.
        dsn: a PostgreSQL URL.
        concurrency: how many attempts run at once; sync handlers run in as many threads.
        batch: how many tasks to claim, and results to hand in, in one call at most. It claims up to twice as many as it hands
            in, so that several workers share slow tasks. More concurrency than batch lets handlers and database work at the
            same time.
        queues: serve these queues only; None serves all queues of the flows.
        lease_seconds: how long after this worker's death others wait before they take its tasks.
        grace_seconds: how long a stopping worker lets running attempts go on.
        poll_seconds: how often an idle worker looks for work when no notification arrives.
        name: a free label, shown in listings.
        linger_ms: how long a finished result may wait for others to be handed in with.
        listen: whether to use notifications; polling works without.
        retention: delete runs, with all that belongs to them, so long after their end; None keeps them. It holds for all flows
            of the database, whatever this worker serves.
        executor: where handlers run whose steps and flows do not say: "async" (in the event loop), "thread", "process", or
            any `concurrent.futures.Executor`, which stays yours to shut down. None: async ones in the event loop, others in
            threads.
        processes: how many child processes there may be for "process"; None for as many as there are processors.
        pulse: have a small process renew the lease while a handler holds the interpreter (long calls into C code).

    Attempts run at least once: a worker that dies, or a timeout in a handler that cannot be interrupted, leads to another
    attempt. A thread cannot be stopped: a sync handler that outlives its timeout, or the grace time, is given up in time,
    but goes on to the end of its call; so long it takes a slot, and keeps the process from ending (see `stuck`). A child
    process can be, and is.

    When a run is cancelled, fails or meets its deadline, its running handlers are cancelled with the next heartbeat (three
    per lease), or with the next result of that run: async ones get a CancelledError, sync ones may look at
    `Context.cancelled`. What they return is dropped.

    Raises:
        ConfigError: an option cannot be used, or two flows have the same slug.
    """

    def __init__(
        self,
        flows: Sequence[Flow[Any, Any]],
        dsn: str,
        *,
        concurrency: int = 200,
        batch: int = 100,
        queues: Sequence[str] | None = None,
        lease_seconds: int = 30,
        grace_seconds: float = 30.0,
        poll_seconds: float = 1.0,
        name: str = "",
        linger_ms: float = 2.0,
        listen: bool = True,
        retention: timedelta | None = None,
        executor: ExecutorChoice | None = None,
        processes: int | None = None,
        pulse: bool = True,
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
            retention=retention,
            executor=executor,
            processes=processes,
            pulse=pulse,
        )
        self._catalog = Catalog(flows)
        self._conninfo = conninfo(dsn, f"flowdsl worker {name}".rstrip())
        self._registration = Registration(
            self._catalog.fingerprints(), queues=self._options.queues, name=name, lease_seconds=lease_seconds
        )
        self._executors = Executors(self._catalog, executor, processes, self._registration.log_fields)
        self._lock = threading.Lock()
        self._state = WorkerState.NEW
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start: asyncio.Timeout | None = None
        self._engine: Engine | None = None

    @property
    def state(self) -> WorkerState:
        """Where the worker is in its life."""
        return self._state

    @property
    def worker_id(self) -> WorkerId:
        """The id under which the database knows this worker; a new one after the database forgot it."""
        return self._registration.worker_id

    @property
    def stuck(self) -> tuple[str, ...]:
        """The steps whose handlers go on although the worker gave up on them; they keep the process from ending."""
        return () if self._engine is None else self._engine.stuck

    def stop(self) -> None:
        """Ask the worker to drain: no new claims; running attempts may end within the grace time.

        May be called from any thread, any number of times, and before or during the start (then `run` returns at once).
        """
        with self._lock:
            if self._state is WorkerState.NEW:
                self._state = WorkerState.STOPPED
        self._call(self._drain)

    def abort(self) -> None:
        """Ask the worker to stop now: running attempts are cancelled and their tasks released. From any thread."""
        self.stop()
        self._call(self._cut_short)

    async def run(self, *, stop_signals: bool = True) -> None:
        """Serve until stopped.

        Args:
            stop_signals: handle SIGTERM and SIGINT (main thread only): the first drains, the second aborts. SIGHUP drains
                unless it is ignored.

        Raises:
            DatabaseUnavailable: there is no database at the start; later outages are waited out.
            CoreNotInstalled, CoreVersionMismatch, FlowNotCompiled: the database is not ready for these flows.
            ConfigError: the worker has run before, or a handler cannot run where it is to run.
        """
        with self._lock:
            if self._loop is not None:
                raise ConfigError("a worker runs only once; make another one")
            if self._state is WorkerState.STOPPED:
                return
            refuse_in_child()
            self._loop = asyncio.get_running_loop()
            self._state = WorkerState.RUNNING
        handled = stopping(on_first=self.stop, on_second=self.abort) if stop_signals else contextlib.nullcontext()
        try:
            with handled:
                await self._serve()
        finally:
            self._state = WorkerState.STOPPED
            logger.info("worker stopped", extra=self._registration.log_fields)

    async def _serve(self) -> None:
        link = Link(self._conninfo, "tasks", extra=self._registration.log_fields)
        try:
            if not await self._started(link):
                return
            logger.info("worker started", extra=self._registration.log_fields)
            pool = self._executors.pool
            for level, text in advice(self._options, self._catalog.queues(), None if pool is None else pool.size):
                logger.log(level, "%s", text, extra=self._registration.log_fields)
            horizon = Horizon()
            engine = self._engine = Engine(link, self._registration, self._catalog, self._options, horizon)
            if self._state is WorkerState.DRAINING:
                engine.drain(self._options.grace_seconds)
            beside = services(
                self._conninfo,
                self._registration,
                self._options,
                queues=self._options.queues or self._catalog.queues(),
                on_work=engine.ask,
                running=engine.running,
                on_revoked=engine.revoke,
                on_lost=engine.insist,
                on_deprecated=self.stop,
                horizon=horizon,
                latest_due_at=engine.latest_due_at,
            )
            async with beside:
                await engine.run()
        finally:
            await self._executors.close()
            await link.close()

    async def _started(self, link: Link) -> bool:
        """Register; tell whether that was done before somebody asked to stop. Nothing is held yet, so a stop ends it."""
        if self._state is WorkerState.DRAINING:
            return False
        self._start = limit = asyncio.timeout(None)
        try:
            async with limit:
                conn = await link.open()
                await calls.check_core(conn)
                await self._executors.start()
                await self._registration.register(conn)
        except TimeoutError:
            if not limit.expired():
                raise
            return False
        return True

    def _drain(self) -> None:
        if self._state is not WorkerState.RUNNING:
            return
        self._state = WorkerState.DRAINING
        logger.info("worker is draining", extra=self._registration.log_fields)
        if self._engine is not None:
            self._engine.drain(self._options.grace_seconds)
        elif self._start is not None:
            with contextlib.suppress(RuntimeError):  # it has come to its end
                self._start.reschedule(0.0)

    def _cut_short(self) -> None:
        if self._engine is not None:
            self._engine.cut_short()

    def _call(self, function: Callable[[], None]) -> None:
        # Before the start there is no loop, and afterwards a closed one: nothing to call then.
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function)
