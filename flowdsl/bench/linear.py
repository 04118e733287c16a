"""W1: a flow of three steps. How fast runs are started, and how fast workers work them off, beside what limits both.

In each round every setting has its turn, and in every other round the order is reversed: on a machine that gets slower or
faster meanwhile, ratios of medians stay what they are.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from flowdsl.bench import flows
from flowdsl.bench.commits import commits_per_second, pgbench_program
from flowdsl.bench.processes import go, waiting
from flowdsl.bench.progress import Stretch, until_completed
from flowdsl.bench.starting import items, start_many, start_one_by_one
from flowdsl.bench.workload import Bench, Scale, Workload, sizes
from flowdsl.runtime.options import WorkerOptions

RUNS = sizes(tiny=5, quick=1_500, full=6_000)
STARTS = sizes(tiny=5, quick=400, full=2_000)
COMMIT_SECONDS = sizes(tiny=1, quick=1, full=5)
DEFAULT = WorkerOptions()
BATCHES = (1, 10, 50, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Some processes of a role, with their options. `share` of the runs is worked off: slow ones get fewer."""

    key: str
    label: str
    role: str
    count: int = 1
    share: float = 1.0
    options: dict[str, int]


def settings(scale: Scale) -> list[Setting]:
    """Return what is measured: all batches in full, else what the targets name."""
    batches = [batch for batch in BATCHES if scale is Scale.FULL or batch in (1, DEFAULT.batch)]
    return [
        _worker("steps_per_second_1", "one worker process", 1, {}),
        _driver("driver_default", "raw driver at the worker's batch, one connection", DEFAULT.batch, 1),
        _worker("steps_per_second_2", "two worker processes", 2, {}),
        _driver("driver_default_2", "raw driver at the worker's batch, two connections", DEFAULT.batch, 2),
        *(
            made
            for batch in batches
            if batch != DEFAULT.batch
            for made in (
                _worker(f"worker_batch_{batch}", f"one worker, batch {batch}", 1, _room(batch), batch),
                _driver(f"driver_batch_{batch}", f"raw driver, batch {batch}, one connection", batch, 1),
            )
        ),
    ]


def _worker(key: str, label: str, count: int, options: dict[str, int], batch: int = DEFAULT.batch) -> Setting:
    return Setting(key=key, label=label, role="worker", count=count, share=_share(batch), options=options)


def _driver(key: str, label: str, batch: int, count: int) -> Setting:
    return Setting(key=key, label=label, role="driver", count=count, share=_share(batch), options={"batch": batch})


def _share(batch: int) -> float:
    return 0.1 if batch == 1 else 0.5 if batch <= 10 else 1.0


def _room(batch: int) -> dict[str, int]:
    # Twice the batch, so that handlers and the database work at the same time; with one at a time there is nothing to overlap.
    return {"batch": batch, "concurrency": 1 if batch == 1 else 2 * batch}


def measure(bench: Bench) -> None:
    """Measure everything once."""
    turns: list[Callable[[], None]] = [
        lambda: _commits(bench),
        lambda: _one_by_one(bench),
        *(_turn(bench, setting) for setting in settings(bench.scale)),
    ]
    for turn in turns if bench.round % 2 == 0 else reversed(turns):
        turn()


def _turn(bench: Bench, setting: Setting) -> Callable[[], None]:
    def turn() -> None:
        bench.say(setting.label)
        found = work_off(bench, setting)
        bench.samples.add(setting.key, setting.label, "steps/s", found.rate)

    return turn


def work_off(bench: Bench, setting: Setting) -> Stretch:
    """Start the runs, then let the processes go, all at once; from the first claim to the last completion."""
    runs = max(1, round(bench.size(RUNS) * setting.share))
    with (
        bench.stage.database() as url,
        waiting(setting.role, url, flows.linear.slug, setting.count, **setting.options) as children,
    ):
        rate = asyncio.run(start_many(url, flows.linear, items(runs)))
        if setting.share == 1:
            bench.samples.add("batch_starts_per_second", "starts with start_many", "runs/s", rate)
        go(children)
        return until_completed(url, runs, children)


def _one_by_one(bench: Bench) -> None:
    bench.say("starts one by one")
    with bench.stage.database() as url:
        rate = asyncio.run(start_one_by_one(url, flows.linear, items(bench.size(STARTS))))
    bench.samples.add("starts_per_second", "starts one by one, one connection", "runs/s", rate)


def _commits(bench: Bench) -> None:
    program, runs = pgbench_program(), bench.size(RUNS)
    bench.samples.note(
        f"Each rate is of {3 * runs:,} steps; of half of that at batch 10, and of a tenth at batch 1. One by one"
        f" {bench.size(STARTS):,} runs are started, {runs:,} with start_many."
    )
    bench.say("raw commits")
    bench.samples.note(
        "Raw commits are measured by a loop in Python, for there is no pgbench here."
        if program is None
        else "Raw commits are measured by pgbench: the insert of one row, prepared."
    )
    with bench.stage.database() as url:
        for clients, label in ((1, "raw commits, one client"), (2, "raw commits, two clients")):
            rate = commits_per_second(url, clients, bench.size(COMMIT_SECONDS), program)
            bench.samples.add(f"commits_per_second_{clients}", label, "commits/s", rate)


WORKLOAD = Workload(
    key="W1",
    title="three steps in a line",
    description="No-op handlers, about 100 bytes in and out; all runs are queued before the workers begin.",
    measure=measure,
)
