"""The flows that are measured: their handlers do nothing, on pydantic models of about 100 bytes of JSON.

Workers run them in processes of their own, so each is found by its slug.
"""

from typing import Any

from pydantic import BaseModel

from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect

MEGABYTE = 1_000_000
BLOB_CHARACTERS = MEGABYTE - 100
"""With the JSON around them not more than a megabyte: a hundred of them are as much as a step can be given (100 MB)."""
BRANCHES = 100
"""Elements of the map in the diamond."""

AnyFlow = Flow[Any, Any]


class Item(BaseModel):
    """About 100 bytes of JSON."""

    number: int
    text: str = "x" * 80


class Size(BaseModel):
    """How many elements a map is to have."""

    elements: int


class Blob(BaseModel):
    """About a megabyte of JSON."""

    number: int
    text: str


async def first(item: Item) -> Item:
    """Do nothing."""
    return item


async def second(item: Item) -> Item:
    """Do nothing."""
    return item


async def third(item: Item) -> Item:
    """Do nothing."""
    return item


linear = Flow("bench_linear", Item).step(first).step(second, first).step(third, second).returns(third)


async def scatter(size: Size) -> list[Item]:
    """Make the elements."""
    return [Item(number=number) for number in range(size.elements)]


async def touch(item: Item) -> Item:
    """Do nothing."""
    return item


async def gather(items: list[Item]) -> int:
    """Read all elements."""
    return sum(item.number for item in items)


fan_out = Flow("bench_fan_out", Size).array(scatter).map(touch, scatter).step(gather, collect(touch)).returns(gather)


async def spread(item: Item) -> list[Item]:
    """Make the elements of the diamond's map."""
    return [Item(number=item.number + branch) for branch in range(BRANCHES)]


async def left(items: list[Item]) -> Item:
    """Take one of the elements."""
    return items[0]


async def right(item: Item) -> Item:
    """Do nothing."""
    return item


async def join(item: Item, items: list[Item]) -> Item:
    """Bring both sides together."""
    return Item(number=item.number + len(items))


async def close(item: Item) -> Item:
    """Do nothing."""
    return item


diamond = (
    Flow("bench_diamond", Item)
    .array(spread)
    .step(left, spread)
    .map(right, spread)
    .step(join, left, collect(right))
    .step(close, join)
    .returns(close)
)


async def numbers(size: Size) -> list[int]:
    """Number the blobs."""
    return list(range(size.elements))


async def inflate(number: int) -> Blob:
    """Make a megabyte."""
    return Blob(number=number, text=chr(ord("a") + number % 26) * BLOB_CHARACTERS)


async def weigh(blobs: list[Blob]) -> int:
    """Read all megabytes."""
    return sum(len(blob.text) for blob in blobs)


large = Flow("bench_large", Size).array(numbers).map(inflate, numbers).step(weigh, collect(inflate)).returns(weigh)

FLOWS: dict[str, AnyFlow] = {flow.slug: flow for flow in (linear, fan_out, diamond, large)}
