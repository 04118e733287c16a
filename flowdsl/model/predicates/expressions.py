"""What a traced predicate is: a tree of conditions over places in the judged JSON, frozen and without functions.

Every condition is true or false, never unknown: None and what is absent equal only None, and no other atom but that is
true of them. `jsonpath` and `words` read the tree.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]
Number: TypeAlias = Literal["int", "float", "either"] | None


class Absent(Enum):
    """The only value of it says that a key has no default."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
RUN_ROOT: Final = 0
"""The judged value itself; elements of lists have roots of higher numbers, one for each any_ and all_."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step into a value: by a key or an index; the default is what counts where the key is absent, as JSON.

    `may_be_none` tells that nothing, or null, may be there where the owner is.
    """

    accessor: str | int
    may_be_none: bool = False
    default: Any = field(default=ABSENT, hash=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A value in the judged JSON, or one the codec would put there.

    `number` tells how Python reads a number there, or in the list there: as an int, as a float, or as either. `is_mixed`
    tells that the JSON types of what is there vary, not counting null.
    """

    root: int
    steps: tuple[Step, ...]
    shown: str = field(compare=False)
    root_may_be_none: bool = False
    is_mixed: bool = False
    number: Number = None

    @property
    def may_be_none(self) -> bool:
        """Whether nothing, or null, may be there."""
        return self.root_may_be_none or any(step.may_be_none for step in self.steps)

    def or_none(self) -> "Place":
        """Return the place with nothing, or null, in it at times."""
        if not self.steps:
            return replace(self, root_may_be_none=True)
        return replace(self, steps=(*self.steps[:-1], replace(self.steps[-1], may_be_none=True)))


@dataclass(frozen=True, slots=True)
class Constant:
    """A value as the codec writes it."""

    value: Any = field(hash=False)
    shown: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Count:
    """The number of elements of a list; 0 of None."""

    of: Place | Constant


Operand: TypeAlias = Place | Constant | Count


@dataclass(frozen=True, slots=True)
class Always:
    """A condition that is decided."""

    verdict: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """Two values compared; a place holding a boolean alone is one compared with true."""

    operator: Operator
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class IsNone:
    """Whether a value is None or absent."""

    of: Place | Constant


@dataclass(frozen=True, slots=True)
class StartsWith:
    """Whether a text begins so."""

    of: Place | Constant
    prefix: str


@dataclass(frozen=True, slots=True)
class Matches:
    """Whether a regular expression is found in a text: Python's, and the same for PostgreSQL."""

    of: Place | Constant
    pattern: str
    translated: str


@dataclass(frozen=True, slots=True)
class InList:
    """Whether a value is an element of a list in the JSON."""

    of: Place | Constant
    choices: Place | Constant
    elements_may_be_none: bool


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Whether a condition is true of any element, which the condition knows by its own root."""

    of: Place | Constant
    root: int
    name: str = field(compare=False)
    test: "Condition"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    of: "Condition"


@dataclass(frozen=True, slots=True)
class And:
    """All of several."""

    of: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """One of several at least."""

    of: "tuple[Condition, ...]"


Condition: TypeAlias = Always | Compare | IsNone | StartsWith | Matches | InList | AnyOf | Not | And | Or


def both(one: Condition, other: Condition) -> Condition:
    """Return a condition that is true where both are; one of the same kind takes the other in."""
    return And((*_parts(one, And), *_parts(other, And)))


def either(one: Condition, other: Condition) -> Condition:
    """Return a condition that is true where one of two is."""
    return Or((*_parts(one, Or), *_parts(other, Or)))


def _parts(condition: Condition, kind: type[And] | type[Or]) -> tuple[Condition, ...]:
    return condition.of if isinstance(condition, kind) else (condition,)


def opposite(condition: Condition) -> Condition:
    """Return a condition that is true where this one is false."""
    return condition.of if isinstance(condition, Not) else Not(condition)


def places(condition: Condition) -> tuple[Place, ...]:
    """Return all places a condition looks at."""
    found: list[Place] = []

    def note(operand: Operand) -> Operand:
        place = operand.of if isinstance(operand, Count) else operand
        if isinstance(place, Place):
            found.append(place)
        return operand

    mapped(condition, note)
    return tuple(found)


def free_places(condition: Condition) -> tuple[Place, ...]:
    """Return the places a condition looks at, but for those in elements that it goes through itself."""
    match condition:
        case AnyOf():
            own = (condition.of,) if isinstance(condition.of, Place) else ()
            return (*own, *(place for place in free_places(condition.test) if place.root != condition.root))
        case Not():
            return free_places(condition.of)
        case And() | Or():
            return tuple(place for part in condition.of for place in free_places(part))
        case _:
            return places(condition)


def mapped(condition: Condition, change: Callable[[Any], Any]) -> Condition:
    """Return the condition with each operand changed."""
    match condition:
        case Always():
            return condition
        case Compare():
            return replace(condition, left=change(condition.left), right=change(condition.right))
        case InList():
            return replace(condition, of=change(condition.of), choices=change(condition.choices))
        case AnyOf():
            return replace(condition, of=change(condition.of), test=mapped(condition.test, change))
        case Not():
            return Not(mapped(condition.of, change))
        case And() | Or():
            return type(condition)(tuple(mapped(part, change) for part in condition.of))
        case _:
            return replace(condition, of=change(condition.of))


def bound(condition: Condition, root: int, value: Any) -> Condition:
    """Return the condition with a known JSON value at a root: its places are constants then."""

    def change(operand: Operand) -> Operand:
        if isinstance(operand, Count):
            inner = change(operand.of)
            return operand if isinstance(inner, Count) else Count(inner)
        if isinstance(operand, Place) and operand.root == root:
            return Constant(reached(value, operand.steps), operand.shown)
        return operand

    return mapped(condition, change)


def reached(value: Any, steps: tuple[Step, ...]) -> Any:
    """Follow steps into a JSON value, as the database and the codec do; None where nothing is."""
    for step in steps:
        if isinstance(step.accessor, int):
            is_there = isinstance(value, list) and -len(value) <= step.accessor < len(value)
            value = value[step.accessor] if is_there else None
        elif isinstance(value, dict):
            default = None if step.default is ABSENT else step.default
            value = value.get(step.accessor, default)
        else:
            value = None
    return value
