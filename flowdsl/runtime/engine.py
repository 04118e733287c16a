"""One registered worker at work, from its first claim to the moment it holds nothing any more.

Attempts live in a task group; the exchange that feeds them runs in the group's body under a limit that is moved when the
worker is to stop. Whatever ends the exchange (drained, out of time, cancelled, or a defect), everything is handed back.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from flowdsl.errors import DatabaseError
from flowdsl.gateway.rows import Refusal, TaskRef
from flowdsl.runtime.attempt import Attempt, Attempts
from flowdsl.runtime.connection import Link
from flowdsl.runtime.exchange import Exchange
from flowdsl.runtime.exits import contained
from flowdsl.runtime.horizon import Horizon
from flowdsl.runtime.ledger import Ledger
from flowdsl.runtime.options import WorkerOptions
from flowdsl.runtime.registration import Registration
from flowdsl.runtime.steps import Catalog

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 5.0
"""How long cancelled handlers may clean up before their tasks are released without waiting for them."""

HAND_BACK_SECONDS = 10.0
"""How long the last words to the database may take."""


class Engine:
    """Runs attempts until told to stop. To be made, and used, in the event loop."""

    def __init__(
        self,
        link: Link,
        registration: Registration,
        catalog: Catalog,
        options: WorkerOptions,
        horizon: Horizon | None = None,
    ) -> None:
        self._extra = registration.log_fields
        self._loop = asyncio.get_running_loop()
        self._limit: asyncio.Timeout | None = None
        self._until: float | None = None
        self._executor = concurrent.futures.ThreadPoolExecutor(
            options.concurrency, thread_name_prefix="flowdsl-handler"
        )
        self._ledger: Ledger[Attempt] = Ledger(
            self._loop, concurrency=options.concurrency, batch=options.batch, linger=options.linger_ms / 1000
        )
        self._attempts = Attempts(self._ledger, catalog.find, self._executor, extra=self._extra, horizon=horizon)
        self._exchange = Exchange(link, registration, self._ledger, self._attempts, options)

    def ask(self) -> None:
        """Look for work: there may be some."""
        self._ledger.hint()

    def insist(self) -> None:
        """Talk to the database even when there is no free slot: the registration was lost."""
        self._ledger.insist()

    def running(self) -> list[TaskRef]:
        """Return the claims of the attempts that run; from any thread."""
        return [attempt.ref for attempt in self._ledger.running]

    def latest_due_at(self) -> float | None:
        """Return when the last of the running attempts will have run out of time; from any thread."""
        return self._attempts.latest_due_at()

    def revoke(self, lost: Sequence[Refusal]) -> None:
        """Cancel attempts whose claims are not current any more."""
        self._attempts.revoke(lost)

    def drain(self, grace_seconds: float) -> None:
        """Claim nothing more; what runs may end within that time."""
        self._ledger.drain()
        self._move_limit(grace_seconds)

    def cut_short(self) -> None:
        """Cancel what runs and hand everything back, now."""
        self._ledger.drain()
        self._move_limit(0.0)

    @property
    def stuck(self) -> tuple[str, ...]:
        """The steps whose handlers do not end although their attempts are over."""
        return tuple(sorted({attempt.task.step_slug for attempt in (*self._ledger.running, *self._ledger.stuck)}))

    async def run(self) -> None:
        """Work until drained or cut short."""
        with contained(self._loop):
            await self._run()

    async def _run(self) -> None:
        crash: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    async with asyncio.timeout_at(self._until) as self._limit:
                        await self._exchange.run(group)
                except TimeoutError:
                    logger.warning("out of time: cancelling %d attempts", len(self._ledger.running), extra=self._extra)
                except Exception as error:
                    # Raised again below, when everything has been handed back, and not wrapped by the group.
                    crash = error
                finally:
                    self._attempts.cancel_all()
                    await _to_its_end(self._hand_back())
        finally:
            self._attempts.close()
            self._ledger.close()
            self._executor.shutdown(wait=False, cancel_futures=True)
        if crash is not None:
            raise crash

    def _move_limit(self, seconds: float) -> None:
        self._until = self._loop.time() + seconds
        if self._limit is not None:
            with contextlib.suppress(RuntimeError):  # it has been reached before
                self._limit.reschedule(self._until)

    async def _hand_back(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._ledger.wait_idle()
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                await self._exchange.hand_back()
        except (DatabaseError, TimeoutError) as error:
            why = error.message if isinstance(error, DatabaseError) else "the database does not answer"
            logger.warning(
                "could not hand everything back; others get it when the lease runs out: %s", why, extra=self._extra
            )
        for step_slug in self.stuck:
            logger.warning(
                "a handler of step '%s' does not end and keeps the process alive", step_slug, extra=self._extra
            )


async def _to_its_end(coroutine: Coroutine[Any, Any, None]) -> None:
    """Await a short piece of work to its end even when we are cancelled meanwhile."""
    work = asyncio.ensure_future(coroutine)
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
