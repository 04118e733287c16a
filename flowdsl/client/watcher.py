"""Hear of the end of runs: one connection that listens, shared by everyone who waits.

Nobody relies on it. Whoever waits looks for itself now and then, so a pooler that swallows notifications, or a connection
that is down, only costs latency.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from uuid import UUID

from flowdsl.errors import DatabaseError
from flowdsl.gateway import connections

logger = logging.getLogger(__name__)

RUNS_CHANNEL = "pgflow_runs"
_RECONNECT_SECONDS = 1.0


class Watcher:
    """Sets the events of those who wait for a run when the database says that it ended."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextlib.contextmanager
    def waiting_for(self, run_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when it is worth looking at the run, perhaps without reason."""
        event, key = asyncio.Event(), str(run_id)
        self._waiting[key].add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    async def run(self) -> None:
        """Listen until cancelled, or until it is clear that nothing will be heard."""
        while True:
            try:
                if not await self._listen():
                    logger.info("notifications do not pass the pooler that leads to the database; polling goes on")
                    return
            except DatabaseError as error:
                logger.debug("not listening for the end of runs: %s", error.message)
            except Exception:
                logger.exception("listening for the end of runs failed; polling goes on")
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> bool:
        """Listen until the connection breaks; False at once where notifications do not arrive."""
        conn = await connections.connect(self._conninfo, prepare=False)
        try:
            if not await connections.hears(conn, self._conninfo):
                return False
            await connections.listen(conn, RUNS_CHANNEL)
            # What ended before we listened is found by looking.
            for run_id in list(self._waiting):
                self._wake(run_id)
            async for run_id in connections.notifications(conn):
                self._wake(run_id)
            return True
        finally:
            await connections.close(conn)

    def _wake(self, run_id: str) -> None:
        for event in self._waiting.get(run_id, ()):
            event.set()
