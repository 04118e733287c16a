"""A client in a process of its own, to be killed while it starts a run."""

import asyncio
from uuid import UUID

from flowdsl.client import Client
from flowdsl.torture.flows import FAN_OUT, Job


def start(dsn: str, run_id: str, seed: int, size: int) -> None:
    """Start one run."""

    async def started() -> None:
        async with Client(dsn) as client:
            await client.start(FAN_OUT, Job(seed=seed, size=size), run_id=UUID(run_id))

    asyncio.run(started())
