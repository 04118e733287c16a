"""The first of three versions of one flow: an order is priced and charged. The story is told in docs/compiling.md."""

from pydantic import BaseModel

from flowdsl import Flow


class Order(BaseModel):
    """What a customer wants."""

    items: list[str]


class Price(BaseModel):
    """What it costs."""

    amount: float


class Receipt(BaseModel):
    """What was paid."""

    paid: float


async def price(order: Order) -> Price:
    """Add the items up."""
    return Price(amount=1.5 * len(order.items))


async def charge(price: Price) -> Receipt:
    """Take the money."""
    return Receipt(paid=price.amount)


orders = Flow("orders", Order).step(price).step(charge, price).returns(charge)
