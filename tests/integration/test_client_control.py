"""Cancelling, retrying and explaining runs, as a client sees it."""

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import BaseModel

from flowdsl.client import Client
from flowdsl.client import run as run_module
from flowdsl.errors import (
    ConfigError,
    DatabaseUnavailable,
    DefinitionError,
    OutputUnavailable,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunNotRetryable,
    StepNotFound,
)
from flowdsl.gateway import calls
from flowdsl.gateway.rows import RunHead, RunRow
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect, maybe
from flowdsl.types import RunStatus, StepStatus
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, working

DbConn = psycopg.Connection[Any]


class Broken:
    """Handlers of a small flow, one of which fails for as long as `broken` is set."""

    def __init__(self) -> None:
        self.broken = True
        self.calls: list[str] = []
        self.flow = (
            Flow("mended", list[int], max_attempts=1)
            .step(self.first)
            .map(self.each)
            .step(self.last, self.first, collect(self.each))
            .returns(self.last)
        )

    async def first(self, numbers: list[int]) -> int:
        self.calls.append("first")
        return len(numbers)

    async def each(self, number: int) -> int:
        self.calls.append(f"each {number}")
        if self.broken and number == 2:
            raise ValueError("no twos")
        return number * 10

    async def last(self, first: int, each: list[int]) -> int:
        self.calls.append("last")
        return first + sum(each)


async def double(number: int) -> int:
    return number * 2


doubling = Flow("doubling", int).step(double).returns(double)


def test_a_cancelled_run_has_no_result_but_a_reason(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            started = await client.start(doubling, 1)
            waiting = asyncio.ensure_future(started.result())
            assert await client.cancel(started.run_id, "no longer needed") is RunStatus.CANCELLED
            with pytest.raises(RunCancelled) as caught:
                await waiting
            assert (caught.value.run_id, caught.value.reason) == (started.run_id, "no longer needed")
            assert str(caught.value).endswith("was cancelled: no longer needed")
            # again, and with another reason: it stays as it is
            assert await started.cancel("twice") is RunStatus.CANCELLED
            assert await client.cancel(str(started.run_id)) is RunStatus.CANCELLED
            with pytest.raises(ConfigError, match="not a run id"):
                await client.cancel("latest")
            detail = await started.status()
            assert (detail.status, detail.end_reason) == (RunStatus.CANCELLED, "no longer needed")
            assert detail.step("double").status is StepStatus.CANCELLED
            with pytest.raises(OutputUnavailable, match="it is cancelled"):
                await started.output(double)
            silent = await client.start(doubling, 1)
            await silent.cancel()
            with pytest.raises(RunCancelled, match=r"was cancelled$"):
                await silent.result(1)

    compile_into(dsn, doubling)
    run(scenario())


def test_a_run_that_has_ended_is_not_cancelled_and_an_unknown_one_is_told_of(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(doubling, dsn=dsn), Client(dsn) as client:
            started = await client.start(doubling, 2)
            assert await started.result(30) == 4
            assert await started.cancel() is RunStatus.COMPLETED
            assert await started.result(0) == 4
            with pytest.raises(RunNotFound):
                await client.cancel(uuid4())

    compile_into(dsn, doubling)
    run(scenario())


def test_a_cancellation_commits_or_rolls_back_with_the_callers_rows(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client, await psycopg.AsyncConnection.connect(dsn) as mine:
            started = await client.start(doubling, 1)
            await started.cancel(connection=mine)
            assert (await started.status()).status is RunStatus.STARTED
            await mine.rollback()
            assert (await started.status()).status is RunStatus.STARTED
            await client.cancel(started.run_id, connection=mine)
            await mine.commit()
            assert (await started.status()).status is RunStatus.CANCELLED

    compile_into(dsn, doubling)
    run(scenario())


def test_a_retry_after_a_failure_goes_on_and_keeps_what_is_finished(dsn: str, conn: DbConn, run: Run) -> None:
    mended = Broken()

    async def scenario() -> None:
        async with working(mended.flow, dsn=dsn), Client(dsn) as client:
            started = await client.start(mended.flow, [1, 2, 3])
            with pytest.raises(RunFailed, match="no twos"):
                await started.result(30)
            done = conn.execute("select count(*) from pgflow.step_tasks where status = 'completed'").fetchall()
            mended.broken = False
            before, mended.calls[:] = list(mended.calls), []
            await started.retry()
            assert await started.result(30) == 3 + 60
            assert (await started.status()).retried_count == 1
            again = [call for call in mended.calls if call != "last"]
            assert len(again) == 4 - done[0][0]
            assert "each 2" in again
            assert len(before) == 4
            assert await started.output(collect(mended.each)) == [10, 20, 30]

    compile_into(dsn, mended.flow)
    run(scenario())
    # What went wrong the first time is kept.
    assert conn.execute("select error_message from pgflow.task_attempts").fetchall() == [("no twos",)]


def test_a_retry_from_a_step_runs_it_again_with_all_that_depends_on_it(dsn: str, run: Run) -> None:
    mended = Broken()
    mended.broken = False

    async def scenario() -> None:
        async with working(mended.flow, dsn=dsn), Client(dsn) as client:
            started = await client.start(mended.flow, [1, 2])
            assert await started.result(30) == 2 + 30
            for from_step, expected in (
                (mended.each, ["each 1", "each 2", "last"]),
                ("last", ["last"]),
                (collect(mended.each), ["each 1", "each 2", "last"]),
                (mended.first, ["first", "last"]),
            ):
                mended.calls.clear()
                await started.retry(from_step=from_step)
                assert await started.result(30) == 2 + 30
                assert sorted(mended.calls) == expected

    compile_into(dsn, mended.flow)
    run(scenario())


def test_a_cancelled_run_goes_on_after_a_retry(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            started = await client.start(doubling, 3)
            await started.cancel("a mistake")
            await started.retry()
            detail = await started.status()
            assert (detail.status, detail.end_reason, detail.ended_at) == (RunStatus.STARTED, None, None)
            waiting = asyncio.ensure_future(started.result(30))
            async with working(doubling, dsn=dsn):
                assert await waiting == 6

    compile_into(dsn, doubling)
    run(scenario())


def test_the_end_of_a_retried_run_is_heard_without_polling(dsn: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "FIRST_POLL_SECONDS", 36_000.0)
    monkeypatch.setattr(run_module, "LAST_POLL_SECONDS", 36_000.0)

    async def scenario() -> None:
        async with working(doubling, dsn=dsn), Client(dsn) as client:
            started = await client.start(doubling, 3)
            for _ in range(3):
                assert await started.result(30) == 6
                await started.retry(from_step=double)
            waiting = asyncio.ensure_future(started.result(30))
            assert await waiting == 6

    compile_into(dsn, doubling)
    run(scenario())


def test_every_refusal_to_retry_has_its_own_error(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            started = await client.start(doubling, 1)
            with pytest.raises(RunNotRetryable, match="open"):
                await started.retry()
            async with working(doubling, dsn=dsn):
                await started.result(30)
            with pytest.raises(RunNotRetryable, match="completed"):
                await started.retry()
            with pytest.raises(StepNotFound):
                await started.retry(from_step="tripple")
            with pytest.raises(DefinitionError, match=r"unknown step|no step"):
                await started.retry(from_step=Broken().first)
            with pytest.raises(RunNotFound):
                await client.run(doubling, uuid4()).retry()

    compile_into(dsn, doubling)
    run(scenario())


def test_a_retry_whose_answer_is_lost_is_not_repeated(dsn: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    retry_run, made = calls.retry_run, 0

    async def lost(conn: Any, run_id: Any, from_step: str | None = None) -> RunHead:
        nonlocal made
        made += 1
        await retry_run(conn, run_id, from_step)
        raise DatabaseUnavailable("the connection broke")

    monkeypatch.setattr(calls, "retry_run", lost)

    async def scenario() -> None:
        async with Client(dsn) as client:
            started = await client.start(doubling, 1)
            await started.cancel()
            with pytest.raises(DatabaseUnavailable):
                await started.retry()
            assert (await started.status()).retried_count == 1

    compile_into(dsn, doubling)
    run(scenario())
    assert made == 1


class Job(BaseModel):
    numbers: list[int]
    dry: bool


def test_a_skipped_step_has_no_output_and_says_so(dsn: str, run: Run) -> None:
    async def send(job: Job) -> int:
        return len(job.numbers)

    async def numbers(job: Job) -> list[int]:
        return job.numbers

    async def each(number: int) -> int:
        if number == 2:
            raise ValueError("no twos")
        return number

    async def report(sent: int | None, each: list[int] | None) -> str:
        return f"{sent} {each}"

    flow = (
        Flow("skipping", Job, max_attempts=1)
        .step(send, unless={"dry": True})
        .array(numbers)
        .map(each, numbers, when_exhausted="skip")
        .step(report, maybe(send), maybe(collect(each)))
        .returns(report)
    )

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(dsn) as client:
            started = await client.start(flow, Job(numbers=[1, 2], dry=True))
            assert await started.result(30) == "None None"
            for handler in (send, collect(each)):
                with pytest.raises(OutputUnavailable, match="it is skipped") as caught:
                    await started.output(handler)
                assert caught.value.status == "skipped"
            sent: int | None = await started.output(maybe(send))
            assert sent is None
            assert await started.output(maybe(collect(each))) is None
            detail = await started.status()
            skipped = {step.slug: step.skip_reason for step in detail.steps if step.status is StepStatus.SKIPPED}
            assert skipped == {"send": "condition_unmet", "each": "handler_failed"}
            assert "no twos" in (detail.step("each").error_message or "")
            other = await client.start(flow, Job(numbers=[1, 1], dry=False))
            assert await other.result(30) == "2 [1, 1]"
            assert await other.output(maybe(send)) == 2
            assert await other.output(maybe(collect(each))) == [1, 1]

    compile_into(dsn, flow)
    run(scenario())


def test_a_listing_goes_on_after_its_last_row_even_when_all_runs_started_at_once(
    dsn: str, conn: DbConn, run: Run
) -> None:
    async def scenario() -> list[Any]:
        async with Client(dsn) as client:
            await client.start_many(doubling, list(range(25)))
            conn.execute("update pgflow.runs set started_at = '2026-01-01'")
            seen: list[Any] = []
            last: RunRow | None = None
            while page := await client.list_runs(doubling, limit=10, before=last):
                seen += [row.run_id for row in page]
                last = page[-1]
            return seen

    compile_into(dsn, doubling)
    seen = run(scenario())
    assert len(seen) == len(set(seen)) == 25


def test_an_open_run_is_explained_step_by_step(dsn: str, run: Run) -> None:
    broken = Broken()

    async def scenario() -> None:
        async with Client(dsn) as client:
            started = await client.start(broken.flow, [1, 2])
            found = await started.explain()
            waits = {(str(one.step_slug), one.task_index): one.waits_for for one in found}
            assert waits["last", None] == "dependency"
            assert waits["each", 0] == waits["each", 1] == waits["first", 0] == "no_worker"
            assert all(one.detail and one.worker_id is None for one in found)
            await started.cancel("enough")
            (ended,) = await started.explain()
            assert "enough" in ended.detail
            with pytest.raises(RunNotFound):
                await client.run(broken.flow, uuid4()).explain()

    compile_into(dsn, broken.flow)
    run(scenario())


def test_a_running_task_is_explained_by_the_worker_that_has_it(dsn: str, run: Run) -> None:
    begun = asyncio.Event()

    async def wait(number: int) -> int:
        begun.set()
        await asyncio.Event().wait()
        return number

    flow = Flow("waits", int, timeout=600).step(wait).returns(wait)

    async def scenario() -> None:
        async with working(flow, dsn=dsn, grace_seconds=0) as worker, Client(dsn) as client:
            started = await client.start(flow, 1)
            await begun.wait()
            found = [one for one in await started.explain() if one.task_index is not None]
            assert [(one.waits_for, one.worker_id) for one in found] == [("lease", worker.worker_id)]

    compile_into(dsn, flow)
    run(scenario())
