"""Types of all kinds that flows declare, with values of them, for the models that are written of them."""

import dataclasses
import enum
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional
from uuid import UUID

from annotated_types import Ge, Le, Len, Lt
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from typing_extensions import TypeAliasType, TypedDict

from .model_strategies import floats, texts, zones

decimals = st.decimals(allow_nan=False, allow_infinity=False)


class Colour(enum.Enum):
    RED = "red"
    LIGHT_BLUE = "light blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 20


class Ratio(enum.Enum):
    HALF = 0.5
    WORD = "word"


class Address(BaseModel):
    """Where someone \\lives: \"\"\"quoted\"\"\"."""

    street: Annotated[str, Field(min_length=1)]
    zip_code: str = Field(default="0", alias="zip code")


class Person(BaseModel):
    name: str
    home: Address
    others: list[Address] = []
    partner: Optional["Person"] = None
    nickname: str | None = "none yet"


class Awkward(BaseModel):
    """Keys that are no identifiers, or mean something else in Python or pydantic."""

    model_config = ConfigDict(protected_namespaces=())

    a: int = Field(alias="class")
    b: int = Field(alias="2nd")
    c: int = Field(alias="with-dash")
    d: int = Field(alias="with dash")
    e: int = Field(alias="")
    f: int = Field(alias="_private")
    g: int = Field(alias="__mangled")
    h: int = Field(alias="copy")
    i: int = Field(alias="model_config")
    j: int = Field(alias="Field")
    k: int = Field(alias="self")
    m: date = Field(alias="date")
    n: list[int] = Field(alias="list")
    o: Address = Field(alias="Address")
    p: int = Field(alias='"quoted"\\')
    q: int = Field(alias="größe")
    r: int | None = Field(default=None, alias="LEFT_OUT")
    s: int = Field(default=3, alias="None")
    t: datetime | None = Field(default=None, alias="datetime")
    u: int = Field(alias="$ref")
    v: int = Field(alias="properties")
    w: int = Field(alias="type")


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = Field(default_factory=list)


class Bird(BaseModel):
    kind: Literal["parrot", "owl"]


Pet = Annotated[Cat | Dog | Bird, Field(discriminator="kind")]


class Owner(BaseModel):
    pet: Pet
    more: list[Cat | Dog] = []


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Chain(TypedDict):
    head: int
    tail: NotRequired[Optional["Chain"]]


class Partial(TypedDict, total=False):
    number: int
    word: str | None


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0
    blob: bytes = b""
    tags: dict[str, list[str]] = dataclasses.field(default_factory=dict)


class Pair(NamedTuple):
    left: int
    right: str = "right"


class Moments(BaseModel):
    at: datetime
    on: date
    clock: time
    took: timedelta
    until: date = date(2030, 1, 1)
    key: UUID
    price: Decimal
    discount: Decimal = Field(default=Decimal("0.5"), ge=0, max_digits=6)
    now: datetime = Field(default_factory=datetime.now)


class Bounds(BaseModel):
    count: Annotated[int, Ge(1), Lt(10)]
    even: Annotated[int, Field(multiple_of=2)]
    share: Annotated[float, Ge(0), Le(1)]
    word: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")]
    few: Annotated[list[Annotated[int, Ge(0)]], Len(1, 3)]
    short: Annotated[str, StringConstraints(max_length=5)] | None = None
    by_key: dict[str, Annotated[int, Ge(0)]] = {}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    only: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int


class Choices(BaseModel):
    colour: Colour
    level: Level = Level.LOW
    ratio: Ratio = Ratio.HALF
    mode: Literal["a", "b", 3, None] = "a"
    either: int | str | list[int]
    flag: Literal[True]
    colours: dict[Colour, int] = {}


class Empty(BaseModel):
    pass


class Looking(BaseModel):
    """A pattern only Python's own regular expressions know."""

    model_config = ConfigDict(regex_engine="python-re")
    word: Annotated[str, Field(pattern=r"^(?!no)\w+$")]


class Page(BaseModel):
    number: int


class Anything(BaseModel):
    whatever: Any
    table: dict[str, Any] = {}
    document: JsonValue = None


Brief = Annotated[str, StringConstraints(max_length=3)]


class Extra(BaseModel):
    extra: Brief | None = None
    Extra: Brief | None = None


class Looped(BaseModel):
    model_config = ConfigDict(title="Decimal")
    decimal: Optional["Looped"] = None
    date: int


class Clashing(BaseModel):
    """Names of types that are also those of fields, of aliases, and of what the file imports or has itself."""

    model_config = ConfigDict(title="Steps")
    r: Extra
    d: Looped
    any: Brief | None
    items: list[Brief | None]
    zoo: Brief | None
    steps: list[Brief] | None
    nested: list[list[Annotated[list[Brief], Field(max_length=2)]]]
    counts: dict[str, Annotated[dict[str, int], Field(max_length=1)]]


Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | None")
Name = NewType("Name", str)
Positive = Annotated[int, Ge(1)]

addresses = st.builds(lambda s, z: Address(**{"street": s, "zip code": z}), texts.filter(bool), texts)
people = st.recursive(
    st.builds(Person, name=texts, home=addresses, others=st.lists(addresses, max_size=2), nickname=st.none() | texts),
    lambda inner: st.builds(Person, name=texts, home=addresses, partner=inner),
    max_leaves=3,
)
whole = st.integers(-(2**70), 2**70)


@st.composite
def awkward(draw: st.DrawFn) -> Awkward:
    special: Mapping[str, st.SearchStrategy[Any]] = {
        "m": st.dates(),
        "n": st.lists(whole, max_size=2),
        "o": addresses,
        "r": st.none() | whole,
        "t": st.none() | st.datetimes(),
    }
    fields = Awkward.model_fields
    return Awkward(**{str(field.alias): draw(special.get(name, whole)) for name, field in fields.items()})


cats, dogs = st.builds(Cat, lives=whole), st.builds(Dog, kind=st.just("dog"), tricks=st.lists(texts, max_size=2))
birds = st.builds(Bird, kind=st.sampled_from(["parrot", "owl"]))
trees = st.recursive(
    st.builds(Tree, value=whole),
    lambda inner: st.builds(Tree, value=whole, children=st.lists(inner, max_size=2)),
    max_leaves=4,
)
chains: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries({"head": whole}),
    lambda inner: st.fixed_dictionaries({"head": whole}, optional={"tail": st.none() | inner}),
    max_leaves=3,
)
partials = st.fixed_dictionaries({}, optional={"number": whole, "word": st.none() | texts})
points = st.builds(Point, floats, floats, st.binary(), st.dictionaries(texts, st.lists(texts, max_size=2), max_size=2))
moments = st.builds(
    Moments,
    at=st.datetimes(timezones=zones),
    on=st.dates(),
    clock=st.times(),
    took=st.timedeltas(min_value=timedelta(days=-9999), max_value=timedelta(days=9999)),
    until=st.dates(),
    key=st.uuids(),
    price=decimals,
    discount=st.decimals(0, 999, places=2),
    now=st.datetimes(),
)
bounds = st.builds(
    Bounds,
    count=st.integers(1, 9),
    even=whole.map(lambda number: number * 2),
    share=st.floats(0, 1),
    word=st.from_regex(re.compile(r"[a-z]{1,5}"), fullmatch=True),
    few=st.lists(st.integers(0), min_size=1, max_size=3),
    short=st.none() | st.text("abc", max_size=5),
    by_key=st.dictionaries(texts, st.integers(0), max_size=2),
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | whole | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
choices = st.builds(
    Choices,
    colour=st.sampled_from(Colour),
    level=st.sampled_from(Level),
    ratio=st.sampled_from(Ratio),
    mode=st.sampled_from(["a", "b", 3, None]),
    either=whole | texts | st.lists(whole, max_size=2),
    flag=st.just(True),
    colours=st.dictionaries(st.sampled_from(Colour), whole, max_size=2),
)

briefs = st.text("abc", max_size=3)
extras = st.builds(Extra, extra=st.none() | briefs, Extra=st.none() | briefs)
clashing = st.builds(
    Clashing,
    r=extras,
    d=st.builds(Looped, date=whole, decimal=st.none() | st.builds(Looped, date=whole)),
    any=st.none() | briefs,
    items=st.lists(st.none() | briefs, max_size=2),
    zoo=st.none() | briefs,
    steps=st.none() | st.lists(briefs, max_size=2),
    nested=st.lists(st.lists(st.lists(briefs, max_size=2), max_size=2), max_size=2),
    counts=st.dictionaries(texts, st.dictionaries(texts, whole, max_size=1), max_size=2),
)

ZOO: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "nested": (Person, people),
    "keys": (Awkward, awkward()),
    "discriminated": (Owner, st.builds(Owner, pet=cats | dogs | birds, more=st.lists(cats | dogs, max_size=2))),
    "discriminated root": (Pet, cats | dogs | birds),
    "union of models": (Cat | Tree | None, st.none() | cats | trees),
    "clashing names": (Clashing, clashing),
    "recursive": (Tree, trees),
    "recursive dict": (Chain, chains),
    "recursive alias": (Json, json_values),
    "partial dict": (Partial, partials),
    "dataclass": (Point, points),
    "named tuple": (Pair, st.builds(Pair, whole, texts)),
    "moments": (Moments, moments),
    "bounds": (Bounds, bounds),
    "choices": (Choices, choices),
    "no other keys": (Strict, st.builds(Strict, only=whole)),
    "other keys": (Open, st.builds(Open, known=whole, more=texts)),
    "empty": (Empty, st.builds(Empty)),
    "looking ahead": (Looking, st.builds(Looking, word=st.from_regex("[a-m]{1,5}", fullmatch=True))),
    "list of models": (list[Address], st.lists(addresses, max_size=2)),
    "dict of models": (dict[str, Address], st.dictionaries(texts, addresses, max_size=2)),
    "optional list": (list[str] | None, st.none() | st.lists(texts, max_size=2)),
    "number": (int, whole),
    "positive number": (Positive, st.integers(1)),
    "positive numbers": (list[Positive], st.lists(st.integers(1), max_size=2)),
    "new type": (Name, texts),
    "decimal": (Decimal, decimals),
    "bytes": (bytes, st.binary()),
    "nothing": (None, st.none()),
    "literal": (Literal["a", "b"], st.sampled_from(["a", "b"])),
    "enum": (Colour, st.sampled_from(Colour)),
    "pair": (tuple[int, Address], st.tuples(whole, addresses)),
    "numbers by name": (
        dict[str, list[float | None]],
        st.dictionaries(texts, st.lists(floats | st.none(), max_size=2)),
    ),
    "anything": (
        Anything,
        st.builds(
            Anything, whatever=json_values, table=st.dictionaries(texts, json_values, max_size=2), document=json_values
        ),
    ),
}
"""A type and the strategy of its values, by what it stands for."""
