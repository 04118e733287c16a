"""How far the runs are, by the database's clock: what takes time is what the database saw, not what we saw."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from flowdsl.bench.errors import BenchError
from flowdsl.bench.processes import Child
from flowdsl.bench.stage import Connection, connect

STALLED_SECONDS = 120.0
"""When no run ends for so long, something is broken."""

_LOOK_SECONDS = 0.1
# Looking costs the server time, so at most one part in so many is spent on it.
_SPARING = 50

_COMPLETED = "select count(*) from pgflow.runs where status = 'completed'"
_STRETCH = """
select (select count(*) from pgflow.step_tasks where status = 'completed'),
  extract(epoch from (select max(completed_at) from pgflow.runs) - (select min(started_at) from pgflow.step_tasks))::float8
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Some work from its first claim to its last completion. A step of a map counts once for each element."""

    steps: int
    seconds: float

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds


def until_completed(url: str, runs: int, children: Sequence[Child]) -> Stretch:
    """Wait until so many runs have completed.

    Raises:
        BenchError: a child died, or nothing moves any more.
    """
    with connect(url) as conn:
        count, moved_at = -1, time.monotonic()
        while count < runs:
            began = time.monotonic()
            found = completed_runs(conn)
            now = time.monotonic()
            if found != count:
                count, moved_at = found, now
            elif now - moved_at > STALLED_SECONDS:
                raise BenchError(f"{count} of {runs} runs have completed, and for {STALLED_SECONDS:.0f} s no other one")
            for child in children:
                child.check()
            if count < runs:
                time.sleep(max(_LOOK_SECONDS, _SPARING * (now - began)))
        return stretch(conn)


def completed_runs(conn: Connection) -> int:
    """Return how many runs have completed."""
    return int(one(conn, _COMPLETED)[0])


def stretch(conn: Connection) -> Stretch:
    """Return what was worked off in this database, and in what time."""
    steps, seconds = one(conn, _STRETCH)
    return Stretch(steps=int(steps), seconds=float(seconds))


def one(conn: Connection, query: str, *params: Any) -> tuple[Any, ...]:
    """Return the only row of a query."""
    row = psycopg.Cursor(conn).execute(query.encode(), params or None).fetchone()
    if row is None:
        raise BenchError(f"no row for: {query}")
    return tuple(row)
