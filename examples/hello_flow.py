"""A small flow: an order's items are reserved one by one, all at the same time, and then confirmed together.

pgflow compile hello_flow.py && alembic upgrade head
pgflow worker hello_flow.py &
pgflow start hello_flow.py --input '{"customer": "Ada", "items": ["tea", "cup", "tea"]}' --wait
"""

from pydantic import BaseModel

from flowdsl import Flow, collect


class Order(BaseModel):
    """What a run starts with."""

    customer: str
    items: list[str]


class Reservation(BaseModel):
    """One item, put aside."""

    item: str
    cents: int


def items(order: Order) -> list[str]:
    """List what there is to do: each element becomes a task."""
    return order.items


async def reserve(item: str) -> Reservation:
    """Put one item aside; a failure is tried again, for this item alone."""
    return Reservation(item=item, cents=len(item) * 100)


def confirm(order: Order, reservations: list[Reservation]) -> str:
    """Tell the customer; runs when every item is reserved."""
    return f"{order.customer}: {len(reservations)} items, {sum(r.cents for r in reservations) / 100:.2f} EUR"


hello_flow = (
    Flow("hello_flow", Order, timeout=10)
    .array(items)
    .map(reserve, items, max_attempts=5)
    .step(confirm, Order, collect(reserve))
    .returns(confirm)
)
