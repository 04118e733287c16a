"""References at work: flows started and awaited by programs that do not have their handlers."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from flowdsl import FlowRef, OutputUnavailable, StepRef, collect, maybe
from flowdsl.client import Client
from flowdsl.errors import FlowNotCompiled, FlowNotFound, FlowRetired, InputError, RunNotFound, StepNotFound
from flowdsl.model.flow import Flow
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, working

SERVICE = """
import asyncio
import json
import sys

from pydantic import BaseModel

from flowdsl import FlowRef, StepRef
from flowdsl.client import Client


class Order(BaseModel):
    items: list[str]


order_total = FlowRef("order_total", Order, int, fingerprint=sys.argv[2])
prices = StepRef("order_total", "price", list[int])


async def main() -> None:
    async with Client(sys.argv[1]) as client:
        run = await client.start(order_total, Order(items=["tea", "cup", "spoon"]))
        total = await run.result(timeout=60)
        print(json.dumps([total, await run.output(prices), "test_flow_ref" in " ".join(sys.modules)]))


asyncio.run(main())
"""


class Order(BaseModel):
    items: list[str]


class Gifts(TypedDict, total=False):
    gift: str


def items(order: Order) -> list[str]:
    return order.items


def price(item: str) -> int:
    return len(item)


def total(prices: list[int]) -> int:
    return sum(prices)


def gift(order: Order) -> str:
    return order.items[0]


order_total = Flow("order_total", Order).array(items).map(price, items).step(total, collect(price)).returns(total)
gifts = Flow("gifts", Order).step(gift, when={"items": ["tea"]})


def reference(flow: Flow[Order, int]) -> FlowRef[Order, int]:
    return FlowRef(flow.slug, Order, int, fingerprint=flow.fingerprint, made_with="pgflow client shop:order_total")


def test_a_program_without_the_handlers_starts_a_flow_and_reads_its_output(dsn: str, run: Run, tmp_path: Path) -> None:
    compile_into(dsn, order_total)
    (tmp_path / "service.py").write_text(SERVICE)
    command = [sys.executable, "-W", "error", "service.py", dsn, order_total.fingerprint]

    async def scenario() -> str:
        async with working(order_total, dsn=dsn):
            done = await asyncio.to_thread(
                subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    assert json.loads(run(scenario())) == [11, [3, 3, 5], False]


def test_many_runs_are_started_by_a_reference_and_found_again(dsn: str, run: Run) -> None:
    compile_into(dsn, order_total)

    async def scenario() -> None:
        ref = reference(order_total)
        async with working(order_total, dsn=dsn), Client(dsn) as client:
            runs = await client.start_many(ref, [Order(items=["a"]), Order(items=[])])
            assert [await each.result(30) for each in runs] == [1, 0]
            assert {row.run_id for row in await client.list_runs(ref)} == {each.run_id for each in runs}
            again = client.run(ref, runs[0].run_id)
            assert await again.result(0) == 1
            assert again.flow is ref
            await again.retry(from_step=StepRef("order_total", "total", int))
            assert await again.result(30) == 1

    run(scenario())


def test_the_output_of_a_skipped_step_is_none_by_maybe(dsn: str, run: Run) -> None:
    compile_into(dsn, gifts)

    async def scenario() -> None:
        ref = FlowRef("gifts", Order, Gifts, fingerprint=gifts.fingerprint)
        present = StepRef("gifts", "gift", str)
        async with working(gifts, dsn=dsn), Client(dsn) as client:
            given = await client.start(ref, Order(items=["tea"]))
            assert await given.result(30) == {"gift": "tea"}
            assert await given.output(maybe(present)) == "tea"
            none = await client.start(ref, Order(items=["cup"]))
            assert await none.result(30) == {}
            with pytest.raises(OutputUnavailable, match="it is skipped"):
                await none.output(present)
            assert await none.output(maybe(present)) is None
            with pytest.raises(StepNotFound):
                await none.output(StepRef("gifts", "wrapping", str))

    run(scenario())


def test_an_outdated_reference_is_refused_and_says_how_to_write_it_anew(dsn: str, run: Run) -> None:
    compile_into(dsn, order_total)

    async def scenario() -> None:
        outdated = FlowRef(
            "order_total", Order, int, fingerprint="0" * 16, made_with="pgflow client shop:order_total -o client.py"
        )
        async with Client(dsn) as client:
            with pytest.raises(FlowNotCompiled, match="'order_total' is in the database, but") as caught:
                await client.start(outdated, Order(items=[]))
            assert caught.value.hint == ("If the flow has changed, run: pgflow client shop:order_total -o client.py")
            assert await client.list_runs() == []

    run(scenario())


def test_a_reference_without_a_fingerprint_starts_whatever_version_there_is(dsn: str, run: Run) -> None:
    compile_into(dsn, order_total)

    async def scenario() -> None:
        async with working(order_total, dsn=dsn), Client(dsn) as client:
            started = await client.start(FlowRef("order_total", Order, int), Order(items=["ab"]))
            assert await started.result(30) == 2

    run(scenario())


def test_a_flow_the_database_does_not_have_and_a_run_of_another_flow_are_not_found(dsn: str, run: Run) -> None:
    compile_into(dsn, order_total)

    async def scenario() -> None:
        async with working(order_total, dsn=dsn), Client(dsn) as client:
            with pytest.raises(FlowNotFound):
                await client.start(FlowRef("missing", Order, int), Order(items=[]))
            started = await client.start(reference(order_total), Order(items=[]))
            await started.result(30)
            with pytest.raises(RunNotFound, match="is of flow 'order_total', not of 'gifts'"):
                await client.run(FlowRef("gifts", Order, int), started.run_id).result(0)

    run(scenario())


# ---- without types --------------------------------------------------------------------------------------------------


def test_a_flow_is_started_by_what_the_database_says_of_it(dsn: str, run: Run) -> None:
    compile_into(dsn, order_total, gifts)

    async def scenario() -> None:
        async with working(order_total, gifts, dsn=dsn), Client(dsn) as client:
            ref = await client.flow_ref("order_total")
            assert ref.fingerprint == order_total.fingerprint
            started = await client.start(ref, {"items": ["tea"]})
            assert await started.result(30) == 3
            assert await started.output(StepRef("order_total", "price", list[int])) == [3]
            with pytest.raises(InputError, match=r"items\.1: 2 is no string"):
                await client.start_many(ref, [{"items": []}, {"items": ["tea", 2]}])
            none = await client.start(await client.flow_ref("gifts"), {"items": ["cup"]})
            assert await none.result(30) == {}
            assert len(await client.list_runs()) == 2
            with pytest.raises(FlowNotFound, match="no flow 'missing'"):
                await client.flow_ref("missing")

    run(scenario())


def test_a_retired_flow_is_not_started_by_its_reference(dsn: str, run: Run) -> None:
    compile_into(dsn, order_total)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("select pgflow.retire_flow('order_total')")

    async def scenario() -> None:
        async with Client(dsn) as client:
            with pytest.raises(FlowRetired, match="'order_total'"):
                await client.start(reference(order_total), Order(items=[]))

    run(scenario())


def test_a_reference_of_an_accepted_version_starts_the_current_one(dsn: str, run: Run) -> None:
    compile_into(dsn, order_total)
    ref = reference(order_total)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "select pgflow.create_flow('order_total', version => 2, fingerprint => 'ffffffffffffffff', accepts_from => 1)"
        )

    async def scenario() -> None:
        async with Client(dsn) as client:
            await client.start(ref, Order(items=[]))
            (row,) = await client.list_runs(ref)
            assert row.flow_version == 2

    run(scenario())
