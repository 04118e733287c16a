"""Flow 'price_order' (fingerprint a18d02d253871aaf), for those who start it without its handlers.

Written by `pgflow client`, not to be edited. To write it anew:
    pgflow client worker/price_order.py -o service/price_order_client.py
"""
# Left as it is by formatters, or it would differ from what is written anew.
# ruff: noqa
# fmt: off

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from flowdsl import FlowRef, StepRef
from flowdsl.model.reference_model import LEFT_OUT, ReferenceModel
from pydantic import Field


class Item(ReferenceModel):
    name: Annotated[str, Field(min_length=1)]
    size: Literal["S", "L"] = LEFT_OUT
    count: Annotated[int, Field(ge=1)] = LEFT_OUT


class Offer(ReferenceModel):
    customer: str
    total: Decimal
    ready_on: date


class Order(ReferenceModel):
    customer: str
    items: list[Item]
    wanted_on: date | None = None


class Steps:
    """The steps of the flow: `await run.output(Steps.items)` returns the output of that one."""

    items = StepRef[list[Item]]("price_order", "items", list[Item])
    price = StepRef[list[Decimal]]("price_order", "price", list[Decimal])
    offer = StepRef[Offer]("price_order", "offer", Offer)


price_order = FlowRef[Order, Offer](
    "price_order",
    Order,
    Offer,
    fingerprint="a18d02d253871aaf",
    made_with="pgflow client worker/price_order.py -o service/price_order_client.py",
)
