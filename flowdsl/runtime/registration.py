"""Who this worker is to the database.

A worker id is used once. When the database has forgotten it, or considers it dead, the worker registers again under a new
id, so that no lease of the former life can be mistaken for one of the new.
"""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from flowdsl.gateway import calls
from flowdsl.gateway.connections import Connection
from flowdsl.types import WorkerId

logger = logging.getLogger(__name__)


class Registration:
    """The worker's id and what it offers. `worker_id` may be read from any thread."""

    def __init__(
        self, flows: Sequence[tuple[str, str]], *, queues: Sequence[str] | None, name: str, lease_seconds: int
    ) -> None:
        self._flows = tuple(flows)
        self._queues = None if queues is None else tuple(queues)
        self._name = name
        self._lease_seconds = lease_seconds
        self.worker_id = WorkerId(uuid4())
        self.is_lost = False
        self.log_fields: dict[str, Any] = {"worker_id": str(self.worker_id)}
        """What every log record of this worker carries; one dict for all, so that a new id shows everywhere."""

    async def register(self, conn: Connection) -> None:
        """Announce the worker.

        Raises:
            FlowNotCompiled: a flow, or this shape of it, is not in the database.
        """
        await calls.register_worker(conn, self.worker_id, self._flows, self._queues, self._name, self._lease_seconds)

    def lose(self, worker_id: UUID) -> None:
        """Note that the database no longer knows that id; an id that has been replaced already is ignored."""
        if worker_id == self.worker_id:
            self.is_lost = True

    async def renew(self, conn: Connection) -> None:
        """Register again under a new id."""
        former, self.worker_id = self.worker_id, WorkerId(uuid4())
        self.log_fields["worker_id"] = str(self.worker_id)
        await self.register(conn)
        self.is_lost = False
        logger.warning("the database no longer knew worker %s; registered again", former, extra=self.log_fields)
