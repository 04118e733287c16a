"""What has to happen although no worker caused it: leases run out, tasks stall, deadlines and timers come, old runs go.

Each of these is one function of the database, bounded per call and in a transaction of its own. Every worker calls them all,
at jittered times, and the database lets one at a time do each: so there is no leader that would have to live, and what one
worker leaves unfinished the next one goes on with. A sweep that did as much as it was allowed to is called again at once, but
after the others that are due.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flowdsl.errors import DatabaseError, DatabaseUnavailable
from flowdsl.gateway import calls
from flowdsl.gateway.rows import SweepName
from flowdsl.runtime.backoff import jittered
from flowdsl.runtime.connection import Link
from flowdsl.runtime.options import WorkerOptions

logger = logging.getLogger(__name__)

RECOVER_SECONDS_MAX = 30.0
"""Other workers' leases may be shorter than ours, so we look at least so often."""

STALLED_SECONDS = 30.0
PRUNE_SECONDS, PRUNE_SECONDS_MIN, PRUNES_PER_RETENTION = 300.0, 1.0, 10
"""Runs that are kept for minutes are not to stay for as long again."""


DUE_SECONDS_MIN, DUE_SECONDS_MAX = 0.2, 5.0
"""Deadlines and timers are looked for as often as an idle worker looks for tasks, within these bounds."""

_SWEEP_MAX = 1000
_RUNS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One kind of sweep: about every `seconds`, at most `max_rows` per call.

    `said` is how the log tells that `%d` were found, None to say nothing; `makes_work`: it puts tasks into queues.
    """

    name: SweepName
    seconds: float
    max_rows: int
    said: str | None = None
    level: int = logging.INFO
    makes_work: bool = False
    retention: timedelta | None = None


def sweeps_of(options: WorkerOptions) -> tuple[Sweep, ...]:
    """Return the sweeps a worker of these options takes part in."""
    due = min(max(options.poll_seconds, DUE_SECONDS_MIN), DUE_SECONDS_MAX)
    sweeps = (
        Sweep(
            name="recover",
            seconds=min(options.lease_seconds, RECOVER_SECONDS_MAX),
            max_rows=_SWEEP_MAX,
            said="recovered %d tasks of workers that are gone",
            level=logging.WARNING,
            makes_work=True,
        ),
        Sweep(
            name="stalled",
            seconds=STALLED_SECONDS,
            max_rows=_SWEEP_MAX,
            said="requeued %d tasks that were started long ago and never finished",
            level=logging.WARNING,
            makes_work=True,
        ),
        Sweep(name="deadlines", seconds=due, max_rows=_RUNS_MAX, said="ended %d runs that exceeded their deadline"),
        Sweep(name="timers", seconds=due, max_rows=_SWEEP_MAX, makes_work=True),
    )
    if options.retention is None:
        return sweeps
    share = options.retention.total_seconds() / PRUNES_PER_RETENTION
    prune = Sweep(
        name="prune",
        seconds=min(PRUNE_SECONDS, max(PRUNE_SECONDS_MIN, share)),
        max_rows=_RUNS_MAX,
        said="deleted %d runs that ended long ago",
        retention=options.retention,
    )
    return (*sweeps, prune)


class Sweeper:
    """Calls each sweep when it is due, and `on_work` when there are tasks because of it."""

    def __init__(
        self, link: Link, sweeps: Sequence[Sweep], *, on_work: Callable[[], None], extra: dict[str, Any]
    ) -> None:
        self._link = link
        self._on_work = on_work
        self._extra = extra
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._loop = asyncio.get_running_loop()
        self._refused: set[str] = set()
        # The first time soon: a worker that replaces one that died should not wait for half a lease.
        now = self._loop.time()
        self._due_at = {sweep: now + min(sweep.seconds, 1.0) * self._random.random() for sweep in sweeps}

    async def run(self) -> None:
        """Sweep until cancelled."""
        try:
            while True:
                sweep = min(self._due_at, key=self._due_at.__getitem__)
                await asyncio.sleep(self._due_at[sweep] - self._loop.time())
                again = await self._tried(sweep)
                pause = 0.0 if again else jittered(sweep.seconds, self._random.random())
                self._due_at[sweep] = self._loop.time() + pause
        finally:
            await self._link.close()

    async def _tried(self, sweep: Sweep) -> bool:
        """Tell whether there is more to do."""
        try:
            count = await self._sweep(sweep)
        except DatabaseUnavailable as error:
            await self._link.drop(error)
            await asyncio.sleep(self._link.backoff.next())
        except DatabaseError as error:
            # A role that may not do it, say: worth telling, but not every second.
            level = logging.DEBUG if sweep.name in self._refused else logging.WARNING
            self._refused.add(sweep.name)
            logger.log(level, "the sweep '%s' failed: %s", sweep.name, error.message, extra=self._extra)
            await self._link.suspect(error)
        except Exception:
            logger.exception("the sweep '%s' failed", sweep.name, extra=self._extra)
            await self._link.close()
        else:
            self._link.worked()
            self._refused.discard(sweep.name)
            return count is not None and count >= sweep.max_rows
        return False

    async def _sweep(self, sweep: Sweep) -> int | None:
        conn = await self._link.open()
        count = await calls.run_sweep(conn, sweep.name, sweep.max_rows, sweep.retention)
        if count:
            if sweep.said is not None:
                logger.log(sweep.level, sweep.said, count, extra=self._extra)
            if sweep.makes_work:
                self._on_work()
        return count
