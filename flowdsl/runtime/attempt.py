"""Run one handler once: decode what it is given, enforce the timeout, encode what it returns, record how it failed.

Nothing a handler does may end the worker. Whatever it raises or returns becomes a result in the ledger; the task that runs
it never raises but for its own cancellation.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

from flowdsl.errors import InputError
from flowdsl.gateway.rows import AttemptFailure, ClaimedTask, Completed, Failed, Refusal, RefusalReason, TaskRef
from flowdsl.model.context import Cancellation
from flowdsl.model.options import error_name
from flowdsl.runtime.deadlines import Deadlines
from flowdsl.runtime.exits import enter_handler
from flowdsl.runtime.failures import failure_of, input_failure, stack_text, timeout_failure, where_of
from flowdsl.runtime.horizon import Horizon
from flowdsl.runtime.ledger import Ledger
from flowdsl.runtime.places import Elsewhere, Place
from flowdsl.types import RunId

logger = logging.getLogger(__name__)

_LOOP = Place.LOOP  # looked up for every task, which costs more in an enumeration
_CANCELLED = error_name(asyncio.CancelledError)

CLEANUP_SECONDS = 5.0
"""How long a cancelled handler may clean up before its attempt is reported without waiting for it."""

WHY_REFUSED: dict[RefusalReason, str] = {
    "run_ended": "its run has ended",
    "lease_lost": "its step has ended, or its lease was lost and the task is someone else's",
}


class Step(Protocol):
    """A handler with the codecs of what it takes and returns."""

    handler: Callable[..., Any]
    is_async: bool

    @property
    def place(self) -> Place | Elsewhere:
        """Where the handler runs."""
        ...

    def arguments(self, task: ClaimedTask, cancellation: Cancellation) -> tuple[Any, ...]:
        """Decode what the handler is called with; raises InputError. `cancellation` is for its context."""
        ...

    def encode(self, value: Any) -> bytes:
        """Encode what the handler returned as JSON the database can store; raises InputError."""
        ...


StepLookup: TypeAlias = Callable[[ClaimedTask], Step]
"""Finds the step a claimed task belongs to; raises LookupError."""


class Cancelled(Enum):
    """Why we cancelled an attempt."""

    TIMED_OUT = "timed out"
    RELEASED = "released"
    REVOKED = "revoked"
    """The task is not ours any more: nothing is recorded, handed in or given back."""


class Attempt:
    """One running attempt."""

    __slots__ = (
        *("abort", "cancellation", "cancelled", "due_at", "ref", "stack", "step", "stuck", "task", "thread_id", "work"),
    )

    def __init__(self, task: ClaimedTask, step: Step) -> None:
        self.task = task
        self.ref: TaskRef = task.ref
        self.step = step
        self.work: asyncio.Task[None] | None = None
        self.cancelled: Cancelled | None = None
        self.cancellation = Cancellation()
        self.thread_id: int | None = None
        self.abort: Callable[[], object] | None = None
        """Cancels the coroutine that runs in a thread; to be called in the worker's loop."""
        self.stuck = False
        self.stack = ""
        """Where the handler stood when a process was stopped."""
        self.due_at: float | None = None
        """When its time is up; None while it waits for its turn elsewhere."""

    @property
    def is_cancelled(self) -> bool:
        """Whether it was we who cancelled it."""
        return self.cancelled is not None

    @property
    def why_cancelled(self) -> str:
        """Why, in words that follow "was killed"."""
        if self.cancelled is Cancelled.TIMED_OUT:
            return f"at its timeout of {self.task.timeout} s"
        if self.cancelled is Cancelled.REVOKED:
            return "because its task is no longer this worker's"
        return "because the worker stops"


@dataclass(frozen=True, slots=True)
class _Raised:
    """An error on its way out of a thread; a future cannot carry each of them (StopIteration)."""

    error: BaseException


class Attempts:
    """Begins attempts in a task group, and ends them at their timeout or when the worker gives them up."""

    def __init__(
        self,
        ledger: Ledger[Attempt],
        find_step: StepLookup,
        executor: concurrent.futures.Executor,
        *,
        cleanup_seconds: float = CLEANUP_SECONDS,
        extra: dict[str, Any] | None = None,
        horizon: Horizon | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ledger = ledger
        self._find_step = find_step
        self._executor = executor
        self._cleanup_seconds = cleanup_seconds
        self._extra = extra or {}
        self._horizon = horizon or Horizon()
        self._deadlines: Deadlines[Attempt] = Deadlines(self._loop, self._time_out)

    def begin(self, group: asyncio.TaskGroup, task: ClaimedTask) -> None:
        """Start the attempt of a claimed task."""
        try:
            step = self._find_step(task)
        except LookupError as error:
            # The registration names our flows and their shapes, so this is a defect; still no reason to die.
            self._ledger.add(Failed(task.ref, failure_of(error)))
            return
        attempt = Attempt(task, step)
        self._ledger.begin(attempt)
        if isinstance(step.place, Place):
            attempt.due_at = due_at = self._deadlines.add(attempt, task.timeout)
            if due_at > self._horizon.told:
                self._horizon.reach(due_at)
        attempt.work = group.create_task(self._run(attempt))

    def cancel_all(self) -> None:
        """Give up all attempts: their tasks are released, unless a handler ends properly in spite of it."""
        for attempt in self._ledger.running:
            if attempt.cancelled is None:
                self._cancel(attempt, Cancelled.RELEASED)

    def revoke(self, lost: Iterable[Refusal]) -> None:
        """Give up attempts whose claims are not current any more; those that have ended are passed over."""
        reasons = {refusal.task: refusal.reason for refusal in lost}
        for attempt in self._ledger.running:
            if attempt.ref in reasons:
                self._revoke(attempt, reasons[attempt.ref])

    def revoke_runs(self, run_ids: Collection[RunId]) -> None:
        """Give up the attempts of runs that have ended."""
        for attempt in self._ledger.running:
            if attempt.task.run_id in run_ids:
                self._revoke(attempt, "run_ended")

    def latest_due_at(self) -> float | None:
        """When the last of the running attempts will have run out of time, in the loop's time; from any thread."""
        return max((attempt.due_at for attempt in self._ledger.running if attempt.due_at is not None), default=None)

    def close(self) -> None:
        """Stop the timers."""
        self._deadlines.close()

    def _began(self, attempt: Attempt) -> None:
        attempt.due_at = due_at = self._deadlines.add(attempt, attempt.task.timeout)
        if due_at > self._horizon.told:
            self._horizon.reach(due_at)

    async def _run(self, attempt: Attempt) -> None:
        step, place = attempt.step, attempt.step.place
        result: Completed | Failed | None
        enter_handler()
        if isinstance(place, Place):
            try:
                arguments = step.arguments(attempt.task, attempt.cancellation)
            except BaseException as error:  # validators are the users' code as well
                failure = input_failure(error) if isinstance(error, InputError) else failure_of(error)
                result = self._recorded(attempt, failure)
            else:
                try:
                    if place is _LOOP and step.is_async:
                        value = await step.handler(*arguments)
                    else:
                        value = await self._called(attempt, arguments)
                    if type(value) is _Raised:
                        result = self._failed(attempt, value.error)
                    else:
                        result = Completed(attempt.ref, step.encode(value))
                except BaseException as error:
                    if isinstance(error, GeneratorExit) and not self._loop.is_running():
                        raise  # thrown in by the end of the loop; there is nobody left to tell
                    result = self._failed(attempt, error)
        else:
            result = await self._elsewhere(attempt, place)
        if attempt.cancelled is not None and type(result) is Completed:
            result = self._in_time(attempt, result)
        if attempt.due_at is not None:
            self._deadlines.remove(attempt, attempt.task.timeout)
        self._end(attempt, result)

    async def _called(self, attempt: Attempt, arguments: tuple[Any, ...]) -> Any:
        step = attempt.step
        if step.place is _LOOP:
            value = step.handler(*arguments)
        else:
            value = await self._in_thread(attempt, arguments)
        if isinstance(value, Awaitable):  # an async function in a wrapper that does not look like one
            value = await value
        return value

    def _in_time(self, attempt: Attempt, result: Completed) -> Completed | Failed:
        if attempt.cancelled is Cancelled.TIMED_OUT and self._ledger.is_running(attempt):
            return self._timed_out(attempt, "")
        return result

    async def _elsewhere(self, attempt: Attempt, place: Elsewhere) -> Completed | Failed | None:
        try:
            outcome: object = await place.run(
                attempt, began=self._began, ended=self._thread_ended, cleanup_seconds=self._cleanup_seconds
            )
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not self._loop.is_running():
                raise
            return self._failed(attempt, error)
        if isinstance(outcome, bytes):
            return Completed(attempt.ref, outcome)
        if isinstance(outcome, AttemptFailure):
            return self._judged(attempt, outcome, outcome.traceback)
        return self._failed(
            attempt, TypeError(f"the executor returned {type(outcome).__name__}, not what it was given to call")
        )

    def _end(self, attempt: Attempt, result: Completed | Failed | None) -> None:
        if self._ledger.is_running(attempt):
            self._ledger.finish(attempt, result, stuck=attempt.stuck)
        elif not attempt.stuck:  # it was reported as overdue, or revoked; a thread tells its end by itself
            self._ledger.ended(attempt)
        if logger.isEnabledFor(logging.DEBUG):
            outcome = attempt.cancelled.value if result is None and attempt.cancelled else type(result).__name__.lower()
            logger.debug("attempt %s", outcome, extra=self._fields(attempt.task))

    def _failed(self, attempt: Attempt, error: BaseException) -> Failed | None:
        where = where_of(error) if attempt.cancelled is Cancelled.TIMED_OUT else ""
        return self._judged(attempt, failure_of(error), where)

    def _judged(self, attempt: Attempt, failure: AttemptFailure, where: str) -> Failed | None:
        if not self._ledger.is_running(attempt):
            return None
        if attempt.cancelled is Cancelled.TIMED_OUT:
            return self._timed_out(attempt, where)
        if attempt.cancelled is Cancelled.RELEASED:
            if failure.error_class != _CANCELLED:
                logger.warning(
                    "step '%s' raised an error when it was cancelled; its task is released all the same: %s: %s",
                    attempt.task.step_slug,
                    failure.error_class,
                    failure.message,
                    extra=self._fields(attempt.task),
                )
            return None
        return self._recorded(attempt, failure)

    def _timed_out(self, attempt: Attempt, where: str) -> Failed:
        stack = self._thread_stack(attempt) or attempt.stack or where
        return self._recorded(attempt, timeout_failure(attempt.task.step_slug, attempt.task.timeout, stack))

    def _recorded(self, attempt: Attempt, failure: AttemptFailure) -> Failed:
        task = attempt.task
        last = task.attempt >= task.max_attempts or not failure.retryable
        logger.log(
            logging.WARNING if last else logging.INFO,
            "attempt %d of %d of step '%s' failed: %s: %s",
            task.attempt,
            task.max_attempts,
            task.step_slug,
            failure.error_class,
            failure.message,
            extra=self._fields(task),
        )
        return Failed(attempt.ref, failure)

    def _fields(self, task: ClaimedTask) -> dict[str, Any]:
        return task_fields(task, self._extra)

    # -- cancellation

    def _cancel(self, attempt: Attempt, why: Cancelled) -> None:
        attempt.cancelled = why
        attempt.cancellation.requested = True
        if attempt.work is not None:
            attempt.work.cancel()

    def _time_out(self, attempt: Attempt) -> None:
        if attempt.cancelled is None:
            self._cancel(attempt, Cancelled.TIMED_OUT)
            self._loop.call_later(self._cleanup_seconds, self._report_overdue, attempt)

    def _revoke(self, attempt: Attempt, reason: RefusalReason) -> None:
        was_cancelled, work = attempt.cancelled is not None, attempt.work
        logger.info(
            "an attempt of step '%s' is cancelled: %s", attempt.task.step_slug, WHY_REFUSED[reason],
            extra=self._fields(attempt.task) | {"reason": reason},
        )  # fmt: skip
        self._ledger.renounce(attempt)
        if was_cancelled or work is None:
            attempt.cancelled = Cancelled.REVOKED  # once is enough: a second time would disturb its cleaning up
            return
        self._cancel(attempt, Cancelled.REVOKED)
        # A task that is cancelled before its first step never comes to its end by itself.
        work.add_done_callback(lambda _: None if attempt.stuck else self._ledger.ended(attempt))
        self._loop.call_later(self._cleanup_seconds, self._report_overdue, attempt)

    def _report_overdue(self, attempt: Attempt) -> None:
        running = self._ledger.is_running(attempt)
        if not running and (attempt.work is None or attempt.work.done()):
            return
        logger.warning(
            "step '%s' ignores its cancellation and keeps a slot",
            attempt.task.step_slug,
            extra=self._fields(attempt.task),
        )
        if running:
            self._ledger.finish(attempt, self._timed_out(attempt, ""), stuck=True)

    # -- threads

    async def _in_thread(self, attempt: Attempt, arguments: tuple[Any, ...]) -> Any:
        call = contextvars.copy_context().run
        function = _call_async if attempt.step.is_async else _call
        future = self._executor.submit(call, function, attempt, attempt.step.handler, arguments)
        try:
            if attempt.step.is_async:
                return await self._until_aborted(attempt, future)
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            # A thread cannot be stopped: until it ends by itself it keeps its slot.
            if not future.cancel() and not future.done():
                attempt.stuck = True
                future.add_done_callback(lambda _: self._thread_ended(attempt))
            raise

    async def _until_aborted(self, attempt: Attempt, future: "concurrent.futures.Future[Any]") -> Any:
        ending = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(ending)
        except asyncio.CancelledError:
            if future.cancel():
                raise
            # A coroutine can be stopped in a thread, too; how long it takes is watched as in the worker's own loop.
            if attempt.abort is not None:
                attempt.abort()
            return await ending

    def _thread_ended(self, attempt: Attempt) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ledger.ended, attempt)
        except RuntimeError:  # the loop is closed: nobody counts slots any more
            return

    def _thread_stack(self, attempt: Attempt) -> str:
        if not attempt.stuck or attempt.thread_id is None:
            return ""
        return stack_text(sys._current_frames().get(attempt.thread_id))  # noqa: SLF001 - the documented way to see a thread's stack


def task_fields(task: ClaimedTask, extra: dict[str, Any]) -> dict[str, Any]:
    """Return the keys every log record about a task carries."""
    return {
        **extra,
        "run_id": str(task.run_id),
        "flow_slug": task.flow_slug,
        "step_slug": task.step_slug,
        "task_index": task.task_index,
        "attempt": task.attempt,
    }


def _call_async(attempt: Attempt, handler: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    attempt.thread_id = threading.get_ident()
    try:
        return asyncio.run(_abortable(attempt, handler(*arguments)))
    except BaseException as error:
        return _Raised(error)


async def _abortable(attempt: Attempt, value: Awaitable[Any]) -> Any:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"  # noqa: S101 - a defect of ours, not an input

    def abort() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
            loop.call_soon_threadsafe(task.cancel)

    attempt.abort = abort
    if attempt.cancellation.requested:
        task.cancel()
    return await value


def _call(attempt: Attempt, handler: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    attempt.thread_id = threading.get_ident()
    try:
        return handler(*arguments)
    except BaseException as error:
        return _Raised(error)
