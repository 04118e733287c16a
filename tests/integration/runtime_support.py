"""What the tests of worker and client share: flows put into a database, workers that run beside a test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from flowdsl.compiler.diff import diff
from flowdsl.compiler.versions import FlowVersion
from flowdsl.model.flow import Flow
from flowdsl.runtime.worker import Worker

FAST: dict[str, Any] = {"lease_seconds": 5, "grace_seconds": 5, "poll_seconds": 0.2}


def compile_into(dsn: str, *flows: Flow[Any, Any], history: Sequence[FlowVersion] = ()) -> FlowVersion:
    """Put flows into the database as their migrations do; `history` are the versions it has of the only one."""
    changes = [change for flow in flows if (change := diff(history, flow.shape())) is not None]
    with psycopg.connect(dsn, autocommit=True) as conn:
        for change in changes:
            for operation in change.operations:
                conn.execute(operation.sql().encode())
    return changes[-1].current


@asynccontextmanager
async def working(*flows: Flow[Any, Any], dsn: str, **options: Any) -> AsyncIterator[Worker]:
    """A worker that serves the flows inside of the context, and is drained at its end."""
    worker = Worker(flows, dsn, **{**FAST, **options})
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop_signals=False))
        try:
            yield worker
        finally:
            worker.stop()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition that the test itself brings about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for may happen in another thread or process
            await asyncio.sleep(0.01)
