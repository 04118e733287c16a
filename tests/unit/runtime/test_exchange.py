"""The exchange against scripted answers: what it does when the database refuses, vanishes or forgets the worker."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

import pytest

from flowdsl.errors import (
    CoreNotInstalled,
    DatabaseError,
    DatabaseUnavailable,
    FlowError,
    InvalidInput,
    WorkerNotFound,
)
from flowdsl.gateway.rows import ClaimedTask, Completed, Failed, Refusal, TaskRef
from flowdsl.model.context import Cancellation
from flowdsl.runtime import exchange as exchange_module
from flowdsl.runtime.attempt import Attempt, Attempts
from flowdsl.runtime.exchange import Exchange, lies_in_the_data
from flowdsl.runtime.ledger import Ledger
from flowdsl.runtime.options import WorkerOptions
from flowdsl.runtime.places import Place
from flowdsl.runtime.registration import Registration
from flowdsl.types import FlowSlug, RunId, StepSlug
from tests.conftest import Run

Trouble = Callable[[str, Any], Exception | None]


def claimed(number: int) -> ClaimedTask:
    return ClaimedTask(
        FlowSlug("flow"), 1, RunId(UUID(int=number)), StepSlug("step"), 0, 1, 3, number, 60, b"%d" % number, None
    )


class Script:
    """Stands for `gateway.calls`: notes every call, and raises what `trouble` says about it."""

    def __init__(self, tasks: Sequence[ClaimedTask], trouble: Trouble) -> None:
        self.tasks = list(tasks)
        self.trouble = trouble
        self.log: list[tuple[str, Any]] = []
        self.completed: list[int] = []
        self.failed: dict[int, str] = {}
        self.released: list[int] = []
        self.done = asyncio.Event()
        self.expected = len(tasks)

    def _note(self, name: str, about: Any) -> None:
        error = self.trouble(name, about)
        self.log.append((name, about))
        if error is not None:
            raise error

    def _took(self) -> None:
        if len(self.completed) + len(self.failed) + len(self.released) >= self.expected:
            self.done.set()

    def names(self) -> list[str]:
        return [name for name, _ in self.log]

    async def complete_tasks(self, conn: Any, results: Sequence[Completed]) -> list[Refusal]:
        self._note("complete", [result.task.fence for result in results])
        self.completed += [result.task.fence for result in results]
        self._took()
        return []

    async def complete_and_claim_tasks(
        self, conn: Any, worker_id: UUID, wanted: int, results: Sequence[Completed]
    ) -> tuple[list[ClaimedTask], list[Refusal]]:
        self._note("exchange", [result.task.fence for result in results])
        self.completed += [result.task.fence for result in results]
        self._took()
        given, self.tasks = self.tasks[:wanted], self.tasks[wanted:]
        return given, []

    async def fail_tasks(self, conn: Any, failures: Sequence[Failed]) -> list[Refusal]:
        self._note("fail", [failure.task.fence for failure in failures])
        self.failed |= {failure.task.fence: failure.error.message for failure in failures}
        self._took()
        return []

    async def release_tasks(self, conn: Any, tasks: Sequence[TaskRef]) -> list[Refusal]:
        self._note("release", [task.fence for task in tasks])
        self.released += [task.fence for task in tasks]
        self._took()
        return []

    async def release_strays(self, conn: Any, worker_id: UUID, fences: Sequence[int]) -> int:
        self._note("strays", list(fences))
        return 0

    async def mark_worker_stopped(self, conn: Any, worker_id: UUID) -> None:
        self._note("stopped", worker_id)

    async def register_worker(self, conn: Any, worker_id: UUID, *rest: Any) -> None:
        self._note("register", worker_id)


class FakeLink:
    """A connection that can always be opened."""

    def __init__(self) -> None:
        self.drops = 0
        self.backoff = NoBackoff()

    async def open(self) -> Any:
        return object()

    async def answering(self) -> Any:
        return object()

    async def drop(self, error: DatabaseError) -> None:
        self.drops += 1

    async def suspect(self, error: DatabaseError) -> None:
        return None

    def worked(self) -> None:
        return None


class NoBackoff:
    def next(self) -> float:
        return 0.0


async def handler(number: int) -> bytes:
    if number == 13:
        raise ValueError("thirteen")
    return b"%d" % number


class Step:
    def __init__(self) -> None:
        self.is_async = True
        self.place = Place.LOOP
        self.handler: Callable[..., Any] = handler

    def arguments(self, task: ClaimedTask, cancellation: Cancellation) -> tuple[Any, ...]:
        return (int(task.input),)

    def encode(self, value: Any) -> bytes:
        return bytes(value)


async def converse(
    monkeypatch: pytest.MonkeyPatch,
    numbers: Sequence[int],
    trouble: Trouble,
    *,
    tasks: Sequence[ClaimedTask] | None = None,
    **options: Any,
) -> tuple[Script, FakeLink, Registration]:
    """Let the exchange run until every task has its answer, then drain and hand back."""
    script = Script([claimed(number) for number in numbers], trouble)
    script.tasks = script.tasks if tasks is None else list(tasks)
    monkeypatch.setattr(exchange_module, "calls", script)
    monkeypatch.setattr("flowdsl.runtime.registration.calls", script)
    chosen = WorkerOptions(**options)
    link, registration = FakeLink(), Registration([("flow", "x")], queues=None, name="", lease_seconds=30)
    ledger: Ledger[Attempt] = Ledger(
        asyncio.get_running_loop(), concurrency=chosen.concurrency, batch=chosen.batch, linger=0.001
    )
    attempts = Attempts(ledger, lambda _: Step(), concurrent.futures.ThreadPoolExecutor(1))
    exchange = Exchange(link, registration, ledger, attempts, chosen)  # type: ignore[arg-type] # a fake of Link
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(exchange.run(group))
        await script.done.wait()
        ledger.drain()
        await running
    await exchange.hand_back()
    attempts.close()
    ledger.close()
    return script, link, registration


def no_trouble(name: str, about: Any) -> Exception | None:
    return None


def once(name: str, error: Exception) -> Trouble:
    """Trouble the first time that call carries results (or, for other calls, is made)."""
    pending = [error]

    def trouble(called: str, about: Any) -> Exception | None:
        return pending.pop() if pending and called == name and about else None

    return trouble


def scenario(
    run: Run, work: Coroutine[Any, Any, tuple[Script, FakeLink, Registration]]
) -> tuple[Script, FakeLink, Registration]:
    return run(work, 20)


def test_everything_is_claimed_handed_in_and_ended_in_order(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    script, _, registration = scenario(run, converse(monkeypatch, [1, 2, 13, 4], no_trouble, batch=2))
    assert sorted(script.completed) == [1, 2, 4]
    assert script.failed == {13: "thirteen"}
    assert script.log[-2:] == [("strays", []), ("stopped", registration.worker_id)]
    assert "release" not in script.names()


def test_a_statement_that_a_migration_made_stale_is_no_fault_of_the_results(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = DatabaseError("cached plan must not change result type", sqlstate="0A000")
    script, _, _ = scenario(run, converse(monkeypatch, [1, 2], once("exchange", stale)))
    assert sorted(script.completed) == [1, 2]
    assert script.failed == {}
    assert "complete" not in script.names()


def test_a_lost_reply_is_followed_by_a_look_for_strays_and_the_same_results(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, link, _ = scenario(run, converse(monkeypatch, [1, 2], once("exchange", DatabaseUnavailable("gone"))))
    assert link.drops == 1
    lost = next(index for index, (name, about) in enumerate(script.log) if name == "exchange" and about)
    assert script.log[lost + 1] == ("strays", script.log[lost][1])
    assert script.log[lost + 2] == script.log[lost]
    assert sorted(script.completed) == [1, 2]


def test_the_result_that_spoils_a_batch_fails_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(name: str, about: Any) -> Exception | None:
        return DatabaseError("too deep", sqlstate="54001") if name in {"exchange", "complete"} and 2 in about else None

    script, _, _ = scenario(run, converse(monkeypatch, [1, 2, 3], trouble))
    assert sorted(script.completed) == [1, 3]
    assert script.failed == {2: "the database cannot store the output: too deep"}


def test_an_error_that_is_no_database_error_is_isolated_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(name: str, about: Any) -> Exception | None:
        return OverflowError("too large") if name in {"exchange", "complete"} and 2 in about else None

    script, _, _ = scenario(run, converse(monkeypatch, [1, 2, 3], trouble))
    assert sorted(script.completed) == [1, 3]
    assert script.failed == {2: "the database cannot store the output: too large"}


def test_a_failure_that_cannot_be_recorded_is_released_at_last(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(name: str, about: Any) -> Exception | None:
        return InvalidInput("never") if name == "fail" and 13 in about else None

    script, _, _ = scenario(run, converse(monkeypatch, [1, 13], trouble))
    assert script.completed == [1]
    assert script.released == [13]


def test_a_batch_refused_again_and_again_for_another_reason_is_split(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(name: str, about: Any) -> Exception | None:
        too_much = name == "exchange" and len(about) > 1
        return DatabaseError("canceling statement due to statement timeout", sqlstate="57014") if too_much else None

    script, _, _ = scenario(run, converse(monkeypatch, [1, 2, 3], trouble))
    assert sorted(script.completed) == [1, 2, 3]
    assert script.failed == {}
    assert script.names().count("complete") == 3


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("canceling statement due to statement timeout", sqlstate="57014"),
        DatabaseUnavailable("out of memory", sqlstate="53200"),
        DatabaseUnavailable("server closed the connection unexpectedly"),
    ],
    ids=str,
)
def test_one_result_that_is_refused_for_ever_fails_and_the_others_are_taken(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: DatabaseError
) -> None:
    def trouble(name: str, about: Any) -> Exception | None:
        return error if name in {"exchange", "complete"} and 2 in about else None

    script, _, _ = scenario(run, converse(monkeypatch, [1, 2, 3, 4], trouble, batch=3))
    assert sorted(script.completed) == [1, 3, 4]
    assert script.failed == {2: f"the database cannot store the output: {error.message}"}
    assert script.log.count(("complete", [2])) == 3


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("canceling statement due to statement timeout", sqlstate="57014"),
        DatabaseUnavailable("could not extend file: No space left on device", sqlstate="53100"),
        DatabaseUnavailable("cannot execute INSERT in a read-only transaction", sqlstate="25006"),
    ],
    ids=str,
)
def test_no_result_is_blamed_when_the_database_takes_nothing_at_all(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: DatabaseError
) -> None:
    left = 30

    def trouble(name: str, about: Any) -> Exception | None:
        nonlocal left
        writes = name in {"exchange", "complete", "fail"} and bool(about)
        left -= writes
        return error if writes and left > 0 else None

    script, _, _ = scenario(run, converse(monkeypatch, [1, 2], trouble))
    assert sorted(script.completed) == [1, 2]
    assert script.failed == {}


def test_a_claim_that_is_too_large_is_made_smaller(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wants: list[int] = []

    async def claim(
        self: Script, conn: Any, worker_id: UUID, wanted: int, results: Sequence[Completed]
    ) -> tuple[list[ClaimedTask], list[Refusal]]:
        wants.append(wanted)
        if wanted > 1 and self.tasks and not results:
            raise DatabaseError("array size exceeds the maximum allowed", sqlstate="54000")
        return await exchange(self, conn, worker_id, wanted, results)

    exchange = Script.complete_and_claim_tasks
    monkeypatch.setattr(Script, "complete_and_claim_tasks", claim)
    script, _, _ = scenario(run, converse(monkeypatch, [1], no_trouble, batch=5))
    assert wants[:2] == [5, 1]
    assert wants[2] == 5
    assert script.completed == [1]


def test_a_deadlock_is_simply_tried_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    error = DatabaseError("deadlock detected", sqlstate="40P01")
    script, link, _ = scenario(run, converse(monkeypatch, [1, 2], once("exchange", error)))
    assert sorted(script.completed) == [1, 2]
    assert script.failed == {}
    assert link.drops == 0


def test_a_forgotten_worker_registers_under_a_new_id_and_hands_in_what_it_has(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, _, registration = scenario(run, converse(monkeypatch, [1, 2], once("exchange", WorkerNotFound("who?"))))
    (registered,) = [about for name, about in script.log if name == "register"]
    assert registered == registration.worker_id
    assert sorted(script.completed) == [1, 2]


def test_a_result_of_an_ended_run_cancels_what_else_runs_of_it_but_nothing_claimed_with_the_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three tasks of run 1; the first result comes back refused, in one call with a new claim of the run, which was retried.
    ended = [claimed(number)._replace(run_id=RunId(UUID(int=1)), task_index=number) for number in (1, 2, 3)]
    anew = claimed(4)._replace(run_id=RunId(UUID(int=1)), task_index=2)
    cancelled: list[int] = []

    async def work(number: int) -> bytes:
        try:
            if number in {2, 3}:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return b"%d" % number

    async def refuse(
        self: Script, conn: Any, worker_id: UUID, wanted: int, results: Sequence[Completed]
    ) -> tuple[list[ClaimedTask], list[Refusal]]:
        if not results:
            given, self.tasks = self.tasks, []
            return given, []
        (result,) = results
        if result.task.fence == 1:
            return [anew], [Refusal(result.task, "run_ended")]
        return await exchange(self, conn, worker_id, wanted, results)

    exchange = Script.complete_and_claim_tasks
    monkeypatch.setattr(Script, "complete_and_claim_tasks", refuse)
    monkeypatch.setattr(f"{__name__}.handler", work)
    script, _, _ = scenario(run, converse(monkeypatch, [1], no_trouble, tasks=ended))
    assert sorted(cancelled) == [2, 3]
    assert script.completed == [4]
    assert script.released == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DatabaseError("nul", sqlstate="22P05"), True),
        (DatabaseError("check", sqlstate="23514"), True),
        (DatabaseError("alloc", sqlstate="XX000"), True),
        (DatabaseError("cannot adapt"), True),
        (InvalidInput("type"), True),
        (OverflowError("int"), True),
        (DatabaseError("deadlock", sqlstate="40P01"), False),
        (DatabaseError("read only", sqlstate="25006"), False),
        (DatabaseError("permission", sqlstate="42501"), False),
        (DatabaseUnavailable("gone"), False),
        (DatabaseUnavailable("memory", sqlstate="53200"), False),
        (CoreNotInstalled(), False),
        (WorkerNotFound("who?"), False),
    ],
    ids=lambda value: str(value).partition("\n")[0],
)
def test_errors_are_laid_at_the_datas_door_only_when_they_belong_there(error: FlowError, expected: bool) -> None:
    assert lies_in_the_data(error) is expected
