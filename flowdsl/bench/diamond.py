"""W8: a diamond of five steps, one of them a map of a hundred: how many steps a second, and how soon a step follows another.

The rate is that of many runs that were queued before the worker began. How soon a step begins after the last of those it depends
on is measured in runs that come one after another: behind a queue it would tell how long the queue is. Both are of the
database's clock.
"""

import asyncio

from psycopg import Cursor

from flowdsl.bench import flows
from flowdsl.bench.figures import percentile
from flowdsl.bench.processes import go, waiting, working
from flowdsl.bench.progress import until_completed
from flowdsl.bench.stage import connect
from flowdsl.bench.starting import items, start_many
from flowdsl.bench.workload import Bench, Workload, sizes
from flowdsl.client import Client

RUNS = sizes(tiny=2, quick=60, full=300)
SINGLE_RUNS = sizes(tiny=2, quick=30, full=100)
_TIMEOUT_SECONDS = 60.0
_MS = 1000
# From the moment the last dependency was completed to the first claim of the step's tasks.
_DELAYS = """
select extract(epoch from t.started_at - d.completed_at)::float8
from (
  select run_id, flow_slug, step_slug, min(started_at) as started_at from pgflow.step_tasks group by run_id, flow_slug, step_slug
) t
join lateral (
  select max(s.completed_at) as completed_at
  from pgflow.deps e join pgflow.step_states s on s.run_id = t.run_id and s.step_slug = e.dep_slug
  where e.flow_slug = t.flow_slug and e.step_slug = t.step_slug
) d on d.completed_at is not null
"""


def measure(bench: Bench) -> None:
    """Measure both once."""
    bench.say("many diamonds")
    runs = bench.size(RUNS)
    with bench.stage.database() as url, waiting("worker", url, flows.diamond.slug) as children:
        asyncio.run(start_many(url, flows.diamond, items(runs)))
        go(children)
        found = until_completed(url, runs, children)
    samples = bench.samples
    samples.add("steps_per_second", "elements and steps, one worker process", "steps/s", found.rate)
    samples.add("runs_per_second", "diamonds, one worker process", "runs/s", runs / found.seconds)
    bench.say("one diamond after another")
    with bench.stage.database() as url, working("worker", url, flows.diamond.slug):
        asyncio.run(_one_by_one(url, bench.size(SINGLE_RUNS)))
        delays = step_delays(url)
    samples.add("step_p50_ms", "step to step, one run at a time, p50", "ms", percentile(delays, 0.5) * _MS)
    samples.add("step_p99_ms", "step to step, one run at a time, p99", "ms", percentile(delays, 0.99) * _MS)


def step_delays(url: str) -> list[float]:
    """Return for each step of each run that depends on others how many seconds after them it began."""
    with connect(url) as conn:
        return [float(row[0]) for row in Cursor(conn).execute(_DELAYS)]


async def _one_by_one(url: str, count: int) -> None:
    async with Client(url) as client:
        for item in items(count):
            await (await client.start(flows.diamond, item)).result(_TIMEOUT_SECONDS)


WORKLOAD = Workload(
    key="W8",
    title="diamond",
    description=f"Five steps, one of them a map of {flows.BRANCHES}, so {flows.BRANCHES + 4} tasks a run.",
    measure=measure,
)
