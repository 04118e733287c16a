"""Start runs, wait for them, look at them.

    async with Client("postgresql://…") as client:
        run = await client.start(analyze_website, Site(url="https://example.org"))
        saved = await run.result(timeout=60)

`Client` and `Run` are all there is to it; the other modules serve them.
"""

from flowdsl.client.client import Client
from flowdsl.client.detail import RunDetail, StepDetail
from flowdsl.client.run import Run
from flowdsl.gateway.rows import Explanation

__all__ = ["Client", "Explanation", "Run", "RunDetail", "StepDetail"]
