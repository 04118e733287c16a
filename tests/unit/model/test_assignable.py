import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, NewType, NoReturn, NotRequired, Optional, Protocol, TypeVar, Union

import pytest
from pydantic import BaseModel
from typing_extensions import TypeAliasType, TypedDict

from flowdsl.model.assignable import assignable, is_decided, list_element

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Animal(BaseModel):
    name: str


class Dog(Animal):
    pass


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Shelf(Generic[T_co]):
    item: T_co


class Wrapped(BaseModel, Generic[T]):
    item: T


class Point(TypedDict):
    x: int
    y: int


class Point3(TypedDict):
    x: int
    y: int
    z: int


class LoosePoint(TypedDict):
    x: int
    y: NotRequired[int]


class FloatPoint(TypedDict):
    x: float
    y: float


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    A = "a"


class Sized(Protocol):
    def size(self) -> int: ...


UserId = NewType("UserId", int)
AdminId = NewType("AdminId", UserId)
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | None")
Names = TypeAliasType("Names", list[str])
Pair = TypeAliasType("Pair", tuple[T, T], type_params=(T,))

YES: list[tuple[Any, Any]] = [
    (int, int),
    (int, Any),
    (Any, int),
    (int, object),
    (None, None),
    (None, type(None)),
    (NoReturn, int),
    (T, int),
    (int, T),
    ("Later", int),
    # classes
    (Dog, Animal),
    (bool, int),
    (int, float),
    (bool, float),
    (int, complex),
    (datetime, date),
    (Word, str),
    (Level, int),
    (Dog, Sized),
    # unions
    (int, int | None),
    (None, int | None),
    (int | None, int | str | None),
    (Optional[int], Union[None, int]),  # noqa: UP007, UP045 - the older spelling is another object
    (int | str, object),
    (Dog | int, Animal | float),
    # literals
    (Literal["a"], str),
    (Literal["a"], Literal["a", "b"]),
    (Literal["a", "b"], Literal["b"] | Literal["a"]),
    (Literal[1, "a"], int | str),
    (bool, Literal[True, False]),
    (bool, Literal[True] | Literal[False] | None),
    (Colour, Literal[Colour.RED, Colour.BLUE]),
    (Literal[Colour.RED], Colour),
    (None, Literal[None]),
    # annotated and aliases
    (Annotated[int, "unit"], int),
    (int, Annotated[int, "unit"]),
    (list[Annotated[int, "unit"]], list[int]),
    (Names, list[str]),
    (list[str], Names),
    (Pair[int], tuple[int, int]),
    (Json, Json),
    (list[str], Json),
    (str, Json),
    # new types
    (UserId, UserId),
    (UserId, int),
    (AdminId, UserId),
    (AdminId, int),
    (UserId, int | None),
    (UserId, UserId | None),
    (UserId, UserId | str),
    # generics
    (list[int], list[int]),
    (list[int], list),
    (list, list[int]),
    (list[Any], list[int]),
    (list[int], list[Any]),
    (list[int], Sequence[int]),
    (list[bool], Sequence[int]),
    (list[Dog], Collection[Animal]),
    (list[Dog], Iterable[Animal]),
    (set[Dog], AbstractSet[Animal]),
    (frozenset[Dog], frozenset[Animal]),
    (str, Sequence[str]),
    (dict[str, Dog], dict[str, Dog]),
    (dict[str, Dog], Mapping[str, Animal]),
    (Mapping[str, Dog], Mapping[str, Animal]),
    (dict[str, Any], dict[str, int]),
    (tuple[int, str], tuple[int, str]),
    (tuple[bool, str], tuple[int, str]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, ...], tuple[float, ...]),
    (tuple[int, int], Sequence[int]),
    (list[list[int]], list[list[int]]),
    (Box[int], Box[int]),
    (Box[Any], Box[int]),
    (Shelf[Dog], Shelf[Animal]),
    (Wrapped[int], Wrapped[int]),
    (Wrapped[Any], Wrapped[int]),
    (Callable[[int], int], Callable[[str], str]),
    # typed dicts
    (Point, Point),
    (Point3, Point),
    (Point, Mapping[str, object]),
    (Point, Mapping[str, Any]),
]

NO: list[tuple[Any, Any]] = [
    (int, str),
    (float, int),
    (object, int),
    (None, int),
    (int, None),
    (int, bool),
    (Animal, Dog),
    (date, datetime),
    (str, bytes),
    (str, Word),
    # unions
    (int | None, int),
    (int | str, int),
    (str, int | None),
    (object, int | None),
    # literals
    (str, Literal["a"]),
    (Literal["c"], Literal["a", "b"]),
    (Literal[1], Literal[True]),
    (Literal["a"], int),
    (bool, Literal[True]),
    (Colour, Literal[Colour.RED]),
    (int, Literal[1, 2]),
    # aliases and new types
    (list[int], Names),
    (Pair[str], tuple[int, int]),
    (int, UserId),
    (UserId, AdminId),
    (UserId, str),
    # generics
    (list[int], list[str]),
    (list[int], list[float]),
    (list[bool], list[int]),
    (list[Dog], list[Animal]),
    (list[int | None], list[int]),
    (set[Dog], set[Animal]),
    (list[int], set[int]),
    (Sequence[int], list[int]),
    (list[str], Sequence[int]),
    (str, list[str]),
    (str, Sequence[int]),
    (dict[str, int], dict[str, float]),
    (dict[str, int], Mapping[str, str]),
    (dict[int, int], Mapping[str, int]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int, int], tuple[int]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, str], Sequence[int]),
    (Box[int], Box[str]),
    (Box[Dog], Box[Animal]),
    (Shelf[Animal], Shelf[Dog]),
    (Wrapped[int], Wrapped[str]),
    (list[list[int]], list[list[str]]),
    # typed dicts
    (Point, Point3),
    (Point, FloatPoint),
    (Point, LoosePoint),
    (LoosePoint, Point),
    (dict[str, int], Point),
    (Point, dict[str, int]),
    (Point, Mapping[str, int]),
    (Animal, Point),
    (Point, Animal),
]


@pytest.mark.parametrize(("source", "target"), YES, ids=str)
def test_a_value_of_the_type_may_be_given(source: Any, target: Any) -> None:
    assert assignable(source, target)


@pytest.mark.parametrize(("source", "target"), NO, ids=str)
def test_a_value_of_the_type_may_not_be_given(source: Any, target: Any) -> None:
    assert not assignable(source, target)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (list[str], (True, str)),
        (list, (True, Any)),
        (Any, (True, Any)),
        (Names, (True, str)),
        (Annotated[list[str], "unit"], (True, str)),
        (NewType("Lines", list[str]), (True, str)),
        (T, (True, Any)),
        (str, (False, Any)),
        (object, (False, Any)),
        (tuple[str, ...], (False, Any)),
        (Sequence[str], (False, Any)),
        (list[str] | None, (False, Any)),
    ],
    ids=str,
)
def test_only_lists_and_what_may_be_a_list_can_be_mapped_over(declared: Any, expected: tuple[bool, Any]) -> None:
    assert list_element(declared) == expected


def test_recursive_generic_aliases_are_compared_without_end() -> None:
    make: Any = TypeAliasType
    list_of: Any = list
    tree = make("tree", T | list_of["tree[T]"], type_params=(T,))
    assert assignable(tree[int], tree[int])
    assert assignable(Annotated[int, []], Annotated[int, {}])


def test_a_subclass_of_list_knows_its_elements() -> None:
    class Lines(list[str]):
        pass

    class Bare(list):  # type: ignore[type-arg]
        pass

    assert list_element(Lines) == (True, str)
    assert list_element(Bare) == (True, Any)


@pytest.mark.parametrize("declared", [int, Animal, list[int], dict[str, Dog], int | None, Literal["a"], Point, None])
def test_types_that_say_everything_are_decided(declared: Any) -> None:
    assert is_decided(declared)


@pytest.mark.parametrize("declared", [Any, object, list, dict, list[Any], dict[str, list[Any]], T, int | Any, "Later"])
def test_types_that_leave_something_open_are_not_decided(declared: Any) -> None:
    assert not is_decided(declared)
