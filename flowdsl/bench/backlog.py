"""W5: W1 in front of a backlog, and behind a history: 1,000, 100,000 and 1,000,000 runs queued, 1,000,000 finished.

The worker takes the oldest first, and works for some seconds in each database in turn, from the smallest to the largest. First
with statistics from when there were no more than a few runs, and with autovacuum off, so that they stay like that; then with
statistics of now.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from flowdsl.bench import flows, seeding
from flowdsl.bench.errors import BenchError
from flowdsl.bench.processes import go, waiting
from flowdsl.bench.progress import STALLED_SECONDS, Stretch, one
from flowdsl.bench.stage import connect
from flowdsl.bench.workload import Bench, Scale, Workload, sizes

SMALL = sizes(tiny=60, quick=1_000, full=1_000)
QUEUED = {Scale.TINY: (120,), Scale.QUICK: (20_000,), Scale.FULL: (100_000, 1_000_000)}
FINISHED = sizes(tiny=60, quick=20_000, full=1_000_000)
SECONDS = sizes(tiny=1, quick=2, full=5)
"""How long the worker works each time in front of a long queue."""

STEPS = sizes(tiny=100, quick=2_000, full=10_000)
"""How many steps it does at least where the queue is short."""

_LOOK_SECONDS = 0.1
_OPEN = """
select exists (select from pgflow.step_tasks where status = 'queued' and visible_at is null)
  or exists (select from pgflow.step_tasks where status = 'started')
"""
_NOW = "select extract(epoch from clock_timestamp())::float8"
_DONE = """
select count(*), extract(epoch from max(completed_at) - min(started_at))::float8
from pgflow.step_tasks where status = 'completed' and started_at >= to_timestamp(%s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A database with a backlog or a history. `refill`: how many runs are queued anew each time, for they are worked off."""

    key: str
    label: str
    url: str
    refill: int = 0


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
            for number in range(bench.rounds):
                for ground in grounds if number % 2 == 0 else reversed(grounds):
                    bench.say(f"{ground.label}{words}, {number + 1} of {bench.rounds}")
                    found = _work_for(ground, bench.size(SECONDS), bench.size(STEPS))
                    key = f"steps_per_second_{ground.key}{kind}"
                    bench.samples.add(key, f"{ground.label}{words}", "steps/s", found.rate)
                    fewest = min(fewest, found.steps)
    bench.samples.note(
        f"Each rate is of at least {fewest:,} steps. Backlog and history are copies of the rows of real runs, under other ids."
    )


def _grounds(bench: Bench) -> Iterator[contextlib.AbstractContextManager[Ground]]:
    small, finished = bench.size(SMALL), bench.size(FINISHED)
    yield _ground(bench, f"queued_{small}", f"{small:,} runs queued", refill=small)
    for count in QUEUED[bench.scale]:
        yield _ground(bench, f"queued_{count}", f"{count:,} runs queued", queued=count)
    yield _ground(bench, f"finished_{finished}", f"{finished:,} runs finished", finished=finished, refill=small)


@contextlib.contextmanager
def _ground(
    bench: Bench, key: str, label: str, *, queued: int = 0, finished: int = 0, refill: int = 0
) -> Iterator[Ground]:
    bench.say(f"making {label}")
    with bench.stage.database() as url:
        few = seeding.complete_runs(url, seeding.TEMPLATES)
        seeding.freeze_statistics(url)
        seeding.copy_runs(url, few, finished // len(few))
        if queued:
            _queue(url, queued)
        yield Ground(key=key, label=label, url=url, refill=refill)


def _queue(url: str, count: int) -> None:
    each = max(1, min(seeding.TEMPLATES, count // 3))
    mixed = seeding.mixed_runs(url, each)
    seeding.copy_runs(url, mixed, count // len(mixed) - 1)


def _work_for(ground: Ground, seconds: float, least: int) -> Stretch:
    """Work for some time; where few runs are queued, until they are done, over and over until there were enough steps."""
    if not ground.refill:
        return _work(ground, seconds)
    steps, took = 0, 0.0
    while steps < least:
        _queue(ground.url, ground.refill)
        found = _work(ground, None)
        steps, took = steps + found.steps, took + found.seconds
    return Stretch(steps=steps, seconds=took)


def _work(ground: Ground, seconds: float | None) -> Stretch:
    with connect(ground.url) as conn:
        # Looking is not to read a table of a million rows from end to end, whatever the statistics are like.
        conn.execute("set enable_seqscan = off")
        (began,) = one(conn, _NOW)
        with waiting("worker", ground.url, flows.linear.slug) as children:
            go(children)
            end = time.monotonic() + (STALLED_SECONDS if seconds is None else seconds)
            while time.monotonic() < end and (seconds is not None or one(conn, _OPEN)[0]):
                children[0].check()
                time.sleep(_LOOK_SECONDS)
        conn.execute("reset enable_seqscan")
        row = psycopg.Cursor(conn).execute(_DONE, (began,)).fetchone()
    if row is None or not row[0]:
        raise BenchError(f"no step was completed with {ground.label}")
    return Stretch(steps=int(row[0]), seconds=float(row[1]))


WORKLOAD = Workload(
    key="W5",
    title="backlog and history",
    description="W1 with one worker process, in front of a long queue or behind many finished runs.",
    measure=measure,
    once=True,
)
