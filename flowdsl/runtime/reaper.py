"""Take back the tasks of workers that died.

Any worker may do it, for all of them; the database bounds each sweep and lets only one worker have each task. It happens
about once per lease, at a jittered time, so that many workers do not sweep together. Each sweep opens a connection for
itself: a connection held for one short statement per half minute would be a waste.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from flowdsl.errors import DatabaseError
from flowdsl.gateway import calls, connections
from flowdsl.runtime.backoff import jittered

logger = logging.getLogger(__name__)

SWEEP_MAX = 1000


class Reaper:
    """Recovers expired tasks every `interval` seconds or so, and calls `on_work` when there were any."""

    def __init__(self, conninfo: str, *, interval: float, on_work: Callable[[], None], extra: dict[str, Any]) -> None:
        self._conninfo = conninfo
        self._interval = interval
        self._on_work = on_work
        self._extra = extra
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(jittered(self._interval, self._random.random()))
            try:
                await self._sweep()
            except DatabaseError as error:
                logger.debug("could not look for lost tasks: %s", error.message, extra=self._extra)
            except Exception:
                logger.exception("looking for lost tasks failed", extra=self._extra)

    async def _sweep(self) -> None:
        conn = await connections.connect(self._conninfo)
        try:
            recovered = SWEEP_MAX
            while recovered >= SWEEP_MAX:
                recovered = await calls.recover_tasks(conn, SWEEP_MAX)
                if recovered:
                    logger.warning("recovered %d tasks of workers that are gone", recovered, extra=self._extra)
                    self._on_work()
        finally:
            await connections.close(conn)
