"""Random types with values of them, and random flows."""

import functools
import keyword
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, NotRequired
from uuid import UUID

from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from flowdsl import Flow, collect, maybe, named
from flowdsl.model.step import is_valid_slug

# PostgreSQL cannot store U+0000, and UTF-8 has no lone surrogates: both are refused, as the unit tests say.
texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
floats = st.floats(allow_nan=False, allow_infinity=False)
zones = st.sampled_from([None, timezone.utc, timezone(timedelta(hours=-3, minutes=-30))])  # noqa: UP017


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Item(BaseModel):
    name: str
    amount: float = Field(alias="theAmount")
    when: datetime | None = None
    inner: list["Item"] = []


@dataclass
class Point:
    x: int
    blob: bytes = b""
    tags: dict[str, str] = field(default_factory=dict)


class Row(TypedDict):
    key: UUID
    price: Decimal
    note: NotRequired[str | None]


SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (type(None), st.none()),
    (bool, st.booleans()),
    (int, st.integers()),
    (float, floats),
    (str, texts),
    (bytes, st.binary()),
    (UUID, st.uuids()),
    (date, st.dates()),
    (time, st.times()),
    (datetime, st.datetimes(timezones=zones)),
    (timedelta, st.timedeltas(min_value=timedelta(days=-9999), max_value=timedelta(days=9999))),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (Colour, st.sampled_from(Colour)),
]

items = st.recursive(
    st.builds(lambda n, a: Item(name=n, theAmount=a), texts, floats),
    lambda inner: st.builds(
        lambda n, a, i: Item(name=n, theAmount=a, inner=i), texts, floats, st.lists(inner, max_size=2)
    ),
    max_leaves=4,
)
points = st.builds(Point, st.integers(), st.binary(), st.dictionaries(texts, texts, max_size=2))
rows = st.fixed_dictionaries(
    {"key": st.uuids(), "price": st.decimals(allow_nan=False, allow_infinity=False)},
    optional={"note": st.none() | texts},
)
RECORDS: list[tuple[Any, st.SearchStrategy[Any]]] = [(Item, items), (Point, points), (Row, rows)]

# Types of types made at run time, which checkers cannot follow.
LIST: Any = list
DICT: Any = dict
TUPLE: Any = tuple

Typed = tuple[Any, st.SearchStrategy[Any]]


def _of_one(inner: Typed) -> st.SearchStrategy[Typed]:
    declared, values = inner
    return st.sampled_from(
        [
            (LIST[declared], st.lists(values, max_size=3)),
            (DICT[str, declared], st.dictionaries(texts, values, max_size=3)),
            (TUPLE[declared, ...], st.lists(values, max_size=3).map(tuple)),
            (TUPLE[declared, int], st.tuples(values, st.integers())),
            (declared | None, st.none() | values),
        ]
    )


typed = st.recursive(st.sampled_from(SCALARS + RECORDS), lambda inner: inner.flatmap(_of_one), max_leaves=3)
"""A type and the strategy for its values."""

typed_values = typed.flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1]))
"""A type and one value of it."""

slugs = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True).filter(
    lambda slug: is_valid_slug(slug) and not keyword.iskeyword(slug)
)


def handler_of(name: str, inputs: list[Any], output: Any) -> Any:
    """Make a handler of that name and those types."""

    def handler(*values: Any) -> Any:
        return values

    # Longer than any slug drawn here: a parameter named like another dependency would be called swapped.
    parameters = [f"the_parameter_at_place_{index}" for index in range(len(inputs))]
    namespace: dict[str, Any] = {}
    exec(f"def {name}({', '.join(parameters)}): ...", namespace)  # noqa: S102 - a function with exactly these parameters
    made = functools.wraps(namespace[name])(handler)
    made.__annotations__ = {**dict(zip(parameters, inputs, strict=True)), "return": output}
    made.__wrapped__.__annotations__ = made.__annotations__
    return made


@dataclass(frozen=True)
class Made:
    """A step drawn so far: how to refer to it, what one call of it returns, and how it may be skipped.

    `skips` is alone, `cascades` is with all that depend on it.
    """

    ref: Any
    output: Any
    is_map: bool
    skips: bool
    cascades: bool

    def given(self) -> tuple[Any, Any]:
        """Return the dependency on it and the type of the parameter that takes it."""
        ref, declared = (collect(self.ref), LIST[self.output]) if self.is_map else (self.ref, self.output)
        return (maybe(ref), declared | None) if self.skips else (ref, declared)

    def returned(self) -> Any:
        """Return what the flow's `returns` takes."""
        ref = collect(self.ref) if self.is_map else self.ref
        return maybe(ref) if self.skips or self.cascades else ref


@st.composite
def flows(draw: st.DrawFn) -> Flow[Any, Any]:
    """A flow over a random graph, each step depending on any of those before it, some of them under conditions."""
    names = draw(st.lists(slugs, min_size=1, max_size=8, unique=True))
    builder: Any = Flow(draw(slugs), list[int], deadline=draw(st.none() | st.integers(1, 2**31 - 1)))
    made: list[Made] = []
    for name in names:
        chosen: list[Made] = draw(st.lists(st.sampled_from(made), max_size=4, unique=True)) if made else []
        given = [step.given() for step in chosen]
        deps: list[Any] = [dep for dep, _ in given]
        types: list[Any] = [declared for _, declared in given]
        output = draw(st.sampled_from([int, str, list[int], list[str]]))
        method = draw(st.sampled_from(["step", "array", "map"]))
        if method == "array":
            output = list[int]
        if method == "map":
            deps, types = [list[int], *deps], [int, *types]
        elif not deps:
            types = [list[int]]
        options = draw(step_options) | {"when_exhausted": draw(modes)}
        is_conditional: bool = draw(st.booleans())
        if chosen and is_conditional:
            options |= {draw(st.sampled_from(["when", "unless"])): {"run": draw(patterns)}, "when_unmet": draw(modes)}
        handler: Any = handler_of("handler", types, output)
        ref = named(name, handler)
        builder = getattr(builder, method)(ref, *deps, **options)
        fates = [options["when_exhausted"], options.get("when_unmet")]
        cascades = "skip-cascade" in fates or any(step.cascades for step in chosen)
        made.append(Made(ref, output, method == "map", skips="skip" in fates, cascades=cascades))
    return draw(st.sampled_from([builder, builder.returns(made[0].returned())]))


modes = st.sampled_from(["skip", "skip-cascade", "fail"])
patterns = st.lists(st.integers(), max_size=3)
step_options = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.integers(1, 2**31 - 1),
        "timeout": st.integers(1, 2**31 - 1),
        "start_delay": st.integers(0, 2**31 - 1),
        "queue": st.text(st.characters(blacklist_characters="\0"), min_size=1, max_size=128).filter(str.strip),
        "priority": st.integers(-(2**15), 2**15 - 1),
        "retry_on": st.lists(st.sampled_from([ValueError, OSError, KeyError]), min_size=1),
    },
)
