"""The second of three versions of one flow: vouchers, and a word of thanks. Safe: it can do all that version 1 did."""

from pydantic import BaseModel

from flowdsl import Flow


class Order(BaseModel):
    """What a customer wants."""

    items: list[str]
    voucher: str | None = None


class Price(BaseModel):
    """What it costs."""

    amount: float


class Receipt(BaseModel):
    """What was paid."""

    paid: float


async def price(order: Order) -> Price:
    """Add the items up."""
    return Price(amount=(1.0 if order.voucher else 1.5) * len(order.items))


async def charge(price: Price) -> Receipt:
    """Take the money."""
    return Receipt(paid=price.amount)


async def thank(order: Order, receipt: Receipt) -> None:
    """Write to the customer."""
    print(f"Thank you for {receipt.paid:.2f} EUR, {', '.join(order.items)} will be with you soon!")


orders = (
    Flow("orders", Order)
    .step(price)
    .step(charge, price, timeout=30)
    .step(thank, Order, charge, when=lambda order, receipt: receipt.paid > 0)
    .returns(charge)
)
