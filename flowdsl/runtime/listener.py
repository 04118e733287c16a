"""Hear at once that there is work, instead of at the next poll.

Notifications are a convenience, never relied upon: they do not pass through transaction-mode poolers (where it is not tried
either, since that disturbs the others there), and they are lost while the connection is down. Polling is always the floor, so
this service may fail for ever without harm.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from flowdsl.errors import DatabaseError
from flowdsl.gateway import connections
from flowdsl.runtime.connection import Link

logger = logging.getLogger(__name__)

TASKS_CHANNEL = "pgflow_tasks"


def concerns(payload: str, queues: Collection[str] | None) -> bool:
    """Tell whether a notification is about a queue we serve (None: all queues, or one we cannot know of).

    >>> concerns("billing", {"billing", "mail"}), concerns("other", {"billing"}), concerns("other", None)
    (True, False, True)
    """
    return queues is None or payload in queues


class Listener:
    """Calls `on_work` for every notification about one of the queues, and once after each (re)connection."""

    def __init__(
        self, link: Link, *, queues: Collection[str] | None, on_work: Callable[[], None], extra: dict[str, Any]
    ) -> None:
        self._link = link
        self._queues = queues
        self._on_work = on_work
        self._extra = extra

    async def run(self) -> None:
        """Listen until cancelled, or until it is clear that nothing will be heard."""
        try:
            while True:
                try:
                    if not await self._link.hears():
                        logger.info(
                            "notifications do not pass the pooler that leads to the database; polling goes on",
                            extra=self._extra,
                        )
                        return
                    async for payload in self._payloads():
                        if concerns(payload, self._queues):
                            self._on_work()
                except DatabaseError as error:
                    await self._link.drop(error)
                except Exception:
                    logger.exception("listening for work failed; polling goes on", extra=self._extra)
                    await self._link.close()
                await asyncio.sleep(self._link.backoff.next())
        finally:
            await self._link.close()

    async def _payloads(self) -> AsyncIterator[str]:
        conn = await self._link.open()
        await connections.listen(conn, TASKS_CHANNEL)
        self._link.worked()
        # Whatever was announced before we listened is found by looking.
        self._on_work()
        async for payload in connections.notifications(conn):
            yield payload
