"""Flows with a bit of everything that might come out differently elsewhere: sets, enums, unions, docstrings, defaults."""

import dataclasses
import enum
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from flowdsl import Flow, collect, maybe


class Colour(enum.StrEnum):
    """Of what."""

    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Size:
    """Width and height,

    with a docstring that Python 3.13 stores without its indentation.
    """

    width: int
    height: int = 3


class Extra(TypedDict, total=False):
    note: str
    tags: set[str]


class Item(BaseModel):
    """An item."""

    name: str = Field(alias="Name", description="žluťoučký kůň\nand more")
    colour: Colour
    level: Level = Level.LOW
    size: Size | None = None
    kind: Literal["a", "b", 3] = "a"
    price: Decimal = Decimal("1.50")
    at: datetime | None = None
    parts: "list[Item]" = Field(default_factory=list)
    extra: dict[str, Extra] = Field(default_factory=dict)
    ident: UUID | int | str = 0
    count: Annotated[int, Field(ge=0, le=10)] = 0


def look(item: Item) -> list[Item]:
    return [item]


def weigh(item: Item) -> float:
    return 0.1


def warn(weight: list[float]) -> str | None:
    return None


def end(item: Item, weights: list[float], told: str | None) -> dict[str, tuple[int, ...]]:
    return {}


everything = (
    Flow("everything", Item, max_attempts=2)
    .array(look, Item)
    .map(weigh, look, retry_on=(ValueError, KeyError))
    .step(warn, collect(weigh), when={"weigh": [1]}, priority=3)
    .step(end, Item, collect(weigh), maybe(warn))
    .returns(end)
)
