"""W9: a map whose outputs are a megabyte each, and a step that is given all of them."""

import asyncio
import time

from flowdsl.bench import flows
from flowdsl.bench.errors import BenchError
from flowdsl.bench.processes import working
from flowdsl.bench.workload import Bench, Workload, sizes
from flowdsl.client import Client

ELEMENTS = sizes(tiny=2, quick=20, full=100)
_TIMEOUT_SECONDS = 600.0
_MEGABYTE = 1_000_000


def measure(bench: Bench) -> None:
    """Measure once, with a new worker."""
    elements = bench.size(ELEMENTS)
    bench.say(f"{elements} outputs of a megabyte")
    with bench.stage.database() as url, working("worker", url, flows.large.slug) as (child,):
        seconds = asyncio.run(_run(url, elements))
        peak = child.peak_bytes()
    bench.samples.add("seconds", f"{elements} outputs of 1 MB, start to result", "s", seconds)
    bench.samples.add("megabytes_per_second", "outputs", "MB/s", elements / seconds)
    if peak is not None:
        bench.samples.add("peak", "worker's peak memory", "MB", peak / _MEGABYTE)


async def _run(url: str, elements: int) -> float:
    async with Client(url) as client:
        # The worker is up once it has done one with nothing in it.
        await (await client.start(flows.large, flows.Size(elements=0))).result(_TIMEOUT_SECONDS)
        began = time.perf_counter()
        run = await client.start(flows.large, flows.Size(elements=elements))
        total = await run.result(_TIMEOUT_SECONDS)
        seconds = time.perf_counter() - began
    if total != elements * flows.BLOB_CHARACTERS:
        raise BenchError(f"the outputs have {total} characters together, not {elements * flows.BLOB_CHARACTERS}")
    return seconds


WORKLOAD = Workload(
    key="W9",
    title="large values",
    description="Each element's output is a megabyte; the last step is given all of them at once.",
    measure=measure,
)
