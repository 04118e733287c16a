"""New code beside runs of the version before: it carries them out where it can, and callers go on where they may."""

from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

from flowdsl import Flow
from flowdsl.client import Client
from flowdsl.errors import FlowNotCompiled, FlowRetired
from flowdsl.types import RunStatus
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, working


class Order(BaseModel):
    item: str


class Priced(BaseModel):
    item: str
    cents: int


def old_code() -> Flow[Order, str]:
    def price(order: Order) -> Priced:
        return Priced(item=order.item, cents=100)

    def bill(priced: Priced) -> str:
        return f"old bill: {priced.item} {priced.cents}"

    return Flow("orders", Order).step(price).step(bill, price).returns(bill)


def new_code() -> Flow[Any, str]:
    """One more step, a key that may be missing in the input, and one more in what is written between two steps."""

    class Order(BaseModel):
        item: str
        note: str | None = None

    class Priced(BaseModel):
        item: str
        cents: int
        currency: str = "EUR"

    def price(order: Order) -> Priced:
        return Priced(item=order.item, cents=200)

    def bill(priced: Priced) -> str:
        return f"new bill: {priced.item} {priced.cents} {priced.currency}"

    def ship(order: Order, text: str) -> None:
        return None

    return Flow("orders", Order).step(price).step(bill, price).step(ship, Order, bill).returns(bill)


def other_code() -> Flow[Any, int]:
    class Order(BaseModel):
        item: str
        count: int

    def price(order: Order) -> int:
        return order.count

    return Flow("orders", Order).step(price).returns(price)


def test_workers_with_new_code_carry_out_the_runs_of_a_compatible_version(run: Run, dsn: str) -> None:
    old, new = old_code(), new_code()

    async def scenario() -> None:
        async with Client(dsn) as client:
            first = compile_into(dsn, old)
            whole = await client.start(old, Order(item="cup"))
            half = await client.start(old, Order(item="pot"))
            async with working(old, dsn=dsn, concurrency=1, batch=1):
                await half.result(timeout=30)
            open_run = await client.start(old, Order(item="tea"))
            second = compile_into(dsn, new, history=[first])
            assert (second.version, second.serves_from, second.accepts_from) == (2, 1, 1)
            async with working(new, dsn=dsn):
                assert await open_run.result(timeout=30) == "new bill: tea 200 EUR"
                assert (await whole.result(timeout=30)).endswith("cup 100")
                # a caller that has not been replaced yet
                later = await client.start(old, Order(item="jug"))
                assert await later.result(timeout=30) == "new bill: jug 200 EUR"
            with psycopg.connect(dsn) as conn:
                found = conn.execute("select flow_version, status from pgflow.runs order by started_at").fetchall()
            assert found == [(1, "completed"), (1, "completed"), (1, "completed"), (2, "completed")]

    run(scenario())


def test_a_run_that_old_and_new_workers_share_ends_well(run: Run, dsn: str) -> None:
    old, new = old_code(), new_code()

    async def scenario() -> None:
        async with Client(dsn) as client:
            first = compile_into(dsn, old)
            runs = await client.start_many(old, [Order(item=f"cup {number}") for number in range(200)])
            compile_into(dsn, new, history=[first])
            async with working(old, dsn=dsn, batch=3), working(new, dsn=dsn, batch=3):
                results = {await each.result(timeout=60) for each in runs}
            kinds = {(text.startswith("new"), "200" in text.split("cup")[1]) for text in results}
            assert kinds == {(True, True), (True, False), (False, True), (False, False)}, (
                "each step went to whoever came"
            )

    run(scenario())


def test_runs_of_an_incompatible_version_wait_for_workers_with_its_code(run: Run, dsn: str) -> None:
    old, other = old_code(), other_code()

    async def scenario() -> None:
        async with Client(dsn) as client:
            first = compile_into(dsn, old)
            waiting = await client.start(old, Order(item="tea"))
            second = compile_into(dsn, other, history=[first])
            assert (second.serves_from, second.accepts_from) == (2, 2)
            async with working(other, dsn=dsn):
                with pytest.raises(FlowNotCompiled, match="its current version 2 has another shape"):
                    await client.start(old, Order(item="tea"))
                started = await client.start(other, other.input_type(item="tea", count=3))
                assert await started.result(timeout=30) == 3
                assert (await waiting.status()).status is RunStatus.STARTED
            async with working(old, dsn=dsn):
                assert await waiting.result(timeout=30) == "old bill: tea 100"

    run(scenario())


def test_a_client_is_told_that_a_flow_is_retired(run: Run, dsn: str) -> None:
    flow = old_code()
    compile_into(dsn, flow)

    async def scenario() -> None:
        async with Client(dsn) as client:
            going_on = await client.start(flow, Order(item="tea"))
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute("select pgflow.retire_flow('orders')")
            with pytest.raises(FlowRetired, match="retired and starts no new runs"):
                await client.start(flow, Order(item="tea"))
            async with working(flow, dsn=dsn):
                assert await going_on.result(timeout=30) == "old bill: tea 100"

    run(scenario())
