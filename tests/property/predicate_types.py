"""Random types for predicates: what a value of them may be, and which constants it can be compared with.

Types are made with `create_model`, so that fields, aliases, defaults and nesting differ from example to example.
"""

import enum
import itertools
from dataclasses import dataclass, field, is_dataclass, make_dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, Literal, NotRequired
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, create_model
from typing_extensions import TypedDict

TEXTS = [
    *("", "a", "b", "ab", "A", "a b", "\u00e9", "e\u0301", "\U0001f600", "\uffff", "\u2028", "\x7f", "$", "%", ":a"),
    *('say "x"', "it's", "back\\slash", "\\", "\\u0041", "a\nb", "a\n", "\n", "\t", "null", "1", "true", "</script>"),
]
INTS = [0, 1, -1, 2, 7, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 10**16 + 1, 10**23, -(10**30), 10**40]
FLOATS = [0.0, -0.0, 1.0, -0.5, 0.1, 0.30000000000000004, 1e23, 1e-7, 5e-324, 1.7976931348623157e308, -1e16, 2.0**53]
UUIDS = [UUID(int=0), UUID(int=1), UUID("ffffffff-0000-4000-8000-00000000000a"), UUID(int=2**127)]
DATES = [date(1, 1, 1), date(999, 12, 31), date(2024, 2, 29), date(9999, 12, 31)]


class Colour(enum.Enum):
    """A plain enum: equal to nothing but its members."""

    RED = "red"
    BLUE = "blue"


class Mixed(enum.Enum):
    """A plain enum of values of several JSON types."""

    ONE = 1
    WORD = "1"
    YES = "true"


class Level(enum.IntEnum):
    """Numbers with names."""

    LOW = 1
    HIGH = 10


class Tone(enum.StrEnum):
    """Texts with names."""

    SOFT = "soft"
    LOUD = "loud"


@dataclass
class Spec:
    """One type: how to declare it, what family it compares with, and how to draw a value."""

    declared: Any
    family: str
    pool: list[Any] = field(default_factory=list)
    parts: "dict[str, Part]" = field(default_factory=dict)
    element: "Spec | None" = None
    is_nullable: bool = False
    by_key: bool = False

    def draw(self, dice: Random) -> Any:
        """Return a value of the type."""
        if self.is_nullable and dice.random() < 0.3:
            return None
        if self.family == "record":
            values = {
                part.key_in_python: part.spec.draw(dice)
                for part in self.parts.values()
                if not part.may_lack or dice.random() < 0.7
            }
            if self.by_key:
                return values
            return (
                self.record(**values)
                if isinstance(self.record, type) and is_dataclass(self.record)
                else self.record.model_construct(**values)
            )
        if self.family == "list":
            assert self.element is not None
            items = [self.element.draw(dice) for _ in range(dice.choice([0, 1, 2, 3]))]
            return items if self.record is None else self.record(items)
        if self.family == "dict":
            assert self.element is not None
            return {key: self.element.draw(dice) for key in dice.sample(["a", 'q"\\', "\u00e9"], dice.randrange(3))}
        return self.constant(dice)

    record: Any = None

    def constant(self, dice: Random) -> Any:
        """Return a simple value of the type."""
        if self.family == "float" and dice.random() < 0.3:
            return dice.uniform(-5, 5)
        if self.family == "int" and dice.random() < 0.3:
            return dice.randrange(-5, 5)
        if self.family == "str" and dice.random() < 0.2:
            return "".join(dice.choice(TEXTS) for _ in range(3))
        return dice.choice(self.pool)


@dataclass
class Part:
    """One field of a record."""

    name: str
    spec: Spec
    may_lack: bool = False
    has_default: bool = False

    @property
    def key_in_python(self) -> str:
        """The name by which Python knows it."""
        return self.name


SCALARS = [
    Spec(int, "int", INTS),
    Spec(float, "float", FLOATS),
    Spec(str, "str", TEXTS),
    Spec(bool, "bool", [True, False]),
    Spec(UUID, "uuid", UUIDS),
    Spec(date, "date", DATES),
    Spec(
        NaiveDatetime,
        "moment",
        [datetime.fromisoformat(t) for t in ("2024-01-01", "2024-01-01T00:00:00.0005", "0099-01-01T01:00")],
    ),
    Spec(timedelta, "span", [timedelta(0), timedelta(days=1, seconds=1), timedelta(microseconds=-1)]),
    Spec(bytes, "bytes", [b"", b"a", b"\xff\x00", b"YQ=="]),
    Spec(Colour, "colour", list(Colour)),
    Spec(Mixed, "mixed", list(Mixed)),
    Spec(Level, "level", list(Level)),
    Spec(Tone, "tone", list(Tone)),
    Spec(Literal["a", "b", 'say "x"'], "choice", ["a", "b", 'say "x"']),
    Spec(int | str, "union", [*INTS[:5], *TEXTS[:8], "1"]),
    Spec(str | bool, "union", [True, False, *TEXTS[:8], "true"]),
    Spec(float | str, "union", [0.5, -1.0, 0.1, *TEXTS[:8]]),
    Spec(str | list[str], "union", [*TEXTS[:8], ["a"], []]),
]
_names = itertools.count()


def optional(spec: Spec) -> Spec:
    """Return the type with None."""
    declared: Any = spec.declared | None
    return Spec(declared, spec.family, spec.pool, spec.parts, spec.element, True, spec.by_key, spec.record)


def random_spec(dice: Random, depth: int = 2) -> Spec:
    """Return any type."""
    kind = dice.choice(
        ["scalar"] * 5 + ["list", "list", "dict", "record", "record", "dataclass", "typed dict"] * (depth > 0)
    )
    if kind == "scalar":
        spec = dice.choice(SCALARS)
    elif kind == "record":
        spec = random_record(dice, depth - 1)
    elif kind == "dataclass":
        spec = random_dataclass(dice, depth - 1)
    elif kind == "typed dict":
        spec = random_typed_dict(dice, depth - 1)
    else:
        inner = random_spec(dice, depth - 1)
        declared: Any = list
        if kind == "list" and dice.random() < 0.3:
            declared = tuple
            spec = Spec(declared[inner.declared, ...], "list", element=inner, record=tuple)
        elif kind == "list":
            spec = Spec(declared[inner.declared], "list", element=inner)
        else:
            declared = dict
            spec = Spec(declared[str, inner.declared], "dict", element=inner)
    return optional(spec) if dice.random() < 0.25 else spec


def random_record(dice: Random, depth: int = 2) -> Spec:
    """Return a model with some fields, some of them with aliases and defaults."""
    parts: dict[str, Part] = {}
    fields: dict[str, Any] = {}
    for name in ("one", "two", "three", "four")[: dice.randrange(1, 5)]:
        spec = random_spec(dice, depth)
        options: dict[str, Any] = {}
        if dice.random() < 0.3:
            options["alias"] = dice.choice([f"the {name}", f'{name}"', f"\u00e9{name}\\", name.title()])
        has_default = dice.random() < 0.4
        if has_default and spec.family == "list" and dice.random() < 0.5:
            options["default_factory"] = list
        elif has_default:
            options["default"] = spec.draw(dice)
        fields[name] = (spec.declared, Field(**options))
        parts[name] = Part(name, spec, has_default=has_default)
    config = ConfigDict(populate_by_name=True, ser_json_bytes="base64", val_json_bytes="base64")
    made: type[BaseModel] = create_model(f"Record{next(_names)}", __config__=config, **fields)
    return Spec(made, "record", parts=parts, record=made)


def random_dataclass(dice: Random, depth: int) -> Spec:
    """Return a dataclass, some of whose fields have defaults."""
    parts: dict[str, Part] = {}
    fields: list[tuple[str, Any, Any]] = []
    for name in ("left", "right")[: dice.randrange(1, 3)]:
        spec = random_spec(dice, depth)
        has_default = dice.random() < 0.4 and bool(spec.pool)
        value = spec.draw(dice) if has_default else None
        has_default = has_default and not isinstance(value, list)
        fields.append((name, spec.declared, field(default=value, kw_only=True) if has_default else field(kw_only=True)))
        parts[name] = Part(name, spec, has_default=has_default)
    made = make_dataclass(f"Data{next(_names)}", fields)
    return Spec(made, "record", parts=parts, record=made)


def random_typed_dict(dice: Random, depth: int) -> Spec:
    """Return a TypedDict, some of whose keys need not be there."""
    parts: dict[str, Part] = {}
    fields: dict[str, Any] = {}
    for name in ("first key", "second")[: dice.randrange(1, 3)]:
        spec = random_spec(dice, depth)
        may_lack = dice.random() < 0.5
        wrap: Any = NotRequired
        fields[name] = wrap[spec.declared] if may_lack else spec.declared
        parts[name] = Part(name, spec, may_lack=may_lack)
    make: Any = TypedDict
    return Spec(make(f"Keys{next(_names)}", fields), "record", parts=parts, by_key=True)
