"""Handlers that run beyond the worker's memory: in a child process, or where somebody's executor takes them."""

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable, Mapping
from typing import Any

from flowdsl.gateway.rows import ClaimedTask
from flowdsl.model.context import Cancellation
from flowdsl.runtime.places import Going
from flowdsl.runtime.pool import ProcessPool
from flowdsl.runtime.remote import Outcome, RemoteCall
from flowdsl.runtime.steps import context_of

logger = logging.getLogger(__name__)

_STACK_SECONDS = 0.25
"""How long a process may take to say where its handler stands, before it is killed."""


class ExecutorCancelledError(RuntimeError):
    """An executor gave up a call without being asked to."""


class InChild:
    """In a child process of the pool. What does not end in time is killed."""

    def __init__(self, pool: ProcessPool, index: int, *, hears: bool) -> None:
        self._pool = pool
        self._index = index
        self._hears = hears
        """Whether the handler can notice its cancellation, so that waiting for it makes sense."""

    async def run(
        self, attempt: Going, *, began: Callable[[Any], None], ended: Callable[[Any], None], cleanup_seconds: float
    ) -> Outcome:
        """Wait for an idle child, and have the handler run there."""
        task = attempt.task
        async with self._pool.lent() as child:
            # Waiting for a child is not the handler's time.
            began(attempt)
            try:
                return await child.call(self._index, task.input, task.element, context_of(task, Cancellation()))
            except asyncio.CancelledError:
                # Before the worker reports the attempt as overdue.
                grace = cleanup_seconds * 0.8 if self._hears else 0.0
                outcome, attempt.stack = await child.stop(grace_seconds=grace, stack_seconds=_STACK_SECONDS)
                if outcome is None:
                    logger.info(
                        "the handler of step '%s' was killed %s, with its process %d", task.step_slug,
                        attempt.why_cancelled, child.pid,
                        extra={"run_id": str(task.run_id), "step_slug": task.step_slug},
                    )  # fmt: skip
                    raise
                return outcome


class Submitted:
    """Wherever an executor takes it that the user gave us."""

    def __init__(self, executor: concurrent.futures.Executor, call: RemoteCall, extra: Mapping[str, Any]) -> None:
        self._executor = executor
        self._call = call
        self._extra = extra

    async def run(
        self, attempt: Going, *, began: Callable[[Any], None], ended: Callable[[Any], None], cleanup_seconds: float
    ) -> Outcome:
        """Submit the call, and wait for its future."""
        task = attempt.task
        began(attempt)
        context = context_of(task, attempt.cancellation)
        try:
            future = self._executor.submit(self._call, task.input, task.element, context)
        except concurrent.futures.BrokenExecutor as error:
            self._broken(task, error)
            raise
        try:
            return await asyncio.wrap_future(future)
        except concurrent.futures.BrokenExecutor as error:
            self._broken(task, error)
            raise
        except asyncio.CancelledError:
            if not attempt.is_cancelled and future.cancelled():
                raise ExecutorCancelledError(f"{type(self._executor).__name__} cancelled the call") from None
            if not future.cancel() and not future.done():
                attempt.stuck = True
                future.add_done_callback(lambda _: ended(attempt))
            raise

    def _broken(self, task: ClaimedTask, error: BaseException) -> None:
        logger.error(
            "the executor of step '%s' is broken, and not ours to mend: %s: %s", task.step_slug, type(error).__name__,
            error, extra=dict(self._extra),
        )  # fmt: skip
