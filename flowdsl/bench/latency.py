"""W3: how long a run of three steps takes when nothing else is there to do: from the call that starts it to its result.

The client is in one process, the worker in another. Between two runs the worker gets time to fall idle.
"""

import asyncio
import random
import time

from flowdsl.bench import flows
from flowdsl.bench.figures import percentile
from flowdsl.bench.processes import working
from flowdsl.bench.workload import Bench, Workload, sizes
from flowdsl.client import Client

SAMPLES = sizes(tiny=3, quick=100, full=200)
_WARM_UP = 5
_TIMEOUT_SECONDS = 60.0
# Not always the same, or it might fall in step with the worker's own pauses.
_PAUSE_SECONDS = (0.03, 0.08)
_MS = 1000


def measure(bench: Bench) -> None:
    """Measure so many runs, one after another."""
    count = bench.size(SAMPLES)
    bench.say(f"{count} runs, one after another")
    with bench.stage.database() as url, working("worker", url, flows.linear.slug):
        seconds = asyncio.run(_runs(url, count))
    bench.samples.add("p50_ms", "start to result, p50", "ms", percentile(seconds, 0.5) * _MS)
    bench.samples.add("p99_ms", "start to result, p99", "ms", percentile(seconds, 0.99) * _MS)
    bench.samples.add("max_ms", "start to result, longest", "ms", max(seconds) * _MS)
    bench.samples.add("samples", "runs measured", "runs", len(seconds))


async def _runs(url: str, count: int) -> list[float]:
    dice = random.Random(1)  # noqa: S311 - to be repeated
    found = []
    async with Client(url) as client:
        for number in range(_WARM_UP + count):
            await asyncio.sleep(dice.uniform(*_PAUSE_SECONDS))
            began = time.perf_counter()
            run = await client.start(flows.linear, flows.Item(number=number))
            await run.result(_TIMEOUT_SECONDS)
            found.append(time.perf_counter() - began)
    return found[_WARM_UP:]


WORKLOAD = Workload(
    key="W3",
    title="latency when idle",
    description="One run of the three steps at a time; client and worker are two processes.",
    measure=measure,
)
