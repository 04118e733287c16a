"""Flows of every shape, from a start to a result, through a real database and a real worker."""

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from flowdsl.client import Client
from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect, named
from flowdsl.types import RunStatus, StepStatus, TaskStatus
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, working


class Greeting(BaseModel):
    text: str
    at: datetime


@dataclass
class Weight:
    grams: int


async def greet(name: str) -> Greeting:
    return Greeting(text=f"Hello {name}", at=datetime(2024, 1, 2, tzinfo=UTC))


def length(greeting: Greeting) -> int:
    return len(greeting.text)


def shout(greeting: Greeting) -> str:
    return greeting.text.upper()


async def join(name: str, size: int, loud: str) -> str:
    return f"{name}:{size}:{loud}"


diamond = (
    Flow("diamond", str).step(greet).step(length, greet).step(shout, greet).step(join, str, length, shout).returns(join)
)


async def numbers(count: int) -> list[int]:
    return list(range(count))


async def base(count: int) -> int:
    return count * 100


async def add(number: int, base: int, count: int) -> Weight:
    return Weight(grams=number + base + count)


def total(weights: list[Weight]) -> int:
    return sum(weight.grams for weight in weights)


fan_out = (
    Flow("fan_out", int).array(numbers).step(base).map(add, numbers, base, int).step(total, collect(add)).returns(total)
)


async def double(number: int) -> int:
    return number * 2


root_map = Flow("root_map", list[int]).map(double).returns(collect(double))


async def nothing(x: bool) -> None:
    return None


async def no(x: bool) -> bool:
    return False


async def zero(x: bool) -> int:
    return 0


async def empty(x: bool) -> str:
    return ""


async def void(x: bool) -> list[int]:
    return []


async def see(a: None, b: bool, c: int, d: str, e: list[int]) -> str:
    return repr((a, b, c, d, e))


falsy = (
    Flow("falsy", bool)
    .step(nothing)
    .step(no)
    .step(zero)
    .step(empty)
    .step(void)
    .step(see, nothing, no, zero, empty, void)
)


async def describe(word: str, context: Context) -> dict[str, Any]:
    return {
        "run_id": str(context.run_id),
        "names": [context.flow_slug, context.step_slug],
        "numbers": [context.flow_version, context.task_index, context.attempt, context.max_attempts],
    }


contextual = Flow("contextual", list[str], max_attempts=7).map(describe)


def test_values_flow_through_a_diamond_of_async_and_sync_handlers(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(diamond, dsn=dsn), Client(dsn) as client:
            started = await client.start(diamond, "Ada")
            assert await started.result(30) == "Ada:9:HELLO ADA"
            assert await started.output(greet) == Greeting(text="Hello Ada", at=datetime(2024, 1, 2, tzinfo=UTC))
            assert await started.output(length) == 9
            detail = await started.status()
            assert detail.status is RunStatus.COMPLETED
            assert [step.slug for step in detail.steps] == ["greet", "length", "shout", "join"]
            assert {step.status for step in detail.steps} == {StepStatus.COMPLETED}
            assert detail.ended_at is not None
            assert detail.ended_at >= detail.started_at

    compile_into(dsn, diamond)
    run(scenario())


def test_an_array_fans_out_and_is_collected_in_order(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(fan_out, dsn=dsn), Client(dsn) as client:
            started = await client.start(fan_out, 5)
            assert await started.result(30) == sum(number + 505 for number in range(5))
            assert await started.output(collect(add)) == [Weight(grams=number + 505) for number in range(5)]
            assert (await started.status()).step("add").tasks[TaskStatus.COMPLETED] == 5

    compile_into(dsn, fan_out)
    run(scenario())


def test_an_empty_map_completes_without_a_task(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(fan_out, root_map, dsn=dsn), Client(dsn) as client:
            assert await (await client.start(fan_out, 0)).result(30) == 0
            assert await (await client.start(root_map, [])).result(30) == []

    compile_into(dsn, fan_out, root_map)
    run(scenario())


def test_a_root_map_runs_once_per_element_of_the_input(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(root_map, dsn=dsn, batch=7, concurrency=20), Client(dsn) as client:
            assert await (await client.start(root_map, list(range(300)))).result(30) == [n * 2 for n in range(300)]

    compile_into(dsn, root_map)
    run(scenario())


def test_falsy_outputs_arrive_as_they_are(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(falsy, dsn=dsn), Client(dsn) as client:
            started = await client.start(falsy, False)
            assert await started.result(30) == {"see": repr((None, False, 0, "", []))}
            assert await started.output(nothing) is None  # type: ignore[func-returns-value] # None is the value
            assert await started.output(no) is False
            assert await started.output(void) == []

    compile_into(dsn, falsy)
    run(scenario())


def test_a_handler_is_told_its_run_task_and_attempt(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(contextual, dsn=dsn), Client(dsn) as client:
            started = await client.start(contextual, ["a", "b"])
            await started.result(30)
            first, second = await started.output(collect(describe))
            assert UUID(first["run_id"]) == started.run_id
            assert first["names"] == ["contextual", "describe"]
            assert first["numbers"] == [1, 0, 1, 7]
            assert second["numbers"] == [1, 1, 1, 7]

    compile_into(dsn, contextual)
    run(scenario())


def test_one_worker_serves_several_flows_with_steps_of_the_same_name(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(root_map, other, dsn=dsn), Client(dsn) as client:
            one, two = await client.start(root_map, [1]), await client.start(other, 1)
            assert await one.result(30) == [2]
            assert await two.result(30) == -1

    async def negate(number: int) -> int:
        return -number

    other = Flow("other", int).step(negate, slug="double").returns(negate)
    compile_into(dsn, root_map, other)
    run(scenario())


def test_one_function_may_be_two_steps(dsn: str, run: Run) -> None:
    again = named("again", double)
    flow = Flow("flow", int).step(double).step(again, double).returns(again)

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(dsn) as client:
            started = await client.start(flow, 1)
            assert await started.result(30) == 4
            assert await started.output(double) == 2

    compile_into(dsn, flow)
    run(scenario())


def test_two_workers_share_one_run(dsn: str, run: Run) -> None:
    meeting = threading.Barrier(2, timeout=30)
    served: list[str] = []

    def meet(name: str) -> str:
        # Nobody gets past this point unless both workers run a task at the same time.
        meeting.wait()
        served.append(name)
        return name

    shared = Flow("shared", list[str]).map(meet)

    async def scenario() -> None:
        options = {"concurrency": 1, "batch": 1}
        async with working(shared, dsn=dsn, **options), working(shared, dsn=dsn, **options), Client(dsn) as client:
            started = await client.start(shared, ["a", "b", "c", "d"])
            assert await started.result(60) == {"meet": ["a", "b", "c", "d"]}

    compile_into(dsn, shared)
    run(scenario())
    assert sorted(served) == ["a", "b", "c", "d"]


def test_sync_handlers_run_in_threads_side_by_side_and_see_copied_context(dsn: str, run: Run) -> None:
    meeting = threading.Barrier(4, timeout=30)

    def meet(name: str) -> str:
        meeting.wait()
        return threading.current_thread().name

    threaded = Flow("threaded", list[str]).map(meet)

    async def scenario() -> None:
        async with working(threaded, dsn=dsn, concurrency=4, batch=4), Client(dsn) as client:
            names = (await (await client.start(threaded, list("abcd"))).result(30))["meet"]
            assert len(set(names)) == 4
            assert threading.main_thread().name not in names

    compile_into(dsn, threaded)
    run(scenario())


@pytest.mark.parametrize(("batch", "concurrency"), [(1, 1), (1, 50), (50, 1), (100, 200)])
def test_every_mix_of_batch_and_concurrency_completes_all_runs_once(
    dsn: str, run: Run, batch: int, concurrency: int
) -> None:
    calls: list[int] = []

    async def note(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0)
        return number

    noted = Flow("noted", int).step(note).returns(note)

    async def scenario() -> None:
        async with working(noted, dsn=dsn, batch=batch, concurrency=concurrency), Client(dsn) as client:
            runs = await client.start_many(noted, list(range(200)))
            async with asyncio.TaskGroup() as group:
                results = [group.create_task(started.result(60)) for started in runs]
            assert [result.result() for result in results] == list(range(200))

    compile_into(dsn, noted)
    run(scenario())
    assert sorted(calls) == list(range(200))
