"""Following a run to its end: look at it again and again, show it, outlive a database that goes away for a while."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from flowdsl.cli.connection import connected
from flowdsl.cli.description import Description, described
from flowdsl.cli.output import note
from flowdsl.cli.progress import View
from flowdsl.database import Database
from flowdsl.errors import DatabaseUnavailable, ResultTimeout
from flowdsl.gateway.calls import describe_run, list_flows, run_outcome
from flowdsl.gateway.connections import Connection
from flowdsl.gateway.rows import RunOutcome
from flowdsl.types import RunId, RunStatus

QUICK_LOOK_SECONDS = 0.1
QUICK_LOOKS = 20
LOOK_SECONDS = 0.4
PATIENCE_WITHOUT_WORKER_SECONDS = 1.5
PATIENCE_WITHOUT_DATABASE_SECONDS = 60.0


@dataclass(kw_only=True)
class Follower:
    """Shows one run in a view until the run has ended.

    `max_tasks` is how many of its tasks the view wants to see. `on_no_worker` is called once, with the flow's slug, when
    tasks wait and no living worker serves the flow.
    """

    database: Database
    command: str
    view: View
    max_tasks: int = 0
    on_no_worker: Callable[[str], None] | None = None
    _looks: int = 0
    _seen_at: float | None = None

    async def follow(self, run_id: RunId, patience: float | None = None) -> RunOutcome:
        """Return how the run ended.

        Raises:
            ResultTimeout: it did not end within `patience` seconds.
            DatabaseUnavailable: there is no database at the start, or it stayed away for a minute.
        """
        try:
            async with asyncio.timeout(patience):
                with self.view:
                    return await self._until_end(run_id)
        except TimeoutError as error:
            raise ResultTimeout(run_id, patience or 0.0) from error

    async def _until_end(self, run_id: RunId) -> RunOutcome:
        said = False
        while True:
            try:
                async with connected(self.database, self.command) as conn:
                    while True:
                        await self._look_until_end(conn, run_id)
                        outcome = await run_outcome(conn, run_id)
                        if outcome.status is not RunStatus.STARTED:  # else it was retried this very moment
                            return outcome
            except DatabaseUnavailable as error:
                if self._seen_at is None or time.monotonic() - self._seen_at > PATIENCE_WITHOUT_DATABASE_SECONDS:
                    raise
                if not said:
                    note(f"The database does not answer ({error.message}); trying again. The run is not affected.")
                    said = True
                await asyncio.sleep(1.0)

    async def _look_until_end(self, conn: Connection, run_id: RunId) -> None:
        began = time.monotonic()
        while True:
            document = await describe_run(conn, run_id, self.max_tasks, with_values=self.max_tasks > 0)
            description = described(document)
            self._seen_at = time.monotonic()
            self.view.show(document, description)
            if description.has_ended:
                return
            if time.monotonic() - began > PATIENCE_WITHOUT_WORKER_SECONDS:
                await self._look_for_a_worker(conn, description)
            self._looks += 1
            await asyncio.sleep(QUICK_LOOK_SECONDS if self._looks < QUICK_LOOKS else LOOK_SECONDS)

    async def _look_for_a_worker(self, conn: Connection, description: Description) -> None:
        tell, self.on_no_worker = self.on_no_worker, None
        if tell is None or any(step.tasks.started for step in description.steps):
            return
        slug, version = description.run.flow_slug, description.run.flow_version
        served = {(flow.flow_slug, flow.flow_version) for flow in await list_flows(conn) if flow.live_workers}
        if (slug, version) not in served:
            tell(slug)
