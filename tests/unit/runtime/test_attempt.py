"""One attempt at a time, without a database: what handlers do and what the ledger hears of it."""

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from flowdsl.errors import InputError, ValueProblem
from flowdsl.gateway.rows import AttemptFailure, ClaimedTask, Completed, Failed, Refusal
from flowdsl.model.context import Cancellation
from flowdsl.runtime.attempt import Attempt, Attempts
from flowdsl.runtime.ledger import Ledger
from flowdsl.runtime.places import Elsewhere, Place
from flowdsl.types import FlowSlug, RunId, StepSlug
from tests.conftest import Run


class FakeStep:
    """A step whose arguments and output need no codec."""

    def __init__(self, handler: Callable[..., Any], *, is_async: bool = True) -> None:
        self.handler = handler
        self.is_async = is_async
        self.place: Place | Elsewhere = Place.LOOP if is_async else Place.THREAD

    def arguments(self, task: ClaimedTask, cancellation: Cancellation) -> tuple[Any, ...]:
        self.cancellation = cancellation
        if task.input == b"misfit":
            raise InputError("flow", "step", "input", [ValueProblem(location="", message="no")])
        if task.input == b"exit":
            raise SystemExit("in a validator")
        return ()

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise InputError("flow", "step", "output", [ValueProblem(location="", message="no bytes")])
        return value


def claimed(*, timeout: float = 60, input: bytes = b"{}", attempt: int = 1) -> ClaimedTask:
    return ClaimedTask(
        FlowSlug("flow"), 1, RunId(UUID(int=1)), StepSlug("step"), 0, attempt, 3, 7, timeout, input, None  # type: ignore[arg-type] # short timeouts for tests
    )  # fmt: skip


class Bench:
    """A ledger, attempts and the group they run in."""

    def __init__(self, step: FakeStep, cleanup_seconds: float) -> None:
        self.ledger: Ledger[Attempt] = Ledger(asyncio.get_running_loop(), concurrency=5, batch=5, linger=0)
        self.executor = concurrent.futures.ThreadPoolExecutor(5)
        self.attempts = Attempts(self.ledger, lambda _: step, self.executor, cleanup_seconds=cleanup_seconds)

    async def result(self) -> Completed | Failed:
        async with asyncio.timeout(10):
            await self.ledger.wait()
        taken = self.ledger.take(10**6)
        self.ledger.settle()
        return taken.completed[0] if taken.completed else taken.failed[0]

    async def failure(self) -> AttemptFailure:
        result = await self.result()
        assert isinstance(result, Failed)
        return result.error


@asynccontextmanager
async def bench(
    step: FakeStep, task: ClaimedTask | None = None, *, cleanup_seconds: float = 5.0
) -> AsyncIterator[Bench]:
    made = Bench(step, cleanup_seconds)
    async with asyncio.TaskGroup() as group:
        made.attempts.begin(group, task or claimed())
        yield made
    made.attempts.close()
    made.ledger.close()
    made.executor.shutdown()


def test_an_awaitable_that_a_plain_function_returns_is_awaited(run: Run) -> None:
    async def hidden() -> bytes:
        return b"42"

    async def scenario() -> None:
        async with bench(FakeStep(lambda: hidden(), is_async=False)) as made:
            assert await made.result() == Completed(claimed().ref, b"42")

    run(scenario())


def test_what_a_handler_returns_is_encoded_and_handed_in(run: Run) -> None:
    async def handler() -> bytes:
        return b"42"

    async def scenario() -> None:
        async with bench(FakeStep(handler)) as made:
            result = await made.result()
            assert result == Completed(claimed().ref, b"42")
            assert made.ledger.free == 5

    run(scenario())


def test_an_input_that_does_not_fit_is_logged_and_kept_without_a_traceback(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler() -> bytes:
        return b"1"

    async def main() -> AttemptFailure:
        async with bench(FakeStep(handler), claimed(input=b"misfit")) as made:
            return await made.failure()

    failure = run(main())
    assert failure.traceback == ""
    assert "\n" not in failure.message
    assert [record.levelno for record in caplog.records if "failed" in record.message] == [logging.WARNING]


def test_misfits_going_in_are_final_and_misfits_coming_out_are_not(run: Run) -> None:
    async def handler() -> str:
        return "text"

    async def scenario() -> None:
        async with bench(FakeStep(handler), claimed(input=b"misfit")) as made:
            assert not (await made.failure()).retryable
        async with bench(FakeStep(handler)) as made:
            failure = await made.failure()
            assert failure.retryable
            assert "no bytes" in failure.message

    run(scenario())


def test_a_task_of_an_unknown_step_is_a_failed_attempt(run: Run) -> None:
    async def scenario() -> None:
        async with bench(FakeStep(print)) as made:
            await made.result()

            def unknown(_: ClaimedTask) -> FakeStep:
                raise LookupError("no handler")

            attempts = Attempts(made.ledger, unknown, made.executor)
            async with asyncio.TaskGroup() as group:
                attempts.begin(group, claimed())
            assert (await made.failure()).message == "no handler"

    run(scenario())


def test_the_traceback_begins_with_the_handler(run: Run) -> None:
    def in_thread() -> None:
        raise ValueError("thread")

    async def in_loop() -> None:
        raise ValueError("loop")

    async def scenario() -> None:
        for step in (FakeStep(in_thread, is_async=False), FakeStep(in_loop)):
            async with bench(step) as made:
                lines = (await made.failure()).traceback.splitlines()
                assert lines[0] == "Traceback (most recent call last):"
                assert step.handler.__name__ in lines[1]

    run(scenario())


def test_a_timeout_shows_where_the_handler_was_waiting(run: Run) -> None:
    async def handler() -> bytes:
        await asyncio.Event().wait()
        return b""

    async def scenario() -> None:
        async with bench(FakeStep(handler), claimed(timeout=0.01)) as made:
            failure = await made.failure()
            assert failure.error_class == "TimeoutError"
            assert "await asyncio.Event().wait()" in failure.traceback

    run(scenario())


def test_an_error_while_cleaning_up_after_a_timeout_is_still_a_timeout(run: Run) -> None:
    async def handler() -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("cleanup")

    async def scenario() -> None:
        async with bench(FakeStep(handler), claimed(timeout=0.01)) as made:
            failure = await made.failure()
            assert failure.error_class == "TimeoutError"

    run(scenario())


def test_a_handler_that_ignores_its_cancellation_is_reported_and_keeps_its_slot_until_it_ends(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        let_go = asyncio.Event()

        async def handler() -> bytes:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            return b"late"

        async with bench(FakeStep(handler), claimed(timeout=0.01), cleanup_seconds=0.01) as made:
            assert (await made.failure()).error_class == "TimeoutError"
            assert made.ledger.free == 4
            let_go.set()
        assert made.ledger.free == 5
        assert not made.ledger.has_results
        assert "ignores its cancellation" in caplog.text

    run(scenario())


def test_a_thread_that_outlives_its_timeout_keeps_its_slot_until_it_ends(run: Run) -> None:
    let_go = threading.Event()

    def handler() -> bytes:
        let_go.wait(30)
        return b"late"

    async def scenario() -> None:
        async with bench(FakeStep(handler, is_async=False), claimed(timeout=0.05)) as made:
            failure = await made.failure()
            assert "let_go.wait(30)" in failure.traceback
            assert made.ledger.free == 4
            let_go.set()
            made.ledger.ask()
            while made.ledger.free < 5:  # noqa: ASYNC110 - a thread ends
                await asyncio.sleep(0.001)
            assert not made.ledger.has_results

    run(scenario())


def test_given_up_attempts_are_released_unless_their_handler_ends_properly(run: Run) -> None:
    async def scenario() -> None:
        begun = asyncio.Event()

        async def obedient() -> bytes:
            begun.set()
            await asyncio.Event().wait()
            return b"never"

        async def quick() -> bytes:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return b"just made it"
            return b"never"

        async with bench(FakeStep(obedient)) as made:
            await begun.wait()
            made.attempts.cancel_all()
            await made.ledger.wait_idle()
            assert made.ledger.abandoned() == [claimed().ref]
            assert not made.ledger.has_results
        begun.clear()
        async with bench(FakeStep(quick)) as made:
            await begun.wait()
            made.attempts.cancel_all()
            assert await made.result() == Completed(claimed().ref, b"just made it")

    run(scenario())


def test_an_error_in_answer_to_being_given_up_is_told_and_the_task_released(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        begun = asyncio.Event()

        async def offended() -> bytes:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("half done") from None
            return b"never"

        async with bench(FakeStep(offended)) as made:
            await begun.wait()
            made.attempts.cancel_all()
            await made.ledger.wait_idle()
            assert made.ledger.abandoned() == [claimed().ref]
            assert not made.ledger.has_results

    run(scenario())
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "released all the same: ValueError: half done" in record.getMessage()


def test_the_attempt_of_a_lost_claim_is_cancelled_and_neither_handed_in_nor_given_back(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def handler() -> bytes:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return b"never"

        step = FakeStep(handler)
        async with bench(step) as made:
            await begun.wait()
            before = step.cancellation.requested
            made.attempts.revoke([Refusal(claimed().ref, "run_ended")])
            assert (made.ledger.abandoned(), made.ledger.fences()) == ([], [])
            assert made.ledger.free == 4
            await cancelled.wait()
        assert (before, step.cancellation.requested) == (False, True)
        assert made.ledger.free == 5
        assert not made.ledger.has_results

    with caplog.at_level(logging.INFO, logger="flowdsl"):
        run(scenario())
    (record,) = caplog.records
    assert record.getMessage() == "an attempt of step 'step' is cancelled: its run has ended"
    assert record.__dict__["reason"] == "run_ended"


@pytest.mark.parametrize("answer", [b"in spite of it", ValueError("offended")])
def test_what_becomes_of_a_cancelled_handler_is_dropped_whatever_it_is(
    run: Run, answer: bytes | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        begun = asyncio.Event()

        async def handler() -> bytes:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if isinstance(answer, Exception):
                    raise answer from None
            return answer  # type: ignore[return-value] # bytes here

        async with bench(FakeStep(handler)) as made:
            await begun.wait()
            made.attempts.revoke_runs({claimed().run_id})
        assert made.ledger.free == 5
        assert not made.ledger.has_results
        assert made.ledger.abandoned() == []

    run(scenario())
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_claims_that_are_not_among_the_lost_ones_go_on(run: Run) -> None:
    async def scenario() -> None:
        begun, let_go = asyncio.Event(), asyncio.Event()

        async def handler() -> bytes:
            begun.set()
            await let_go.wait()
            return b"42"

        async with bench(FakeStep(handler)) as made:
            await begun.wait()
            made.attempts.revoke([Refusal(claimed().ref._replace(fence=6), "lease_lost")])
            made.attempts.revoke([Refusal(claimed().ref._replace(task_index=1), "lease_lost")])
            made.attempts.revoke_runs({RunId(UUID(int=2))})
            let_go.set()
            assert await made.result() == Completed(claimed().ref, b"42")
            made.attempts.revoke([Refusal(claimed().ref, "lease_lost")])

    run(scenario())


def test_a_thread_whose_claim_is_lost_keeps_its_slot_and_its_result_is_dropped(run: Run) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def handler() -> bytes:
        begun.set()
        while not step.cancellation.requested:
            let_go.wait(0.001)
        let_go.wait(30)
        return b"late"

    step = FakeStep(handler, is_async=False)

    async def scenario() -> None:
        async with bench(step) as made:
            await asyncio.to_thread(begun.wait)
            made.attempts.revoke([Refusal(claimed().ref, "run_ended")])
            await asyncio.sleep(0.01)  # nothing may happen meanwhile
            assert made.ledger.free == 4
            assert not made.ledger.drained
            assert {attempt.ref for attempt in made.ledger.stuck} == {claimed().ref}
            let_go.set()
            while made.ledger.free < 5:  # noqa: ASYNC110 - a thread ends
                await asyncio.sleep(0.001)
            assert not made.ledger.has_results

    run(scenario())


def test_a_thread_sees_that_its_time_is_up(run: Run) -> None:
    def handler() -> bytes:
        while not step.cancellation.requested:
            threading.Event().wait(0.001)
        return b"late"

    step = FakeStep(handler, is_async=False)

    async def scenario() -> None:
        async with bench(step, claimed(timeout=0.02)) as made:
            assert (await made.failure()).error_class == "TimeoutError"
            while made.ledger.free < 5:  # noqa: ASYNC110 - a thread ends
                await asyncio.sleep(0.001)
            assert not made.ledger.has_results

    run(scenario())


def test_a_handler_that_ignores_the_loss_of_its_claim_is_told_of(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        begun, let_go = asyncio.Event(), asyncio.Event()

        async def handler() -> bytes:
            begun.set()
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            return b"late"

        async with bench(FakeStep(handler), cleanup_seconds=0.01) as made:
            await begun.wait()
            made.attempts.revoke([Refusal(claimed().ref, "run_ended")])
            while "ignores its cancellation" not in caplog.text:  # noqa: ASYNC110 - a log line
                await asyncio.sleep(0.001)
            assert made.ledger.free == 4
            let_go.set()
        assert made.ledger.free == 5
        assert not made.ledger.has_results

    run(scenario())


def test_an_attempt_that_cleans_up_after_its_timeout_is_not_disturbed_by_the_loss_of_its_claim(run: Run) -> None:
    async def scenario() -> None:
        cleaning, let_go = asyncio.Event(), asyncio.Event()
        cancellations = 0

        async def handler() -> bytes:
            nonlocal cancellations
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancellations += 1
                cleaning.set()
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    cancellations += 1
            return b"late"

        async with bench(FakeStep(handler), claimed(timeout=0.01)) as made:
            await cleaning.wait()
            made.attempts.revoke([Refusal(claimed().ref, "run_ended")])
            made.attempts.cancel_all()
            let_go.set()
        assert cancellations == 1
        assert not made.ledger.has_results
        assert made.ledger.abandoned() == []
        assert made.ledger.free == 5

    run(scenario())


def test_an_attempt_that_is_cancelled_before_its_first_step_gives_its_slot_back(run: Run) -> None:
    async def handler() -> bytes:
        return b"never"

    async def scenario() -> None:
        async with bench(FakeStep(handler)) as made:
            made.attempts.revoke_runs({claimed().run_id})
        await asyncio.sleep(0)
        assert made.ledger.free == 5
        assert not made.ledger.has_results

    run(scenario())


def test_an_exit_while_decoding_the_input_is_a_failed_attempt(run: Run) -> None:
    async def handler() -> bytes:
        return b"never"

    async def scenario() -> None:
        async with bench(FakeStep(handler), claimed(input=b"exit")) as made:
            error = await made.failure()
        assert (error.error_class, error.message, error.retryable) == ("SystemExit", "in a validator", True)

    run(scenario())


def test_context_variables_reach_a_thread_and_do_not_leak_back(run: Run) -> None:
    variable = contextvars.ContextVar("variable", default=b"unset")

    def handler() -> bytes:
        seen = variable.get()
        variable.set(b"changed in the thread")
        return seen

    async def scenario() -> None:
        variable.set(b"set outside")
        async with bench(FakeStep(handler, is_async=False)) as made:
            assert await made.result() == Completed(claimed().ref, b"set outside")
            assert variable.get() == b"set outside"

    run(scenario())


@pytest.mark.parametrize(("attempt", "level"), [(1, logging.INFO), (3, logging.WARNING)])
def test_a_failed_attempt_is_logged_with_its_run_step_and_attempt(
    run: Run, caplog: pytest.LogCaptureFixture, attempt: int, level: int
) -> None:
    async def handler() -> bytes:
        raise ValueError("no luck")

    async def scenario() -> None:
        async with bench(FakeStep(handler), claimed(attempt=attempt)) as made:
            await made.result()

    with caplog.at_level(logging.INFO, logger="flowdsl"):
        run(scenario())
    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage() == f"attempt {attempt} of 3 of step 'step' failed: ValueError: no luck"
    fields = record.__dict__
    assert fields["run_id"] == str(UUID(int=1))
    assert (fields["flow_slug"], fields["step_slug"], fields["task_index"], fields["attempt"]) == (
        "flow",
        "step",
        0,
        attempt,
    )


def placed(handler: Callable[..., Any], place: Place, *, is_async: bool) -> FakeStep:
    step = FakeStep(handler, is_async=is_async)
    step.place = place
    return step


def test_a_plain_function_may_run_in_the_event_loop(run: Run) -> None:
    def handler() -> bytes:
        asyncio.get_running_loop()
        return threading.current_thread().name.encode()

    async def scenario() -> None:
        async with bench(placed(handler, Place.LOOP, is_async=False)) as made:
            assert await made.result() == Completed(claimed().ref, threading.current_thread().name.encode())

    run(scenario())


def test_a_coroutine_may_run_in_a_thread_with_a_loop_of_its_own(run: Run) -> None:
    async def scenario() -> None:
        ours = asyncio.get_running_loop()

        async def handler() -> bytes:
            assert asyncio.get_running_loop() is not ours
            await asyncio.sleep(0)
            return b"1"

        async with bench(placed(handler, Place.THREAD, is_async=True)) as made:
            assert await made.result() == Completed(claimed().ref, b"1")

    run(scenario())


def test_a_coroutine_in_a_thread_is_cancelled_at_its_timeout_and_cleans_up(run: Run) -> None:
    cleaned = threading.Event()

    async def handler() -> bytes:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.set()
        return b"1"

    async def scenario() -> None:
        async with bench(placed(handler, Place.THREAD, is_async=True), claimed(timeout=0.1)) as made:
            failure = await made.failure()
            assert failure.error_class == "TimeoutError"
            assert "await asyncio.sleep(60)" in failure.traceback
            assert cleaned.is_set()
            assert made.ledger.stuck == frozenset()
            assert made.ledger.free == 5

    run(scenario())


def test_a_coroutine_in_a_thread_that_ignores_its_cancellation_keeps_its_slot_until_it_ends(run: Run) -> None:
    async def scenario() -> None:
        let_go = threading.Event()

        async def handler() -> bytes:
            while not let_go.is_set():
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    continue
            return b"1"

        step = placed(handler, Place.THREAD, is_async=True)
        async with bench(step, claimed(timeout=0.05), cleanup_seconds=0.1) as made:
            assert (await made.failure()).error_class == "TimeoutError"
            assert made.ledger.free == 4
            let_go.set()
            async with asyncio.timeout(10):
                while made.ledger.free < 5:  # noqa: ASYNC110 - a thread brings it about
                    await asyncio.sleep(0.01)

    run(scenario())


class Somewhere:
    """A place that waits until it is told that the attempt begins, and answers what it was made with."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome
        self.turn = asyncio.Event()

    async def run(
        self, attempt: Any, *, began: Callable[[Any], None], ended: Callable[[Any], None], cleanup_seconds: float
    ) -> Any:
        await self.turn.wait()
        began(attempt)
        if isinstance(self.outcome, float):
            await asyncio.sleep(self.outcome)
        return self.outcome


def elsewhere(outcome: object) -> tuple[FakeStep, Somewhere]:
    step, place = FakeStep(lambda: None), Somewhere(outcome)
    step.place = place
    return step, place


def test_waiting_for_ones_turn_elsewhere_is_not_the_handlers_time(run: Run) -> None:
    async def scenario() -> None:
        step, place = elsewhere(60.0)
        async with bench(step, claimed(timeout=0.1)) as made:
            await asyncio.sleep(0.3)
            assert len(made.ledger.running) == 1
            assert made.attempts.latest_due_at() is None
            place.turn.set()
            assert (await made.failure()).error_class == "TimeoutError"

    run(scenario())


def test_what_comes_back_from_elsewhere_is_the_result(run: Run) -> None:
    async def scenario() -> None:
        failed = AttemptFailure(
            error_class="ValueError", error_classes=("ValueError",), message="no", traceback="there"
        )
        for outcome in (b"42", failed):
            step, place = elsewhere(outcome)
            async with bench(step) as made:
                place.turn.set()
                result = await made.result()
                assert result == (
                    Completed(claimed().ref, b"42") if outcome == b"42" else Failed(claimed().ref, failed)
                )

    run(scenario())


def test_an_attempt_that_waits_for_its_turn_elsewhere_is_released(run: Run) -> None:
    async def scenario() -> None:
        step, _ = elsewhere(b"42")
        async with bench(step) as made:
            await asyncio.sleep(0)
            made.attempts.cancel_all()
            await made.ledger.wait_idle()
            assert made.ledger.abandoned() == [claimed().ref]

    run(scenario())
