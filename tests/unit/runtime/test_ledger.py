"""When a batch is handed in, how many tasks are asked for, and what is held meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from flowdsl.gateway.rows import AttemptFailure, Completed, Failed, TaskRef
from flowdsl.runtime.ledger import FIRST_CLAIM, Ledger
from flowdsl.types import RunId, StepSlug
from tests.conftest import Run

LONG = 3600.0


@dataclass(eq=False)
class Held:
    ref: TaskRef


def held(number: int) -> Held:
    return Held(TaskRef(RunId(UUID(int=number)), StepSlug("step"), 0, number))


def completed(attempt: Held, output: bytes = b"1") -> Completed:
    return Completed(attempt.ref, output)


def failed(attempt: Held) -> Failed:
    return Failed(attempt.ref, AttemptFailure(error_class="E", error_classes=("E",), message="", traceback=""))


def ledger(*, concurrency: int = 10, batch: int = 4, linger: float = LONG) -> Ledger[Held]:
    return Ledger(asyncio.get_running_loop(), concurrency=concurrency, batch=batch, linger=linger)


async def is_due(book: Ledger[Held]) -> bool:
    """Whether `wait` would return now."""
    waiting = asyncio.ensure_future(book.wait())
    for _ in range(3):
        await asyncio.sleep(0)
    due = waiting.done()
    waiting.cancel()
    return due


Scenario = Callable[[], Coroutine[Any, Any, None]]


def scenario(test: Scenario) -> Callable[[Run], None]:
    """Run an async test to its end, with the ledger's timers in a loop of its own."""

    def runs(run: Run) -> None:
        run(test(), 10)

    runs.__name__ = test.__name__
    return runs


def begin(book: Ledger[Held], count: int) -> list[Held]:
    attempts = [held(number) for number in range(1, count + 1)]
    for attempt in attempts:
        book.begin(attempt)
    return attempts


@scenario
async def test_nothing_is_due_before_somebody_asks() -> None:
    book = ledger()
    assert not await is_due(book)
    book.ask()
    assert await is_due(book)


@scenario
async def test_asking_waits_for_a_free_slot() -> None:
    book = ledger(concurrency=1)
    (attempt,) = begin(book, 1)
    book.ask()
    assert book.wanted == 0
    assert not await is_due(book)
    book.finish(attempt, None)
    assert book.wanted == 1
    assert await is_due(book)


@scenario
async def test_wanted_is_bounded_by_batch_and_by_free_slots() -> None:
    book = ledger(concurrency=6, batch=4)
    assert book.wanted == 4
    begin(book, 3)
    assert book.wanted == 3


@scenario
async def test_a_call_without_results_claims_a_small_portion() -> None:
    book = ledger(concurrency=1000, batch=1000)
    assert book.wanted == FIRST_CLAIM
    book.take(100)
    book.settle()
    assert book.wanted == FIRST_CLAIM


@scenario
async def test_a_call_claims_up_to_twice_the_results_it_hands_in() -> None:
    book = ledger(concurrency=1000, batch=100)
    for results, wanted in ((FIRST_CLAIM, 2 * FIRST_CLAIM), (40, 80), (80, 100), (3, FIRST_CLAIM), (0, FIRST_CLAIM)):
        for attempt in begin(book, results):
            book.finish(attempt, completed(attempt))
        book.take(100_000)
        book.settle()
        assert book.wanted == wanted


@scenario
async def test_the_first_result_lingers_for_others() -> None:
    book = ledger()
    first, *_ = begin(book, 3)
    book.finish(first, completed(first))
    assert not await is_due(book)


@scenario
async def test_a_full_batch_is_due_at_once() -> None:
    book = ledger(batch=2)
    first, second, _ = begin(book, 3)
    book.finish(first, completed(first))
    book.finish(second, failed(second))
    assert await is_due(book)


@scenario
async def test_the_last_running_attempt_is_handed_in_at_once() -> None:
    book = ledger()
    (only,) = begin(book, 1)
    book.finish(only, completed(only))
    assert await is_due(book)


@scenario
async def test_lingering_ends() -> None:
    book = ledger(linger=0.001)
    first, _ = begin(book, 2)
    book.finish(first, completed(first))
    await book.wait()


@scenario
async def test_asking_does_not_cut_the_lingering_short() -> None:
    book = ledger()
    first, _ = begin(book, 2)
    book.finish(first, completed(first))
    book.ask()
    assert not await is_due(book)


@scenario
async def test_what_a_batch_leaves_over_is_due_at_once() -> None:
    book = ledger(batch=2)
    attempts = begin(book, 4)
    for attempt in attempts[:3]:
        book.finish(attempt, completed(attempt))
    assert [result.task for result in book.take(1000).completed] == [attempts[0].ref, attempts[1].ref]
    book.settle()
    assert await is_due(book)
    assert [result.task for result in book.take(1000).completed] == [attempts[2].ref]


@scenario
async def test_failures_go_first_and_share_the_batch() -> None:
    book = ledger(batch=2)
    attempts = begin(book, 3)
    book.finish(attempts[0], completed(attempts[0]))
    book.finish(attempts[1], completed(attempts[1]))
    book.finish(attempts[2], failed(attempts[2]))
    taken = book.take(1000)
    assert ([f.task for f in taken.failed], [c.task for c in taken.completed]) == ([attempts[2].ref], [attempts[0].ref])


@scenario
async def test_large_outputs_are_spread_over_calls_and_each_goes_at_last() -> None:
    book = ledger(batch=10)
    attempts = begin(book, 4)
    for attempt, size in zip(attempts, (60, 60, 500, 10), strict=True):
        book.finish(attempt, completed(attempt, b"x" * size))
    sizes = []
    while book.has_results:
        sizes.append([len(result.output) for result in book.take(100).completed])
        book.settle()
    assert sizes == [[60], [60], [500], [10]]


@scenario
async def test_what_was_taken_and_not_settled_comes_back_in_its_order() -> None:
    book = ledger(batch=2)
    attempts = begin(book, 3)
    for attempt in attempts:
        book.finish(attempt, completed(attempt))
    book.take(1000)
    assert book.fences() == [1, 2, 3]
    book.restore()
    assert await is_due(book)
    assert [result.task for result in book.take(1000).completed] == [attempts[0].ref, attempts[1].ref]
    book.settle()
    assert book.fences() == [3]
    book.restore()
    assert [result.task for result in book.take(1000).completed] == [attempts[2].ref]


@scenario
async def test_a_stuck_handler_keeps_its_slot_after_its_attempt_is_over() -> None:
    book = ledger(concurrency=1)
    (attempt,) = begin(book, 1)
    book.finish(attempt, failed(attempt), stuck=True)
    assert book.free == 0
    assert book.stuck == {attempt}
    book.ended(attempt)
    assert book.free == 1


@scenario
async def test_what_ended_without_a_result_is_released_and_so_is_what_runs() -> None:
    book = ledger()
    given_up, running, done = begin(book, 3)
    book.finish(given_up, None)
    book.finish(done, completed(done))
    assert book.abandoned() == [given_up.ref, running.ref]


@scenario
async def test_draining_wants_nothing_and_ends_when_all_is_handed_in() -> None:
    book = ledger()
    (attempt,) = begin(book, 1)
    book.drain()
    book.ask()
    assert book.wanted == 0
    assert not await is_due(book)
    book.finish(attempt, completed(attempt))
    assert await is_due(book)
    assert book.has_results
    book.take(1000)
    book.settle()
    assert book.drained
    assert await is_due(book)


@scenario
async def test_asking_later_asks_later() -> None:
    book = ledger()
    book.ask_after(LONG)
    assert not await is_due(book)
    book.ask_after(0.0)
    await book.wait()
    book.close()


@scenario
async def test_a_call_that_asks_fulfils_what_was_to_be_asked_later() -> None:
    book = ledger()
    book.ask_after(0.0)
    book.take(100)
    book.settle()
    assert not await is_due(book)
    await asyncio.sleep(0.01)
    assert not await is_due(book)


@scenario
async def test_a_call_without_free_slots_leaves_the_asking_for_later() -> None:
    book = ledger(concurrency=1)
    (attempt,) = begin(book, 1)
    book.ask_after(0.0)
    book.take(100)
    book.settle()
    await asyncio.sleep(0.01)
    book.finish(attempt, None)
    assert await is_due(book)


@scenario
async def test_a_hint_makes_an_idle_worker_ask_at_once() -> None:
    book = ledger()
    book.settle()
    book.hint()
    assert await is_due(book)


@scenario
async def test_a_hint_waits_for_the_results_of_attempts_that_have_just_begun() -> None:
    book = ledger()
    book.settle()
    (attempt,) = begin(book, 1)
    book.hint()
    assert not await is_due(book)
    book.finish(attempt, completed(attempt))
    assert await is_due(book)
    book.close()


@scenario
async def test_a_hint_does_not_wait_longer_than_a_result_lingers() -> None:
    book = ledger(linger=0.001)
    book.settle()
    begin(book, 1)
    book.hint()
    await book.wait()
    assert book.wanted


@scenario
async def test_a_hint_does_not_put_off_what_is_to_be_asked_sooner() -> None:
    book = ledger()
    book.settle()
    begin(book, 1)
    book.ask_after(0.0)
    book.hint()
    await book.wait()


@scenario
async def test_a_hint_that_came_during_a_call_is_not_put_off_by_what_the_call_found() -> None:
    book = ledger(linger=0.001)
    book.settle()
    begin(book, 1)
    book.hint()
    book.ask_after(LONG)
    await book.wait()
    assert book.wanted


@scenario
async def test_a_pause_ends_when_draining_begins() -> None:
    book = ledger()
    pause = asyncio.ensure_future(book.pause(LONG))
    await asyncio.sleep(0)
    book.drain()
    await pause


@scenario
async def test_idle_is_reached_when_the_last_attempt_ends() -> None:
    book = ledger()
    attempts = begin(book, 2)
    idle = asyncio.ensure_future(book.wait_idle())
    for attempt in attempts:
        await asyncio.sleep(0)
        assert not idle.done()
        book.finish(attempt, None)
    await idle


@scenario
async def test_insisting_is_due_once_even_without_slots_or_results() -> None:
    book = ledger(concurrency=1)
    begin(book, 1)
    book.insist()
    assert await is_due(book)
    book.take(1000)
    assert not await is_due(book)


@scenario
async def test_results_beyond_a_taken_batch_survive_its_restore() -> None:
    book = ledger(batch=1)
    one, two = begin(book, 2)
    book.finish(one, completed(one))
    handing = book.take(1000)
    book.finish(two, completed(two))
    assert handing.completed
    book.restore()
    assert book.fences() == [1, 2]
    with pytest.raises(KeyError):
        book.finish(two, completed(two))


@scenario
async def test_a_renounced_attempt_is_held_no_more_but_keeps_its_slot_until_it_ends() -> None:
    book = ledger(concurrency=2)
    first, second = begin(book, 2)
    book.renounce(first)
    assert book.free == 0
    assert (book.abandoned(), book.fences()) == ([second.ref], [2])
    assert book.stuck == {first}
    book.ended(first)
    assert book.free == 1
    assert book.stuck == frozenset()


@scenario
async def test_draining_waits_for_renounced_handlers() -> None:
    book = ledger()
    (attempt,) = begin(book, 1)
    book.renounce(attempt)
    book.drain()
    before = book.drained
    assert not await is_due(book)
    book.ended(attempt)
    assert (before, book.drained) == (False, True)
    assert await is_due(book)
