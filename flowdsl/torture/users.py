"""Those who start runs, wait for them, cancel some and retry some, and know how each of them has to end.

They are killed too, in a way: their connections are, and the server under them. So they insist: a call without an answer is
made again, which is harmless, since every start carries its run's id.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from flowdsl.client import Client
from flowdsl.client.run import Run
from flowdsl.errors import DatabaseUnavailable, RunCancelled, RunFailed, RunNotRetryable
from flowdsl.gateway.connections import Connection
from flowdsl.gateway.errors import translated
from flowdsl.torture.checks import Wanted
from flowdsl.torture.flows import ORACLES, Job
from flowdsl.types import RunStatus

T = TypeVar("T")

OPEN_MAX = 60
_PAUSE_SECONDS = 0.05
# Of all runs, so many are cancelled (half of them for good), and so many more run again from some step.
_CANCELLED, _RETRIED = 0.1, 0.15
WEIGHTS = {
    "torture_chain": 6, "torture_fan": 6, "torture_nested": 4, "torture_root": 3, "torture_slow": 2, "torture_doomed": 2,
    "torture_turns": 6, "torture_overdue": 1,
}  # fmt: skip
_STALLED = "select exists (select from pgflow.step_tasks where run_id = %s and permanently_stalled_at is not null)"
_MEND = "insert into torture.mended (run_id) values (%s) on conflict do nothing"


class Users:
    """Keeps about `OPEN_MAX` runs open.

    `wanted` says how each has to end, `did` counts what was done, `errors` are those that nobody expects of a client.
    """

    def __init__(self, client: Client, seed: int) -> None:
        self.wanted: dict[UUID, Wanted] = {}
        self.did: Counter[str] = Counter()
        self.errors: list[str] = []
        self.open: set[asyncio.Task[None]] = set()
        self._client = client
        self._seed = seed
        self._number = 0

    async def run(self) -> None:
        """Start runs until cancelled; what has been started goes on."""
        while True:
            if len(self.open) < OPEN_MAX:
                self._number += 1
                story = asyncio.ensure_future(self._story(random.Random(f"{self._seed}-{self._number}")))  # noqa: S311
                self.open.add(story)
                story.add_done_callback(self._ended)
            await asyncio.sleep(0.02)

    async def finish(self, seconds: float) -> None:
        """Wait until every run has ended; when none ends for so long, those that are still open are stuck."""
        while self.open:
            ended, _ = await asyncio.wait(self.open, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not ended:
                return

    async def abandon(self) -> None:
        """Wait for nobody any more."""
        stories = list(self.open)
        for story in stories:
            story.cancel()
        await asyncio.gather(*stories, return_exceptions=True)

    def _ended(self, story: asyncio.Task[None]) -> None:
        self.open.discard(story)
        if not story.cancelled() and (error := story.exception()) is not None:
            self.errors.append(f"{type(error).__name__}: {error}")

    async def _story(self, dice: random.Random) -> None:
        (slug,) = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
        flow, _ = ORACLES[slug]
        given = _input(slug, dice)
        run_id = UUID(int=dice.getrandbits(128), version=4)
        run = await _insist(lambda: self._client.start(flow, given, run_id=run_id))
        left_alone = RunStatus.FAILED if slug in ("torture_doomed", "torture_overdue") else RunStatus.COMPLETED
        self.wanted[run_id] = Wanted(flow_slug=slug, given=given, status=left_alone)
        fate = dice.random()
        if fate < _CANCELLED:
            await asyncio.sleep(dice.random())
            if await _insist(run.cancel) is RunStatus.CANCELLED:
                self.did["cancel_run"] += 1
                if dice.random() < 0.5:
                    self._want(run_id, RunStatus.CANCELLED)
                    return
                await self._retry(run, left_alone)
        status = await self._end(run)
        if slug == "torture_doomed" and status is RunStatus.FAILED:
            await _insist(lambda: self._client.do(lambda conn: _ask(conn, _MEND, run_id)))
            await self._retry(run, RunStatus.COMPLETED)
        elif slug != "torture_overdue" and _CANCELLED <= fate < _RETRIED:
            await self._retry(run, RunStatus.COMPLETED, dice.choice([step.slug for step in flow.steps]))
        await self._end(run)

    def _want(self, run_id: UUID, status: RunStatus) -> None:
        self.wanted[run_id] = replace(self.wanted[run_id], status=status)

    async def _retry(self, run: Run[Any], status: RunStatus, from_step: str | None = None) -> None:
        """Take an ended run up again, which then has to end like this."""
        self.did["retry_run"] += 1
        self.wanted[run.run_id] = replace(self.wanted[run.run_id], status=status, retried=True)

        async def again() -> None:
            try:
                await run.retry(from_step=from_step)
            except RunNotRetryable:
                return  # an earlier try, of which we did not hear, has done it

        await _insist(again)

    async def _end(self, run: Run[Any]) -> RunStatus:
        """Wait for a run's end; one that failed since a task was killed too often is taken up again."""
        while True:
            status = await _insist(lambda: _ended(run))
            if status is not RunStatus.FAILED or not await self._was_killed_too_often(run):
                return status
            self.did["killed too often"] += 1
            await self._retry(run, self.wanted[run.run_id].status)

    async def _was_killed_too_often(self, run: Run[Any]) -> bool:
        rows = await _insist(lambda: self._client.do(lambda conn: _ask(conn, _STALLED, run.run_id)))
        return bool(rows and rows[0][0])


def _input(slug: str, dice: random.Random) -> Any:
    seed = dice.randrange(1_000_000)
    if slug == "torture_root":
        return [seed + index for index in range(dice.randrange(12))]
    return Job(seed=seed, size=dice.randrange(9), turn=dice.choice(("left", "right")))


async def _ended(run: Run[Any]) -> RunStatus:
    try:
        await run.result()
    except RunFailed:
        return RunStatus.FAILED
    except RunCancelled:
        return RunStatus.CANCELLED
    return RunStatus.COMPLETED


async def _ask(conn: Connection, query: Any, run_id: UUID) -> list[Any]:
    with translated():
        cursor = await conn.execute(query, (run_id,))
        return await cursor.fetchall() if cursor.description else []


async def _insist(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except DatabaseUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
