"""A handle on one run: wait for its result, read the outputs of its steps, see where it stands, cancel or retry it."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar, overload
from uuid import UUID

from flowdsl.client.detail import RunDetail, run_detail
from flowdsl.client.session import TRIES, Work
from flowdsl.client.watcher import Watcher
from flowdsl.errors import DatabaseUnavailable, OutputUnavailable, ResultTimeout, RunCancelled, RunFailed, RunNotFound
from flowdsl.gateway import calls
from flowdsl.gateway.connections import Connection
from flowdsl.gateway.rows import Explanation, RunOutcome
from flowdsl.model.codec import decode_output, decode_step_output
from flowdsl.model.refs import Ref
from flowdsl.model.startable import Startable
from flowdsl.types import RunId, RunStatus, StepStatus

T = TypeVar("T")
R = TypeVar("R")
Out_co = TypeVar("Out_co", covariant=True)

FIRST_POLL_SECONDS = 0.05
LAST_POLL_SECONDS = 1.0
OUTAGE_SECONDS = 60.0
"""How long waiting for a result puts up with a database that is away."""


class Access(Protocol):
    """What a run needs of its client."""

    async def do(self, work: Work[T], connection: Connection | None = None, *, tries: int = TRIES) -> T:
        """Do a piece of work on a connection, and on another one if that breaks."""
        ...

    def watcher(self) -> Watcher:
        """Return the listener all runs share."""
        ...


class Run(Generic[Out_co]):
    """One run of a flow whose output is of type `Out`. A handle holds no connection and may be kept for ever.

    Every method takes the caller's own psycopg connection and then neither commits nor rolls back on it.
    """

    def __init__(self, access: Access, flow: Startable[Any, Out_co], run_id: RunId) -> None:
        self._access = access
        self._flow = flow
        self._run_id = run_id

    def __repr__(self) -> str:
        return f"<Run {self._run_id} of {self._flow.slug}>"

    @property
    def run_id(self) -> RunId:
        """The id under which the database knows the run."""
        return self._run_id

    @property
    def flow(self) -> Startable[Any, Out_co]:
        """The flow it is a run of."""
        return self._flow

    async def result(
        self,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - the word users of concurrent.futures know
        *,
        connection: Connection | None = None,
    ) -> Out_co:
        """Wait until the run has ended and return its output.

        Args:
            timeout: seconds to wait; None waits for as long as it takes. The run itself goes on regardless.
            connection: look on this connection only. In a transaction that shows one snapshot (repeatable read), or that
                started the run itself, the end of the run never shows.

        Raises:
            RunFailed: with step, attempt, error class, message and traceback of what brought it down; a run that exceeded
                its deadline has the error class `DeadlineExceeded`, and no step.
            RunCancelled: with the reason that was given.
            ResultTimeout, RunNotFound.
            InputError: the output is not of the flow's output type; it may come from another version of the flow.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        if seconds is not None and seconds <= 0:
            outcome = await self._access.do(self._outcome, connection)
        else:
            outcome = await self._awaited(seconds, connection)
        if outcome.status is RunStatus.STARTED:
            raise ResultTimeout(self._run_id, seconds or 0.0)
        return self._output_of(outcome)

    @overload
    async def output(
        self, handler: Callable[..., Coroutine[Any, Any, R]], *, connection: Connection | None = None
    ) -> R: ...
    @overload
    async def output(self, handler: Callable[..., R], *, connection: Connection | None = None) -> R: ...
    async def output(self, handler: Callable[..., Any], *, connection: Connection | None = None) -> Any:
        """Return the output of a step that has completed; the results of a map step are asked for by `collect(handler)`.

        Asked for by `maybe(handler)`, the output of a skipped step is None.

        Raises:
            OutputUnavailable: the step is not done, or it failed, was skipped or cancelled; `status` says which.
            DefinitionError: the flow has no such step, or `collect` is missing or too much.
            RunNotFound, StepNotFound.
        """
        step = self._flow.step_read_by(handler)
        status, output = await self._access.do(
            lambda conn: calls.step_output(conn, self._run_id, step.slug), connection
        )
        if status is StepStatus.SKIPPED and isinstance(handler, Ref) and handler.is_maybe:
            return None
        if status is not StepStatus.COMPLETED:
            raise OutputUnavailable(self._run_id, step.slug, status.value)
        return decode_step_output(step, b"null" if output is None else output)

    async def status(self, *, connection: Connection | None = None) -> RunDetail:
        """Return where the run and each of its steps stand.

        Raises:
            RunNotFound.
        """
        described = await self._access.do(
            lambda conn: calls.describe_run(conn, self._run_id, 0, with_values=False), connection
        )
        return run_detail(described)

    async def explain(self, *, max_tasks: int = 1000, connection: Connection | None = None) -> tuple[Explanation, ...]:
        """Return what each open step of the run and each of its open tasks wait for, in the order of the flow's definition.

        When the run has ended, one item says so. Of many tasks only the first `max_tasks` have an item of their own; those of
        the steps count them all.

        Raises:
            RunNotFound.
        """
        return tuple(await self._access.do(lambda conn: calls.explain_run(conn, self._run_id, max_tasks), connection))

    # -- steering

    async def cancel(self, reason: str | None = None, *, connection: Connection | None = None) -> RunStatus:
        """Cancel the run: nothing of it is started any more, and handlers that run are cancelled by their workers soon.

        Return what has become of the run: CANCELLED, or how it had ended before; that stays as it is.

        Raises:
            RunNotFound.
        """
        head = await self._access.do(lambda conn: calls.cancel_run(conn, self._run_id, reason), connection)
        return head.status

    async def retry(
        self, *, from_step: Callable[..., Any] | str | None = None, connection: Connection | None = None
    ) -> None:
        """Let the run go on after its end, under the same id and on the version it began with.

        Args:
            from_step: a handler (or a step's slug): run that step and all that depends on it again, whatever became of
                them; this is the way to run parts of a completed run again. Without it, what failed or was cancelled is tried
                again, with all attempts anew. Either way, other steps that are completed or skipped stay so.

        Raises:
            RunNotRetryable: it has not ended, or it has completed and no step is named.
            RunNotFound, StepNotFound.
            DefinitionError: the flow has no step of that handler.
            DatabaseUnavailable: it may or may not go on; look at `status` before trying again.
        """
        slug = from_step if from_step is None or isinstance(from_step, str) else self._flow.step_for(from_step).slug
        # Not repeated when the connection breaks: the second call would be refused, or retry what the first one led to.
        await self._access.do(lambda conn: calls.retry_run(conn, self._run_id, slug), connection, tries=1)

    # -- waiting

    async def _outcome(self, connection: Connection) -> RunOutcome:
        return await calls.run_outcome(connection, self._run_id)

    async def _awaited(self, seconds: float | None, connection: Connection | None) -> RunOutcome:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await (self._watched() if connection is None else self._polled(connection))
        except TimeoutError:
            if seconds is None or not limit.expired():
                raise
            raise ResultTimeout(self._run_id, seconds) from None

    async def _polled(self, connection: Connection) -> RunOutcome:
        pause = FIRST_POLL_SECONDS
        while True:
            outcome = await self._outcome(connection)
            if outcome.status is not RunStatus.STARTED:
                return outcome
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_POLL_SECONDS)

    async def _watched(self) -> RunOutcome:
        with self._access.watcher().waiting_for(self._run_id) as changed:
            status = await self._access.do(lambda conn: calls.watch_run(conn, self._run_id))
            pause, reached_at = FIRST_POLL_SECONDS, time.monotonic()
            while True:
                if status is RunStatus.STARTED:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await changed.wait()
                    pause = min(pause * 2, LAST_POLL_SECONDS)
                changed.clear()
                try:
                    outcome = await self._access.do(self._outcome)
                except DatabaseUnavailable:
                    if time.monotonic() - reached_at > OUTAGE_SECONDS:
                        raise
                    status = RunStatus.STARTED
                else:
                    reached_at, status = time.monotonic(), outcome.status
                    if status is not RunStatus.STARTED:
                        return outcome

    def _output_of(self, outcome: RunOutcome) -> Out_co:
        if outcome.flow_slug != self._flow.slug:
            raise RunNotFound(f"run {self._run_id} is of flow '{outcome.flow_slug}', not of '{self._flow.slug}'")
        if outcome.status is RunStatus.CANCELLED:
            raise RunCancelled(self._run_id, outcome.flow_slug, outcome.reason)
        if outcome.status is RunStatus.FAILED:
            raise run_failed(self._run_id, outcome)
        return decode_output(self._flow, b"null" if outcome.output is None else outcome.output)


def run_failed(run_id: UUID, outcome: RunOutcome) -> RunFailed:
    """Return the error that tells what brought a run down."""
    failure = outcome.failure
    if failure is None:
        return RunFailed(run_id, outcome.flow_slug)
    return RunFailed(
        run_id,
        outcome.flow_slug,
        failure.step_slug,
        failure.task_index,
        failure.attempt,
        failure.error_class,
        failure.error_message,
        failure.traceback,
    )
