"""W5: W1 in front of a backlog, and behind a history: 1,000, 100,000 and 1,000,000 runs queued, 1,000,000 finished.

The worker takes the oldest first, and works for some seconds in each database in turn, from the smallest to the largest. First
with statistics from when there were no more than a few runs, and with autovacuum off, so that they stay like that; then with
statistics of now.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from psycopg import Cursor

from flowdsl.bench import flows, seeding
from flowdsl.bench.errors import BenchError
from flowdsl.bench.processes import Child, go, waiting
from flowdsl.bench.progress import STALLED_SECONDS, Stretch, one
from flowdsl.bench.stage import connect
from flowdsl.bench.workload import Bench, Scale, Workload, sizes

SMALL = sizes(tiny=60, quick=1_000, full=1_000)
QUEUED = {Scale.TINY: (600,), Scale.QUICK: (20_000,), Scale.FULL: (100_000, 1_000_000)}
FINISHED = sizes(tiny=60, quick=20_000, full=1_000_000)
STEPS = sizes(tiny=30, quick=2_000, full=12_000)
"""How many steps a rate is of, about or at least."""

SKIPPED = sizes(tiny=10, quick=500, full=500)
"""The first steps of a worker do not count: it and the server have yet to plan, to cache, and to find the batch's size."""

DRAINING = 0.85
"""Of the steps of a queue that runs empty so many count, for the batches get smaller at its end."""

_LOOK_SECONDS = 0.1
_OPEN = """
select exists (select from pgflow.step_tasks where status = 'queued' and visible_at is null)
  or exists (select from pgflow.step_tasks where status = 'started')
"""
_NOW = "select extract(epoch from clock_timestamp())::float8"
_REGISTERED = "select exists (select from pgflow.workers where started_at >= to_timestamp(%s))"
_ENDS = """
select extract(epoch from completed_at)::float8
from pgflow.step_tasks where status = 'completed' and started_at >= to_timestamp(%s) order by 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A database with so many runs queued. `drains`: so few that they are worked off, over and over."""

    key: str
    label: str
    url: str
    queued: int
    drains: bool


def measure(bench: Bench) -> None:
    """Fill the databases, then measure all rounds, once with each kind of statistics."""
    fewest = sys.maxsize
    with contextlib.ExitStack() as stack:
        grounds = [stack.enter_context(ground) for ground in _grounds(bench)]
        for kind, words in (("_cold", ", cold statistics"), ("", "")):
            if not kind:
                for ground in grounds:
                    bench.say(f"statistics of {ground.label}")
                    seeding.settle_statistics(ground.url)
            rate = 0.0
            for number in range(bench.rounds):
                # The smallest first in the first round, for its rate says how long it will take in the others.
                for ground in grounds if number % 2 == 0 else reversed(grounds):
                    bench.say(f"{ground.label}{words}, {number + 1} of {bench.rounds}")
                    found = _work_for(ground, bench.size(STEPS), bench.size(SKIPPED), rate)
                    rate = rate or found.rate
                    key = f"steps_per_second_{ground.key}{kind}"
                    bench.samples.add(key, f"{ground.label}{words}", "steps/s", found.rate)
                    fewest = min(fewest, found.steps)
    bench.samples.note(
        f"Each rate is of at least {fewest:,} steps. Backlog and history are copies of the rows of real runs, under other ids."
    )


def _grounds(bench: Bench) -> Iterator[contextlib.AbstractContextManager[Ground]]:
    small, finished = bench.size(SMALL), bench.size(FINISHED)
    yield _ground(bench, f"queued_{small}", f"{small:,} runs queued", queued=small, drains=True)
    for count in QUEUED[bench.scale]:
        yield _ground(bench, f"queued_{count}", f"{count:,} runs queued", queued=count)
    label = f"{finished:,} runs finished"
    yield _ground(bench, f"finished_{finished}", label, queued=small, finished=finished, drains=True)


@contextlib.contextmanager
def _ground(
    bench: Bench, key: str, label: str, *, queued: int, finished: int = 0, drains: bool = False
) -> Iterator[Ground]:
    bench.say(f"making {label}")
    with bench.stage.database() as url:
        few = seeding.complete_runs(url, seeding.TEMPLATES)
        seeding.freeze_statistics(url)
        seeding.copy_runs(url, few, finished // len(few))
        seeding.queue_runs(url, queued)
        yield Ground(key=key, label=label, url=url, queued=queued, drains=drains)


def _work_for(ground: Ground, steps: int, skipped: int, rate: float) -> Stretch:
    """Work off about so many steps; where few runs are queued, all of them, over and over until there were as many."""
    done, took = 0, 0.0
    while not done or (ground.drains and done < steps):
        seeding.queue_runs(ground.url, ground.queued)
        ends = _work(ground, None if ground.drains else (skipped + steps) / rate)
        if not ends:
            raise BenchError(f"no step was completed with {ground.label}")
        found = steady(ends[: round(len(ends) * DRAINING)] if ground.drains else ends, skipped)
        done, took = done + found.steps, took + found.seconds
    return Stretch(steps=done, seconds=took)


def steady(ends: Sequence[float], skipped: int) -> Stretch:
    """Return the stretch after so many steps have ended, up to the last end; nothing if there were no more. `ends` ascend.

    >>> steady([1.0, 1.0, 2.0, 2.0, 3.0], 2)
    Stretch(steps=3, seconds=2.0)
    """
    if len(ends) <= skipped:
        return Stretch(steps=0, seconds=0.0)
    begin, end = ends[skipped - 1], ends[-1]
    # A batch ends all at once, so more than so many may have ended then.
    return Stretch(steps=sum(begin < at for at in ends), seconds=end - begin)


def _work(ground: Ground, seconds: float | None) -> list[float]:
    """Work for so many seconds, or until the queue is empty; when each step ended, in that order."""
    with connect(ground.url) as conn:
        # Looking is not to read a table of a million rows from end to end, whatever the statistics are like.
        conn.execute("set enable_seqscan = off")
        (began,) = one(conn, _NOW)
        with waiting("worker", ground.url, flows.linear.slug) as children:
            go(children)
            _until(children, lambda: bool(one(conn, _REGISTERED, began)[0]), STALLED_SECONDS)
            _until(children, lambda: seconds is None and not one(conn, _OPEN)[0], seconds or STALLED_SECONDS)
        conn.execute("reset enable_seqscan")
        return [float(row[0]) for row in Cursor(conn).execute(_ENDS, (began,))]


def _until(children: Sequence[Child], holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not holds():
        for child in children:
            child.check()
        time.sleep(min(_LOOK_SECONDS, left))


WORKLOAD = Workload(
    key="W5",
    title="backlog and history",
    description="W1 with one worker process, in front of a long queue or behind many finished runs.",
    measure=measure,
    once=True,
)
