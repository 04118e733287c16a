"""A flow with its handlers, which only the worker has; ../service starts it and cannot import this file.

pip install '.[client,embedded]'
cd examples/reference
pgflow init && pgflow compile worker/price_order.py && alembic upgrade head
pgflow client worker/price_order.py -o service/price_order_client.py
pgflow worker worker/price_order.py
"""

from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, Field

from flowdsl import Flow, collect


class Size(StrEnum):
    """What a shirt may be."""

    SMALL = "S"
    LARGE = "L"


class Item(BaseModel):
    """So many of one thing."""

    name: str = Field(min_length=1)
    size: Size = Size.LARGE
    count: int = Field(default=1, ge=1)


class Order(BaseModel):
    """What a customer wants."""

    customer: str
    items: list[Item]
    wanted_on: date | None = None


class Offer(BaseModel):
    """What it costs, and when it is there."""

    customer: str
    total: Decimal
    ready_on: date


PRICES = {Size.SMALL: Decimal("7.50"), Size.LARGE: Decimal("9.90")}
DAYS = timedelta(days=3)


def items(order: Order) -> list[Item]:
    """One task for each of them."""
    return order.items


def price(item: Item) -> Decimal:
    """What they cost together."""
    return PRICES[item.size] * item.count


def offer(order: Order, prices: list[Decimal]) -> Offer:
    """Add it up; it takes three days."""
    day = (order.wanted_on or date(2026, 12, 1)) + DAYS
    return Offer(customer=order.customer, total=sum(prices, Decimal(0)), ready_on=day)


price_order = (
    Flow("price_order", Order).array(items).map(price, items).step(offer, Order, collect(price)).returns(offer)
)
