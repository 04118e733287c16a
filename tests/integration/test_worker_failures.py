"""What becomes of handlers that raise, hang, lie about their types or return what nobody can store."""

import asyncio
import math
import sys
import threading
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flowdsl.client import Client
from flowdsl.errors import NonRetryable, OutputUnavailable, RetryAfter, RunFailed
from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.types import RunStatus, StepStatus
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, until, working

DbConn = psycopg.Connection[Any]


class CardDeclinedError(Exception):
    pass


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


async def failure_of(dsn: str, flow: Flow[Any, Any], value: Any = 1, **options: Any) -> RunFailed:
    """Start a run that has to fail; a second flow's run proves that the worker lives on."""
    async with working(flow, healthy, dsn=dsn, **options), Client(dsn) as client:
        with pytest.raises(RunFailed) as caught:
            await (await client.start(flow, value)).result(60)
        assert await (await client.start(healthy, 20)).result(60) == 21
        return caught.value


async def increment(number: int) -> int:
    return number + 1


healthy = Flow("healthy", int).step(increment).returns(increment)


def test_a_failed_attempt_is_tried_again_until_it_succeeds(dsn: str, conn: DbConn, run: Run) -> None:
    async def flaky(number: int, context: Context) -> int:
        if context.attempt < 3:
            raise CardDeclinedError(f"attempt {context.attempt}")
        return context.attempt

    flow = Flow("flow", int, max_attempts=3, base_delay=0).step(flaky).returns(flaky)

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(dsn) as client:
            assert await (await client.start(flow, 1)).result(60) == 3

    compile_into(dsn, flow)
    run(scenario())
    rows = conn.execute(
        "select attempt, error_class, error_message from pgflow.task_attempts order by attempt"
    ).fetchall()
    name = f"{__name__}.CardDeclinedError"
    assert rows == [(1, name, "attempt 1"), (2, name, "attempt 2")]


def test_a_run_that_ran_out_of_attempts_says_where_and_why(dsn: str, run: Run) -> None:
    async def charge(number: int) -> int:
        try:
            return 1 // (number - 1)
        except ZeroDivisionError as error:
            raise CardDeclinedError("card declined") from error

    def after(number: int) -> int:
        return number

    flow = Flow("flow", int, max_attempts=2, base_delay=0).step(charge).step(after, charge)

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(dsn) as client:
            started = await client.start(flow, 1)
            with pytest.raises(RunFailed) as caught:
                await started.result(60)
            error = caught.value
            assert (error.run_id, error.flow_slug) == (started.run_id, "flow")
            assert (error.step_slug, error.task_index, error.attempt) == ("charge", 0, 2)
            assert error.error_class == f"{__name__}.CardDeclinedError"
            assert error.error_message == "card declined"
            assert error.traceback is not None
            assert "ZeroDivisionError" in error.traceback
            assert "direct cause of the following exception" in error.traceback
            assert "in charge" in error.traceback
            assert "flowdsl/runtime" not in error.traceback
            detail = await started.status()
            assert detail.status is RunStatus.FAILED
            assert detail.step("charge").status is StepStatus.FAILED
            with pytest.raises(OutputUnavailable):
                await started.output(charge)
            with pytest.raises(OutputUnavailable):
                await started.output(after)

    compile_into(dsn, flow)
    run(scenario())


def test_non_retryable_ends_the_attempts_at_once(dsn: str, run: Run) -> None:
    async def give_up(number: int) -> int:
        raise NonRetryable("no such customer")

    flow = Flow("flow", int, max_attempts=5, base_delay=0).step(give_up)
    compile_into(dsn, flow, healthy)
    error = run(failure_of(dsn, flow))
    assert (error.attempt, error.error_message) == (1, "no such customer")


def test_retry_after_replaces_the_backoff(dsn: str, run: Run) -> None:
    async def busy(number: int, context: Context) -> int:
        if context.attempt == 1:
            raise RetryAfter(0, "come back")
        return context.attempt

    flow = Flow("flow", int, max_attempts=2, base_delay=3000).step(busy).returns(busy)

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(dsn) as client:
            assert await (await client.start(flow, 1)).result(60) == 2

    compile_into(dsn, flow)
    run(scenario())


@pytest.mark.parametrize(("raised", "attempts"), [(ConnectionResetError, 2), (ValueError, 1)])
def test_retry_on_names_the_errors_worth_another_attempt(
    dsn: str, run: Run, raised: type[Exception], attempts: int
) -> None:
    async def fetch(number: int) -> int:
        raise raised("gone")

    # ConnectionResetError is a ConnectionError: bases count.
    flow = Flow("flow", int, max_attempts=2, base_delay=0).step(fetch, retry_on=[ConnectionError])
    compile_into(dsn, flow, healthy)
    error = run(failure_of(dsn, flow))
    assert (error.error_class, error.attempt) == (raised.__name__, attempts)


def test_an_async_handler_is_cancelled_at_its_timeout(dsn: str, run: Run) -> None:
    cancelled = threading.Event()

    async def hang(number: int) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return number

    flow = Flow("flow", int, max_attempts=1).step(hang, timeout=1)
    compile_into(dsn, flow, healthy)
    error = run(failure_of(dsn, flow))
    assert cancelled.is_set()
    assert error.error_class == "TimeoutError"
    assert error.error_message == "step 'hang' exceeded its timeout of 1 s"
    assert "asyncio.Event().wait()" in str(error.traceback)


def test_a_sync_handler_is_failed_at_its_timeout_and_keeps_its_slot_until_it_ends(dsn: str, run: Run) -> None:
    let_go, ended = threading.Event(), threading.Event()

    def hang(number: int) -> int:
        let_go.wait(60)
        ended.set()
        return number

    flow = Flow("flow", int, max_attempts=1).step(hang, timeout=1)

    async def scenario() -> None:
        async with working(flow, healthy, dsn=dsn, concurrency=1), Client(dsn) as client:
            with pytest.raises(RunFailed) as caught:
                await (await client.start(flow, 1)).result(60)
            assert caught.value.error_class == "TimeoutError"
            assert "let_go.wait(60)" in str(caught.value.traceback)
            assert not ended.is_set()
            waiting = await client.start(healthy, 1)
            assert (await waiting.status()).step("increment").status is StepStatus.STARTED
            let_go.set()
            assert await waiting.result(60) == 2

    compile_into(dsn, flow, healthy)
    run(scenario())


def test_a_handler_that_swallows_its_cancellation_fails_all_the_same(dsn: str, run: Run) -> None:
    async def stubborn(number: int) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return number
        return number

    flow = Flow("flow", int, max_attempts=1).step(stubborn, timeout=1)
    compile_into(dsn, flow, healthy)
    assert run(failure_of(dsn, flow)).error_class == "TimeoutError"


async def cancels_itself(number: int) -> int:
    raise asyncio.CancelledError("on my own")


async def cancels_its_task(number: int) -> int:
    task = asyncio.current_task()
    if task is not None:
        task.cancel()
    await asyncio.sleep(0)
    return number


async def exits(number: int) -> int:
    sys.exit(3)


def exits_in_a_thread(number: int) -> int:
    sys.exit(3)


async def interrupts(number: int) -> int:
    raise KeyboardInterrupt


async def exits_in_a_task(number: int) -> int:
    async def part() -> int:
        sys.exit(3)

    return sum(await asyncio.gather(part(), part()))


async def interrupts_in_a_task_of_a_task(number: int) -> int:
    async def inner() -> int:
        raise KeyboardInterrupt

    async def outer() -> int:
        return await asyncio.create_task(inner())

    return await asyncio.create_task(outer())


async def ends_its_generator(number: int) -> int:
    raise GeneratorExit


async def cannot_be_printed(number: int) -> int:
    raise UnprintableError


def stops_iteration(number: int) -> int:
    raise StopIteration("no more")


async def raises_a_group(number: int) -> int:
    async with asyncio.TaskGroup() as group:
        group.create_task(cannot_be_printed(number))
    return number


async def returns_another_type(number: int) -> int:
    return "forty-two"  # type: ignore[return-value]


async def returns_nan(number: int) -> float:
    return math.nan


async def returns_nul(number: int) -> str:
    return "a\x00b"


async def returns_a_surrogate(number: int) -> str:
    return "\ud800"


async def raises_nul(number: int) -> int:
    raise ValueError("bad \x00 byte and \ud800")


@pytest.mark.parametrize(
    ("handler", "error_class", "message"),
    [
        (cancels_itself, "asyncio.exceptions.CancelledError", "on my own"),
        (cancels_its_task, "asyncio.exceptions.CancelledError", ""),
        (exits, "SystemExit", "3"),
        (exits_in_a_thread, "SystemExit", "3"),
        (interrupts, "KeyboardInterrupt", ""),
        (
            exits_in_a_task,
            "flowdsl.runtime.exits.HandlerExited",
            "a task of the handler raised SystemExit(3)",
        ),
        (
            interrupts_in_a_task_of_a_task,
            "flowdsl.runtime.exits.HandlerExited",
            "a task of the handler raised KeyboardInterrupt()",
        ),
        (ends_its_generator, "GeneratorExit", ""),
        (cannot_be_printed, f"{__name__}.UnprintableError", "<str() of this UnprintableError raised RuntimeError>"),
        (stops_iteration, "StopIteration", "no more"),
        (raises_a_group, "ExceptionGroup", "unhandled errors in a TaskGroup (1 sub-exception)"),
        (returns_another_type, "flowdsl.errors.InputError", "the output does not fit"),
        (returns_nan, "flowdsl.errors.InputError", "the output does not fit"),
        (returns_nul, "flowdsl.errors.InputError", "U+0000"),
        (returns_a_surrogate, "flowdsl.errors.InputError", "the output does not fit"),
        (raises_nul, "ValueError", r"bad \x00 byte and \ud800"),
    ],
)
def test_whatever_a_handler_does_is_a_failed_attempt_and_not_the_end_of_the_worker(
    dsn: str, run: Run, handler: Any, error_class: str, message: str
) -> None:
    flow = Flow("flow", int, max_attempts=1).step(handler, slug="odd")
    compile_into(dsn, flow, healthy)
    error = run(failure_of(dsn, flow))
    assert error.error_class == error_class
    assert message in str(error.error_message)
    assert error.step_slug == "odd"


def test_an_output_the_database_refuses_fails_alone_in_its_batch(dsn: str, conn: DbConn, run: Run) -> None:
    async def echo(word: str) -> str:
        return word

    flow = Flow("flow", str, max_attempts=3).step(echo).returns(echo)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, linger_ms=200), Client(dsn) as client:
            runs = await client.start_many(flow, ["a", "poison", "b"])
            assert await runs[0].result(60) == "a"
            assert await runs[2].result(60) == "b"
            with pytest.raises(RunFailed) as caught:
                await runs[1].result(60)
            assert caught.value.attempt == 1
            assert "the database cannot store the output" in str(caught.value.error_message)

    compile_into(dsn, flow)
    conn.execute("alter table pgflow.step_tasks add constraint no_poison check (output is distinct from '\"poison\"')")
    run(scenario())


@pytest.mark.parametrize(
    "spoil",
    ["perform pg_sleep(60)", "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60)"],
    ids=["takes longer than the database allows", "ends the connection"],
)
def test_an_output_that_never_gets_in_fails_alone_and_the_worker_goes_on(
    dsn: str, conn: DbConn, run: Run, spoil: str
) -> None:
    async def echo(word: str) -> str:
        return word

    flow = Flow("flow", str, max_attempts=3).step(echo).returns(echo)

    # The limit is the worker's alone: clients wait for the runs that its stuck call holds.
    limited = make_conninfo(dsn, options="-c statement_timeout=500ms")

    async def scenario() -> None:
        async with working(flow, dsn=limited, linger_ms=200), Client(dsn) as client:
            runs = await client.start_many(flow, ["a", "poison", "b"])
            assert await runs[0].result(60) == "a"
            assert await runs[2].result(60) == "b"
            with pytest.raises(RunFailed) as caught:
                await runs[1].result(60)
            assert "the database cannot store the output" in str(caught.value.error_message)
            assert await (await client.start(flow, "c")).result(60) == "c"

    compile_into(dsn, flow)
    conn.execute(
        f"create function spoil() returns trigger language plpgsql as $$begin {spoil}; return new; end$$".encode()
    )
    conn.execute(
        "create trigger spoil before update on pgflow.step_tasks for each row"
        " when (new.output = '\"poison\"') execute function spoil()"
    )
    run(scenario())


def test_a_failure_the_database_refuses_does_not_stop_the_others(dsn: str, conn: DbConn, run: Run) -> None:
    async def complain(word: str) -> str:
        raise ValueError(word)

    flow = Flow("flow", str, max_attempts=1).step(complain)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, linger_ms=200), Client(dsn) as client:
            runs = await client.start_many(flow, ["a", "poison", "b"])
            messages = []
            for started in runs:
                with pytest.raises(RunFailed) as caught:
                    await started.result(60)
                messages.append(str(caught.value.error_message))
            assert messages[0] == "a"
            assert messages[1].startswith("the database cannot store how the attempt failed")
            assert messages[2] == "b"

    compile_into(dsn, flow)
    conn.execute("alter table pgflow.task_attempts add constraint no_poison check (error_message <> 'poison')")
    run(scenario())


def test_input_that_does_not_fit_the_handler_fails_without_another_attempt(dsn: str, conn: DbConn, run: Run) -> None:
    flow = Flow("flow", int, max_attempts=5, base_delay=0).step(increment)

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(dsn) as client:
            run_id = conn.execute("select run_id from pgflow.start_flow('flow', '\"no number\"')").fetchall()[0][0]
            with pytest.raises(RunFailed) as caught:
                await client.run(flow, run_id).result(60)
            assert caught.value.attempt == 1
            assert "step 'increment': the input does not fit" in str(caught.value.error_message)

    compile_into(dsn, flow)
    run(scenario())


def test_a_failing_element_names_its_task_and_ends_its_siblings(dsn: str, run: Run) -> None:
    others = threading.Event()

    async def check(number: int) -> int:
        if number == 2:
            raise ValueError("two is out")
        others.set()
        return number

    flow = Flow("flow", list[int], max_attempts=1).map(check).returns(collect(check))
    compile_into(dsn, flow, healthy)
    error = run(failure_of(dsn, flow, [0, 1, 2, 3]))
    assert (error.step_slug, error.task_index) == ("check", 2)
    assert others.is_set()


def test_a_megabyte_goes_in_and_out(dsn: str, run: Run) -> None:
    async def grow(text: str) -> str:
        return text * 5

    async def size(text: str) -> int:
        return len(text)

    flow = Flow("flow", str).step(grow).step(size, grow).returns(size)

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(dsn) as client:
            runs = await client.start_many(flow, ["x" * 1_000_000] * 5)
            assert [await started.result(60) for started in runs] == [5_000_000] * 5

    compile_into(dsn, flow)
    run(scenario())


def test_results_of_a_run_that_has_failed_meanwhile_are_dropped(
    dsn: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(number: int) -> int:
        begun.set()
        go_on.wait(30)
        return number

    async def break_down(number: int) -> int:
        while not begun.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.01)
        raise ValueError("down")

    flow = Flow("flow", int, max_attempts=1).step(slow).step(break_down)

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(dsn) as client:
            with pytest.raises(RunFailed):
                await (await client.start(flow, 1)).result(60)
            go_on.set()
            await until(lambda: any("its run has ended" in record.message for record in caplog.records))

    compile_into(dsn, flow)
    with caplog.at_level("INFO", logger="flowdsl"):
        run(scenario())
    dropped = next(record for record in caplog.records if "its run has ended" in record.message)
    assert dropped.levelname == "INFO"
    assert dropped.__dict__["step_slug"] == "slow"
