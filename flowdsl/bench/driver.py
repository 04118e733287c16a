"""The ceiling: a loop that hands each claimed batch straight back, without handlers, validation or leases to keep.

It is what the SQL core allows on so many connections; a worker cannot be faster than this.
"""

import asyncio
import uuid

from flowdsl.bench.flows import AnyFlow, Item
from flowdsl.gateway import calls, connections
from flowdsl.gateway.rows import Completed

_IDLE_SECONDS = 0.002
_LEASE_SECONDS = 3600


class Driver:
    """Works a flow off on one connection, until it is stopped. For two connections there are two processes."""

    def __init__(self, url: str, flow: AnyFlow, *, batch: int) -> None:
        self._url = url
        self._flow = flow
        self._batch = batch
        self._stopping = False

    def stop(self) -> None:
        """Stop after the present batch. From any thread."""
        self._stopping = True

    async def run(self) -> None:
        """Work until stopped."""
        output = Item(number=1).model_dump_json().encode()
        worker_id = uuid.uuid4()
        conn = await connections.connect(connections.conninfo(self._url, "pgflow bench driver"))
        try:
            served = [(self._flow.slug, self._flow.shape().fingerprint)]
            await calls.register_worker(conn, worker_id, served, None, "driver", _LEASE_SECONDS)
            done: list[Completed] = []
            while not self._stopping:
                tasks, _ = await calls.complete_and_claim_tasks(conn, worker_id, self._batch, done)
                done = [Completed(task.ref, output) for task in tasks]
                if not tasks:
                    await asyncio.sleep(_IDLE_SECONDS)
            if done:
                await calls.complete_tasks(conn, done)
        finally:
            await connections.close(conn)
