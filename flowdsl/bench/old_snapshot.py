"""W6: W1 while another connection holds an old snapshot from before the first start to after the last completion.

No row that was replaced meanwhile can be cleaned up, in tables or indexes, so whatever walks past dead rows gets slower with
every step. The same number of steps is worked off without a snapshot for comparison, in turn.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Sequence

from psycopg import Cursor

from flowdsl.bench import flows
from flowdsl.bench.processes import go, waiting
from flowdsl.bench.progress import until_completed
from flowdsl.bench.stage import connect
from flowdsl.bench.starting import items, start_many
from flowdsl.bench.workload import Bench, Workload, sizes

RUNS = sizes(tiny=10, quick=4_000, full=70_000)
WINDOW = sizes(tiny=5, quick=2_000, full=20_000)
_ENDS = (
    "select extract(epoch from completed_at)::float8 from pgflow.step_tasks where completed_at is not null order by 1"
)
_BEGIN = "select extract(epoch from min(started_at))::float8 from pgflow.step_tasks"


def measure(bench: Bench) -> None:
    """Measure with a snapshot and without, in the other order in every other round."""
    for held in (False, True) if bench.round % 2 == 0 else (True, False):
        bench.say("with an old snapshot" if held else "without a snapshot")
        rates, whole = _work_off(bench, held=held)
        key, label = ("old_snapshot", "old snapshot") if held else ("free", "no snapshot")
        bench.samples.add(f"{key}_rate", f"{label}: all steps", "steps/s", whole)
        bench.samples.add(f"{key}_first", f"{label}: first window", "steps/s", rates[0])
        bench.samples.add(f"{key}_last", f"{label}: last window", "steps/s", rates[-1])
        bench.samples.add(f"{key}_worst", f"{label}: slowest window", "steps/s", min(rates))
        if held:
            for number, rate in enumerate(rates, start=1):
                last = number * bench.size(WINDOW)
                bench.samples.row("Old snapshot: steps/s by window", f"up to step {last:,}", rate)


def _work_off(bench: Bench, *, held: bool) -> tuple[list[float], float]:
    runs = bench.size(RUNS)
    with (
        bench.stage.database() as url,
        _snapshot(url) if held else contextlib.nullcontext(),
        waiting("worker", url, flows.linear.slug) as children,
    ):
        asyncio.run(start_many(url, flows.linear, items(runs)))
        go(children)
        whole = until_completed(url, runs, children)
        with connect(url) as conn:
            ends = [float(row[0]) for row in Cursor(conn).execute(_ENDS)]
            (begin,) = Cursor(conn).execute(_BEGIN).fetchone() or (0.0,)
    return window_rates(float(begin), ends, bench.size(WINDOW)), whole.rate


@contextlib.contextmanager
def _snapshot(url: str) -> Iterator[None]:
    with connect(url) as conn, conn.transaction():
        conn.execute("set transaction isolation level repeatable read")
        # The snapshot is taken by the first query.
        conn.execute("select count(*) from pgflow.runs")
        yield


def window_rates(begin: float, ends: Sequence[float], window: int) -> list[float]:
    """Return the steps per second of each whole window of so many steps. `ends` ascend; a batch ends all at once.

    >>> window_rates(0.0, [1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 9.0], 2)
    [2.0, 2.0, 1.0]
    """
    bounds = [begin, *ends[window - 1 :: window]]
    return [window / (end - start) for start, end in itertools.pairwise(bounds) if end > start]


WORKLOAD = Workload(
    key="W6",
    title="old snapshot",
    description="W1 while another connection holds an old snapshot for the whole run; one worker process.",
    measure=measure,
)
