"""The third of three versions of one flow: cents, and a currency that every order has to name. Breaking for callers."""

from pydantic import BaseModel

from flowdsl import Flow


class Order(BaseModel):
    """What a customer wants."""

    items: list[str]
    currency: str


class Price(BaseModel):
    """What it costs."""

    cents: int
    currency: str


class Receipt(BaseModel):
    """What was paid."""

    paid: float


async def price(order: Order) -> Price:
    """Add the items up."""
    return Price(cents=150 * len(order.items), currency=order.currency)


async def charge(price: Price) -> Receipt:
    """Take the money."""
    return Receipt(paid=price.cents / 100)


orders = Flow("orders", Order).step(price).step(charge, price, timeout=30).returns(charge)
