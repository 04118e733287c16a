"""Starting runs with the real client, as a user would."""

import time
from collections.abc import Sequence
from typing import Any

from flowdsl.bench.flows import AnyFlow, Item
from flowdsl.client import Client


def items(count: int) -> list[Item]:
    """Make so many inputs."""
    return [Item(number=number) for number in range(count)]


async def start_many(url: str, flow: AnyFlow, inputs: Sequence[Any]) -> float:
    """Start a run for each input with one call, on one connection; runs per second."""
    async with Client(url, min_size=1, max_size=1) as client:
        await _warm_up(client, flow)
        began = time.perf_counter()
        await client.start_many(flow, inputs)
        return len(inputs) / (time.perf_counter() - began)


async def start_one_by_one(url: str, flow: AnyFlow, inputs: Sequence[Any]) -> float:
    """Start a run for each input with a call and a commit each, on one connection; runs per second."""
    async with Client(url, min_size=1, max_size=1) as client:
        await _warm_up(client, flow)
        began = time.perf_counter()
        for value in inputs:
            await client.start(flow, value)
        return len(inputs) / (time.perf_counter() - began)


async def _warm_up(client: Client, flow: AnyFlow) -> None:
    # Connects and checks the core, which is done once in the life of a client, and starts nothing.
    await client.list_runs(flow, limit=1)
