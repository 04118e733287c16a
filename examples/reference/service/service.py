"""A service that starts a flow and waits for its result; the flow's handlers are not installed here.

`price_order_client.py` beside it was written by `pgflow client`. With a worker running (see ../worker/price_order.py):

    python service/service.py Ada
"""

import asyncio
import os
import sys
from datetime import date

from price_order_client import Item, Order, Steps, price_order

from flowdsl.client import Client


async def ask(customer: str, database_url: str) -> str:
    """Have an order priced, and tell the offer."""
    order = Order(
        customer=customer,
        items=[Item(name="shirt", count=2), Item(name="cap", size="S")],
        wanted_on=date(2026, 12, 24),
    )
    async with Client(database_url) as client:
        run = await client.start(price_order, order)
        offer = await run.result(timeout=60)
        prices = await run.output(Steps.price)
    return f"{offer.customer}: {' + '.join(map(str, prices))} = {offer.total}, ready on {offer.ready_on:%d.%m.%Y}"


if __name__ == "__main__":
    print(asyncio.run(ask(sys.argv[1], os.environ["DATABASE_URL"])))
