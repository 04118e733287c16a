"""Patterns against the schemas of types: what may match is let through, what never can is told."""

import enum
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    SerializeAsAny,
    WithJsonSchema,
    computed_field,
    field_serializer,
)
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypeAliasType, TypedDict

from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.containment import Misfit, misfits
from tests.names import readable


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Inner(BaseModel):
    name: str
    parts: list["Inner"] = []


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    known: int


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Empty(BaseModel):
    pass


class Aliased(BaseModel):
    amount: float = Field(alias="theAmount")


class Written(BaseModel):
    number: int
    plain: int
    data: Json[list[int]] = []

    @field_serializer("number")
    def as_text(self, value: int):  # type: ignore[no-untyped-def]
        return str(value)

    @computed_field
    def double(self) -> int:
        return 2 * self.number


@dataclass
class Point:
    x: int
    y: int = 0


class Row(TypedDict):
    key: str
    values: dict[str, list[int]]


class Pair(NamedTuple):
    left: int
    right: str


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


class Told(BaseModel):
    """Its JSON Schema, made for readers, says other things than what is written."""

    model_config = ConfigDict(json_schema_extra={"properties": {"shown": {}}})

    hidden: SkipJsonSchema[int] = 3
    optional: int | SkipJsonSchema[None] = None
    number: Annotated[int, WithJsonSchema({"type": "string"})] = 1
    listed: int = Field(2, json_schema_extra={"enum": [1]})


class Hooked(BaseModel):
    number: int = 1

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {"type": "string"}


class Endless(BaseModel):
    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="strings")

    number: float = 0.0


class Foreign:
    pass


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    any: int | Foreign = 1
    number: int = 1


JsonTree = TypeAliasType("JsonTree", "dict[str, JsonTree] | list[JsonTree] | str | None")
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


def found(declared: Any, pattern: Any) -> list[Misfit]:
    return misfits(pattern, ValueAdapter(declared).written_schema())


@pytest.mark.parametrize(
    ("declared", "pattern"),
    [
        (Any, {"a": [1]}),
        (object, "x"),
        (dict, {"a": 1}),
        (dict[str, Any], {"a": 1}),
        (dict[str, int], {"a": 1, "b": 2.0}),
        (dict[Literal["a", "b"], int], {"a": 1}),
        (dict[Colour, int], {"red": 1}),
        (dict[int, str], {"1": "x"}),
        (int, 1),
        (int, 1.0),
        (int, 10**40),
        (float, 1),
        (float, 0.5),
        (bool, True),
        (None, None),
        (int | None, None),
        (Inner | None, {"name": "x"}),
        (Inner, {}),
        (Inner, {"parts": [{"parts": [{"name": "x"}, {}]}]}),
        (list[Inner], [{"name": "a"}, {"name": "b"}]),
        (list[Inner], []),
        (list, [1, "x", None]),
        (set[int], [1, 2]),
        (tuple[int, str], ["x"]),
        (tuple[int, ...], [1, 1]),
        (Pair, [1, "x"]),
        (Loose, {"known": 1, "other": "x"}),
        (Empty, {}),
        (Colour, "red"),
        (Colour, 2),
        (Literal["a", 1], "a"),
        (Literal["a", 1], 1.0),
        (Pet, {"kind": "dog", "name": "Rex"}),
        (Pet, {"lives": 9}),
        (Cat | Dog, {"name": "Rex"}),
        (Aliased, {"theAmount": 1}),
        (Point, {"x": 1}),
        (Row, {"values": {"any": [1]}}),
        (JsonTree, {"a": ["b", {"c": None}]}),
        (datetime, "2026-01-01T00:00:00"),
        (Decimal, "1.5"),
        (Written, {"number": "1"}),
        (Written, {"data": "[1]"}),
        (Annotated[int, PlainSerializer(lambda value: {"it": value})], {"it": 1}),
        (Annotated[int, PlainSerializer(str, return_type=str)], "1"),
        (SerializeAsAny[Empty], {"more": 1}),
        (dict[Level, str], {"2": "x"}),
        (dict[Literal[1, True], str], {"true": "x"}),
        (Right, 3),
        (Told, {"hidden": 3, "optional": None, "number": 1, "listed": 2}),
        (list[int | SkipJsonSchema[None]], [None]),
        (Hooked, {"number": 1}),
        (Endless, {"number": "Infinity"}),
        (Holder, {"any": {"anything": 1}}),
    ],
    ids=readable,
)
def test_what_may_match_is_let_through(declared: Any, pattern: Any) -> None:
    assert found(declared, pattern) == []


@pytest.mark.parametrize(
    ("declared", "pattern", "place", "what"),
    [
        (int, "1", "", "is int, never '1'"),
        (dict[Level, str], {"3": "x"}, "", "the dict has no key '3'"),
        (Right, "READ", "", "is int, never 'READ'"),
        (Told, {"shown": 1}, "", "Told has no key 'shown'"),
        (Holder, {"number": "1"}, "number", "is int, never '1'"),
        (AnyUrl, 1, "", "is str, never 1"),
        (int, True, "", "is int, never True"),
        (int, 1.5, "", "is int, never 1.5"),
        (bool, 1, "", "is bool, never 1"),
        (str, None, "", "is str, never None"),
        (int | None, "x", "", "is int or None, never 'x'"),
        (Inner | None, {"nam": 1}, "", "Inner has no key 'nam'"),
        (Inner | None, "x", "", "is Inner or None, never 'x'"),
        (Inner, {"parts": [{}, {"parts": [{"name": 3}]}]}, "parts.1.parts.0.name", "is str, never 3"),
        (list[int], 1, "", "is list[int], never 1"),
        (list[int], [1, "x"], "1", "is int, never 'x'"),
        (list[Any], 1, "", "is list[Any], never 1"),
        (list[int], {"0": 1}, "", "is list[int], never {'0': 1}"),
        (tuple[int, str], [None], "0", "is int, never None"),
        (Empty, {"a": 1}, "", "Empty has no key 'a'"),
        (Strict, {"other": 1}, "", "Strict has no key 'other'"),
        (Loose, {"known": "x"}, "known", "is int, never 'x'"),
        (dict[str, int], {"a": "x"}, "a", "is int, never 'x'"),
        (dict[Literal["a", "b"], int], {"c": 1}, "", "the dict has no key 'c'"),
        (Colour, "green", "", "is 'red' or 2, never 'green'"),
        (Literal["a", 1], True, "", "is 'a' or 1, never True"),
        (Literal["a"], "b", "", "is 'a', never 'b'"),
        (Pet, {"kind": "dog", "lives": 9}, "", "Dog has no key 'lives'"),
        (Pet, {"kind": "cow"}, "kind", "is 'cat' or 'dog', never 'cow'"),
        (Cat | Dog, {"wings": 2}, "", "Cat has no key 'wings'"),
        (Aliased, {"amount": 1}, "", "Aliased has no key 'amount'"),
        (Point, {"z": 1}, "", "Point has no key 'z'"),
        (Row, {"values": {"any": ["x"]}}, "values.any.0", "is int, never 'x'"),
        (JsonTree, {"a": 1}, "a", "is dict or list[…] or str or None, never 1"),
        (Decimal, 1.5, "", "is str, never 1.5"),
        (Written, {"plain": "1"}, "plain", "is int, never '1'"),
        (Written, {"double": 2}, "", "Written has no key 'double'"),
        (Annotated[int, PlainSerializer(str, return_type=str)], 1, "", "is str, never 1"),
    ],
    ids=readable,
)
def test_what_can_never_match_is_told(declared: Any, pattern: Any, place: str, what: str) -> None:
    (misfit,) = found(declared, pattern)
    assert ".".join(misfit.path) == place
    assert misfit.what == what


@pytest.mark.parametrize(
    ("declared", "pattern", "mended"),
    [
        (int, "1", 1),
        (str, 1, "1"),
        (bool, "true", True),
        (int | None, "null", None),
        (list[int], 1, [1]),
        (int, [1], 1),
        (Colour, "rad", "red"),
        (Inner, {"nam": "x", "parts": []}, {"name": "x", "parts": []}),
        (list[Inner], [{"name": "a"}, {"name": 3}], [{"name": "a"}, {"name": "3"}]),
        (Decimal, 1.5, "1.5"),
    ],
    ids=readable,
)
def test_an_obvious_way_out_is_offered(declared: Any, pattern: Any, mended: Any) -> None:
    (misfit,) = found(declared, pattern)
    assert misfit.mended == (mended,)


@pytest.mark.parametrize(("declared", "pattern"), [(int, "x"), (float, "NaN"), (int, {"a": 1}), (Inner, {"zzz": 1})])
def test_no_way_out_is_offered_where_there_is_none(declared: Any, pattern: Any) -> None:
    (misfit,) = found(declared, pattern)
    assert misfit.mended == ()


def test_a_pattern_too_deep_to_be_judged_may_match() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"parts": [deep]}
    assert found(Inner, deep) == []


def test_schemas_that_say_nothing_decide_nothing() -> None:
    assert misfits({"a": 1}, True) == []
    assert misfits({"a": 1}, {"$ref": "#/$defs/Nowhere"}) == []
    assert misfits({"a": 1}, {"not": {"type": "string"}}) == []
    assert misfits({"a": 1}, {"allOf": [{"type": "object"}, {}]}) == []
    assert misfits({"a": 1}, {"type": ["object", "null"]}) == []
    assert misfits(1, {"allOf": [{"type": "string"}]}) != []
    assert misfits(1, False) != []
