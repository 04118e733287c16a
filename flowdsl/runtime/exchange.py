"""The worker's one conversation with the database: hand in what is finished, receive what is next.

Both happen in a single call and a single commit on a single connection. While a call is under way the handlers go on, so
with more concurrency than batch the database and the handlers work at the same time. Every result is handed in until the
database has answered for it; handing in twice is harmless, because each result names the fence of its claim.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from flowdsl.errors import CoreNotInstalled, DatabaseError, DatabaseUnavailable, WorkerNotFound, WorkerStopped
from flowdsl.gateway import calls
from flowdsl.gateway.connections import Connection
from flowdsl.gateway.rows import ClaimedTask, Completed, Failed, Refusal, TaskRef
from flowdsl.runtime.attempt import WHY_REFUSED, Attempt, Attempts
from flowdsl.runtime.backoff import Backoff, jittered
from flowdsl.runtime.connection import Link
from flowdsl.runtime.failures import rejection
from flowdsl.runtime.ledger import Handing, Ledger
from flowdsl.runtime.options import WorkerOptions
from flowdsl.runtime.registration import Registration

logger = logging.getLogger(__name__)

HAND_IN_BYTES = 8 * 1024 * 1024
"""A call carries not many more bytes of outputs than this, unless a single output is larger."""
# Each call's bytes exist three times for a moment, once in a buffer of the connection that never shrinks. With 32 MB a worker
# that hands in 90 outputs of 1 MB grows to 169 MB instead of 120, and is no faster (13 s instead of 11).

# After a claim that brought something the next one comes soon: only a claim that finds nothing asks for notifications.
_FIRST_POLL_SECONDS = 0.005
_STRAYS_SECONDS_MAX = 30.0
# A batch that is refused so often in a row for another reason (a statement timeout, say) is split as well.
_TROUBLES_MAX = 3
# A single result that is refused so often for another reason becomes a failed attempt, if the database takes that.
_REFUSALS_MAX = 3
# Errors that say nothing about the results of a call: a standby (read_only_sql_transaction), or a core or worker that is gone.
_READ_ONLY = "25006"
_NOT_THE_RESULTS = (CoreNotInstalled, WorkerNotFound, WorkerStopped)
# SQLSTATE classes of errors that lie in the data of a call: bad values, constraints, limits (jsonb too deep or too
# large), the core's refusals, and internal errors, which is how PostgreSQL reports an allocation beyond 1 GB.
# Not 0A, feature_not_supported: that is a statement prepared before a migration changed what its function returns.
_DATA_ERRORS = ("22", "23", "54", "P0", "PF", "XX")


def lies_in_the_data(error: Exception) -> bool:
    """Tell whether an error of a call was probably caused by one of the results it carried."""
    if isinstance(error, (DatabaseUnavailable, *_NOT_THE_RESULTS)):
        return False
    if isinstance(error, DatabaseError):
        return error.sqlstate is None or error.sqlstate.startswith(_DATA_ERRORS)
    return True


def _may_be_the_results(error: Exception) -> bool:
    return not isinstance(error, _NOT_THE_RESULTS) and not (
        isinstance(error, DatabaseError) and error.sqlstate == _READ_ONLY
    )


def _is_lost(error: Exception) -> bool:
    return isinstance(error, DatabaseUnavailable) and (error.sqlstate is None or error.sqlstate.startswith("57P"))


class Exchange:
    """Hands in and claims, until the ledger is drained."""

    def __init__(
        self,
        link: Link,
        registration: Registration,
        ledger: Ledger[Attempt],
        attempts: Attempts,
        options: WorkerOptions,
    ) -> None:
        self._link = link
        self._registration = registration
        self._ledger = ledger
        self._attempts = attempts
        self._options = options
        self._log_fields = registration.log_fields
        self._loop = asyncio.get_running_loop()
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._poll = Backoff(base=min(_FIRST_POLL_SECONDS, options.poll_seconds), cap=options.poll_seconds)
        self._strays_seconds = min(options.lease_seconds, _STRAYS_SECONDS_MAX)
        self._strays_due_at = self._loop.time() + self._strays_seconds
        self._troubles = 0
        self._refusals: Counter[TaskRef] = Counter()
        self._narrow = False

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Converse until the ledger is drained; attempts begin in `group`."""
        self._ledger.ask()
        while True:
            await self._ledger.wait()
            if self._ledger.drained:
                return
            try:
                await self._converse(group)
            except DatabaseUnavailable as error:
                await self._link.drop(error)
                # The reply we did not get may have brought tasks nobody here knows of.
                self._strays_due_at = 0.0
                self._ledger.insist()
                await self._try_later(self._link.backoff.next())
            except (WorkerNotFound, WorkerStopped):
                self._registration.lose(self._registration.worker_id)
                await self._try_later(self._link.backoff.next())
            except DatabaseError as error:
                await self._link.suspect(error)
                logger.error("the database refused: %s", error.message, extra=self._log_fields)  # noqa: TRY400 - no defect of ours to trace
                await self._try_later(self._link.backoff.next())
            else:
                self._troubles = 0
                self._refusals.clear()
                self._link.worked()

    async def hand_back(self) -> None:
        """Hand in every result and release every task that has none: the last words of a worker.

        Raises:
            DatabaseError: the tasks stay ours until the lease runs out.
        """
        self._ledger.restore()
        self._ledger.drain()
        # No time for several tries: one result must not keep the others from being handed in.
        self._troubles = _TROUBLES_MAX
        while self._ledger.has_results:
            await self._hand_in_and_claim(await self._link.open())
        conn = await self._link.open()
        released = self._ledger.abandoned()
        if released:
            refused = await calls.release_tasks(conn, released)
            logger.info("released %d unfinished tasks", len(released) - len(refused), extra=self._log_fields)
        await calls.release_strays(conn, self._registration.worker_id, [])
        await calls.mark_worker_stopped(conn, self._registration.worker_id)

    async def _try_later(self, seconds: float) -> None:
        self._ledger.restore()
        self._ledger.ask()
        await self._ledger.pause(seconds)

    async def _converse(self, group: asyncio.TaskGroup) -> None:
        conn = await self._link.open()
        if self._registration.is_lost and not self._ledger.draining:
            await self._registration.renew(conn)
        if self._loop.time() >= self._strays_due_at:
            await self._release_strays(conn)
        claimed, wanted = await self._hand_in_and_claim(conn)
        for task in claimed:
            self._attempts.begin(group, task)
        if wanted:
            self._ask_again(len(claimed), wanted)

    def _ask_again(self, claimed: int, wanted: int) -> None:
        if claimed:
            self._poll.reset()
        if claimed == wanted:
            self._ledger.ask()
        else:
            self._ledger.ask_after(self._poll.next())

    async def _release_strays(self, conn: Connection) -> None:
        count = await calls.release_strays(conn, self._registration.worker_id, self._ledger.fences())
        self._strays_due_at = self._loop.time() + jittered(self._strays_seconds, self._random.random())
        if count:
            logger.info("released %d claimed tasks that never reached us", count, extra=self._log_fields)

    async def _hand_in_and_claim(self, conn: Connection) -> tuple[list[ClaimedTask], int]:
        """Return the claimed tasks, and how many were wanted."""
        handing = self._ledger.take(HAND_IN_BYTES)
        wanted = min(self._ledger.wanted, 1) if self._narrow else self._ledger.wanted
        try:
            if handing.failed:
                self._report(await calls.fail_tasks(conn, handing.failed))
                handing.failed = []
            claimed: list[ClaimedTask] = []
            refusals: list[Refusal] = []
            if wanted:
                worker_id = self._registration.worker_id
                claimed, refusals = await calls.complete_and_claim_tasks(conn, worker_id, wanted, handing.completed)
            elif handing.completed:
                refusals = await calls.complete_tasks(conn, handing.completed)
        except Exception as error:
            if not (handing.completed or handing.failed):
                self._doubt_the_claim(error)
                raise
            self._troubles += 1
            if not self._worth_isolating(error):
                raise
            if isinstance(error, DatabaseUnavailable):
                await self._link.drop(error)
            await self._hand_in_one_by_one(handing)
            return [], wanted
        if wanted:
            self._narrow = False
        self._ledger.settle()
        self._report(refusals)
        return claimed, wanted

    # -- a batch the database does not take

    def _doubt_the_claim(self, error: Exception) -> None:
        """Claim one task at a time when a larger claim may be what the database cannot do."""
        if lies_in_the_data(error) and not self._narrow:
            self._narrow = True
            logger.warning("a claim failed; claiming one task at a time until one succeeds", extra=self._log_fields)

    def _worth_isolating(self, error: Exception) -> bool:
        return lies_in_the_data(error) or (self._troubles >= _TROUBLES_MAX and _may_be_the_results(error))

    async def _hand_in_one_by_one(self, handing: Handing) -> None:
        """Find the result that spoils a batch: it becomes a failed attempt, the others are taken.

        Raises:
            DatabaseError: the last of those for which results are still to be handed in.
        """
        refused: DatabaseError | None = None
        results: list[Completed | Failed] = [*handing.failed, *handing.completed]
        for result in results:
            # A database that has just answered is there, so what fails next may be laid at the result's door.
            conn = await self._link.answering()
            try:
                await self._hand_in_alone(conn, result, handing)
            except DatabaseError as error:
                if not _may_be_the_results(error):
                    raise
                refused = error
                if isinstance(error, DatabaseUnavailable):
                    await self._link.drop(error)
            else:
                handing.remove(result)
        if refused is not None:
            raise refused
        self._ledger.settle()
        self._ledger.ask()

    async def _hand_in_alone(self, conn: Connection, result: Completed | Failed, handing: Handing) -> None:
        if isinstance(result, Failed):
            await self._fail_one(conn, result)
            return
        try:
            self._report(await calls.complete_tasks(conn, [result]))
        except Exception as error:
            if not lies_in_the_data(error):
                self._refusals[result.task] += _may_be_the_results(error)
                if self._refusals[result.task] < _REFUSALS_MAX:
                    raise
            logger.warning(
                "the database refused an output of step '%s': %s",
                result.task.step_slug,
                error,
                extra=self._fields(result),
            )
            instead = Failed(result.task, rejection(error, "the database cannot store the output"))
            if _is_lost(error):
                # It may have brought the server down. Once that is back it is not to be tried again.
                handing.remove(result)
                handing.failed.append(instead)
                raise
            # If this is refused too, then it is not the output, and the result stays as it is.
            await self._fail_one(conn, instead)

    async def _fail_one(self, conn: Connection, failed: Failed) -> None:
        try:
            self._report(await calls.fail_tasks(conn, [failed]))
        except Exception as error:
            if not lies_in_the_data(error):
                raise
            logger.exception("the database refused the record of a failed attempt", extra=self._fields(failed))
            plain = Failed(failed.task, rejection(error, "the database cannot store how the attempt failed"))
            try:
                self._report(await calls.fail_tasks(conn, [plain]))
            except DatabaseError as again:
                if not lies_in_the_data(again):
                    raise
                logger.exception("the task is released instead", extra=self._fields(failed))
                await calls.release_tasks(conn, [failed.task])

    # -- what is said about it

    def _report(self, refusals: Sequence[Refusal]) -> None:
        # Told before anything claimed in the same call begins: those may be new attempts of a run that was taken up again.
        ended = {refusal.task.run_id for refusal in refusals if refusal.reason == "run_ended"}
        if ended:
            self._attempts.revoke_runs(ended)
        # A lost lease cannot be told from a step that was skipped, which is no trouble: one warning a batch has to do.
        first_lost = next((refusal for refusal in refusals if refusal.reason == "lease_lost"), None)
        for refusal in refusals:
            task = refusal.task
            logger.log(
                logging.WARNING if refusal is first_lost else logging.INFO,
                "result of step '%s' was not taken: %s", task.step_slug, WHY_REFUSED[refusal.reason],
                extra={
                    **self._log_fields, "run_id": str(task.run_id), "step_slug": task.step_slug, "task_index": task.task_index,
                    "fence": task.fence, "reason": refusal.reason,
                },
            )  # fmt: skip

    def _fields(self, result: Completed | Failed) -> dict[str, Any]:
        task = result.task
        return {
            **self._log_fields,
            "run_id": str(task.run_id),
            "step_slug": task.step_slug,
            "task_index": task.task_index,
            "fence": task.fence,
        }
