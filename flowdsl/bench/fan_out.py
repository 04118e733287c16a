"""W2: a map over many elements, and a step that takes all of their outputs: from the start of a run to its result."""

import asyncio
import time

from flowdsl.bench import flows
from flowdsl.bench.errors import BenchError
from flowdsl.bench.processes import working
from flowdsl.bench.workload import Bench, Scale, Workload
from flowdsl.client import Client

ELEMENTS = {
    Scale.TINY: (7,),
    Scale.QUICK: (1_000, 10_000),
    Scale.FULL: (1_000, 10_000, 100_000),
}
_TIMEOUT_SECONDS = 600.0
_MEGABYTE = 1_000_000


def measure(bench: Bench) -> None:
    """Measure each size once, each with a new worker in a new database."""
    for elements in ELEMENTS[bench.scale]:
        bench.say(f"{elements:,} elements")
        with bench.stage.database() as url, working("worker", url, flows.fan_out.slug) as (child,):
            seconds = asyncio.run(_run(url, elements))
            peak = child.peak_bytes()
        bench.samples.add(f"seconds_{elements}", f"{elements:,} elements, start to result", "s", seconds)
        if peak is not None:
            bench.samples.add(
                f"peak_{elements}", f"{elements:,} elements, worker's peak memory", "MB", peak / _MEGABYTE
            )


async def _run(url: str, elements: int) -> float:
    async with Client(url) as client:
        # The worker is up once it has done a small one.
        await (await client.start(flows.fan_out, flows.Size(elements=1))).result(_TIMEOUT_SECONDS)
        began = time.perf_counter()
        run = await client.start(flows.fan_out, flows.Size(elements=elements))
        total = await run.result(_TIMEOUT_SECONDS)
        seconds = time.perf_counter() - began
    if total != elements * (elements - 1) // 2:
        raise BenchError(f"the sum over {elements} elements is {total}, which is wrong")
    return seconds


WORKLOAD = Workload(
    key="W2",
    title="fan-out",
    description="A step makes a list, a map runs over it, a step takes all outputs; elements of about 100 bytes.",
    measure=measure,
)
