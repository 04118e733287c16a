"""What is warned of is lost in the real codec, what is not warned of comes back: for Python, or for those who read JSON."""

import datetime
import json
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, PlainSerializer
from typing_extensions import TypedDict

from flowdsl import Flow
from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.losses import losses
from flowdsl.model.problems import Code


class Point(NamedTuple):
    x: int
    y: int


class Shelf(BaseModel):
    name: str
    spans: dict[str, tuple[int, int]]


@dataclass
class Box:
    tags: set[str]


class Row(TypedDict):
    ids: frozenset[int]


class Event(BaseModel):
    """Stands for its subclasses."""


class Click(Event):
    button: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Wide(Open):
    size: int


class Colour(Enum):
    RED = "red"


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Node(BaseModel):
    children: "list[Node]" = []


# Type, a value of it, what others read of it.
ONLY_FOR_OTHERS: list[tuple[Any, Any, Any]] = [
    (tuple[int, str], (1, "a"), [1, "a"]),
    (tuple[int, ...], (1, 2), [1, 2]),
    (set[int], {1}, [1]),
    (frozenset[str], frozenset({"a"}), ["a"]),
    (Point, Point(1, 2), [1, 2]),
    (dict[int, str], {1: "a"}, {"1": "a"}),
    (dict[float, str], {1.5: "a"}, {"1.5": "a"}),
    (dict[bool, str], {True: "a"}, {"true": "a"}),
    (dict[Decimal, str], {Decimal("1.50"): "a"}, {"1.50": "a"}),
    (list[tuple[int, int]], [(1, 2)], [[1, 2]]),
    (dict[str, set[int]] | None, {"a": {1}}, {"a": [1]}),
    (Shelf, Shelf(name="a", spans={"b": (1, 2)}), {"name": "a", "spans": {"b": [1, 2]}}),
    (Box, Box(tags={"a"}), {"tags": ["a"]}),
    (Row, Row(ids=frozenset({1})), {"ids": [1]}),
]
FOR_PYTHON_TOO: list[tuple[Any, Any]] = [
    (dict[Any, int], {1: 2}),
    (dict[object, int], {1: 2}),
    (dict, {1: 2}),
    (Event, Click(button=1)),
    (list[Event], [Click(button=1)]),
]
NO_LOSS: list[tuple[Any, Any]] = [
    (int, 1),
    (str, "a"),
    (bytes, b"\xff"),
    (list[int], [1]),
    (dict[str, int], {"a": 1}),
    (dict[UUID, int], {UUID(int=1): 1}),
    (dict[datetime.date, int], {datetime.date(2020, 1, 1): 1}),
    (dict[Colour, int], {Colour.RED: 1}),
    (dict[Literal["a"], int], {"a": 1}),
    (Decimal, Decimal("1.50")),
    (Sequence[int], [1]),
    (deque[int], deque([1])),
    (Counter[str], Counter("aa")),
    (Dog, Dog(name="a", breed="b")),
    (Animal, Animal(name="a")),
    (Click, Click(button=1)),
    (Event | Click, Click(button=1)),
    (Open, Open()),
    (Node, Node(children=[Node()])),
    (Any, 1),
    (Annotated[set[int], PlainSerializer(sorted, return_type=list[int])], {1}),
]


@pytest.mark.parametrize(("declared", "value", "read"), ONLY_FOR_OTHERS, ids=lambda part: str(part)[:40])
def test_what_python_gets_back_and_others_do_not_is_warned_of_as_such(declared: Any, value: Any, read: Any) -> None:
    adapter = ValueAdapter(declared)
    data = adapter.encode(value)
    assert json.loads(data) == read
    back = adapter.decode(data)
    assert (back, type(back)) == (value, type(value))
    found = losses(adapter)
    assert len(found) == 1
    assert "all but Python read as" in found[0].what
    assert "In Python it comes back as it was." in found[0].fix


@pytest.mark.parametrize(("declared", "value"), FOR_PYTHON_TOO, ids=lambda part: str(part)[:40])
def test_what_python_does_not_get_back_either_is_warned_of_as_such(declared: Any, value: Any) -> None:
    adapter = ValueAdapter(declared)
    assert adapter.decode(adapter.encode(value)) != value
    found = losses(adapter)
    assert found
    assert all("all but Python" not in loss.what for loss in found)


@pytest.mark.parametrize(("declared", "value"), NO_LOSS, ids=lambda part: str(part)[:40])
def test_what_comes_back_is_not_warned_of(declared: Any, value: Any) -> None:
    adapter = ValueAdapter(declared)
    back = adapter.decode(adapter.encode(value))
    assert (back, type(back)) == (value, type(value))
    assert losses(adapter) == ()


def test_a_loss_names_its_place_and_is_told_once() -> None:
    class Hall(BaseModel):
        first: Shelf
        second: Shelf
        box: Box

    assert {loss.where for loss in losses(ValueAdapter(Hall))} == {"first.spans", "second.spans", "box.tags"}
    assert len(losses(ValueAdapter(list[tuple[int, tuple[int, int]]]))) == 1


def test_the_class_that_stands_for_others_names_them() -> None:
    (loss,) = losses(ValueAdapter(Event))
    assert loss.what == "the class Event, which has no fields: of its subclasses (Click) nothing is stored"
    assert loss.fix == "Declare the subclasses: Click."


def take(pairs: dict[int, str]) -> tuple[int, str]:
    return next(iter(pairs.items()))


def double(pair: tuple[int, str]) -> list[str]:
    return [pair[1]] * pair[0]


def test_a_flow_warns_of_its_input_and_of_the_outputs_of_its_steps() -> None:
    flow = Flow("pairs", dict[int, str]).step(take).array(double, take)
    found = flow.warnings()
    assert [(warning.code, warning.step_slug) for warning in found] == [
        (Code.LOSSY_JSON, None),
        (Code.LOSSY_JSON, "take"),
    ]
    assert (
        found[0].what
        == "its input (dict[int, str]) holds a dict with keys of type int, which all but Python read as text."
    )
    assert all(warning.is_warning and warning.why and warning.location for warning in found)


def test_outputs_nobody_reads_are_warned_of_when_another_one_is_returned() -> None:
    def kept(text: str) -> str: ...  # type: ignore[empty-body]
    def left(text: str) -> str: ...  # type: ignore[empty-body]
    def done(text: str) -> None: ...
    def read(text: str) -> str: ...  # type: ignore[empty-body]
    def reader(text: str) -> None: ...

    base = Flow("side", str).step(kept).step(left).step(done).step(read).step(reader, read)
    assert base.warnings() == ()
    (warning,) = base.returns(kept).warnings()
    assert (warning.code, warning.step_slug) == (Code.UNREAD_OUTPUT, "left")
    assert warning.what == "nobody reads its output (str): the run's output is that of 'kept', which does not need it."
