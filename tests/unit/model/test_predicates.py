# mypy: disable-error-code="empty-body"
"""Predicates: what they become as jsonpath and in words, what they mean on plain values, and every mistake in them."""

import datetime as dt
import enum
import functools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired
from uuid import UUID

import psycopg
import pytest
from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, RootModel, field_serializer, model_serializer
from typing_extensions import TypeAliasType, TypedDict

from flowdsl import Flow, all_, any_, count, in_, is_none, matches, maybe, not_, startswith
from flowdsl.errors import DefinitionError, Problem
from flowdsl.model.conditions import Predicate
from flowdsl.model.problems import Code
from flowdsl.model.shape import FlowShape
from tests.names import readable

HERE = Path(__file__).name


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Site(BaseModel):
    url: str
    tags: list[str] = []
    visits: int = Field(default=0, alias="visitCount")
    owner: str | None = None
    colour: Colour = Colour.RED
    is_big: bool = False
    key: UUID = UUID(int=0)
    price: Decimal = Decimal(1)
    seen: dt.datetime | None = None
    born: dt.date | None = None
    ratio: int | float = 0
    anything: Any = None
    label: int | str = 0


class Mood(BaseModel):
    score: float
    label: Literal["good", "bad"]
    words: list[str] | None = None


def judge(site: Site) -> Mood: ...
def escalate(site: Site, mood: Mood) -> str: ...
def pages(site: Site) -> list[Site]: ...
def fetch(page: Site, mood: Mood | None) -> str: ...
def save(mood: Mood | None) -> bool: ...


# Wrong predicates are what type checkers refuse, so they are written with names that checkers do not know.
Untyped: Any = Flow
in_any: Any = in_
any_any: Any = any_
count_any: Any = count
matches_any: Any = matches


def root(when: Any, input: Any = Site, option: str = "when") -> Any:
    def first(value: input) -> str: ...

    return Untyped("careful", input).step(first, **{option: when})


def dependent(when: Any, option: str = "when") -> Any:
    return Untyped("careful", Site).step(judge).step(escalate, Site, judge, **{option: when})


def predicate_of(flow: Any) -> Predicate:
    predicate = flow.shape().steps[-1].input_predicate
    assert isinstance(predicate, Predicate)
    return predicate


def problem_of(define: Callable[[], object], code: Code = Code.UNTRACEABLE_PREDICATE) -> Problem:
    with pytest.raises(DefinitionError) as caught:
        define()
    problems = caught.value.problems
    assert [problem.code for problem in problems] == [code], "\n".join(map(str, problems))
    return problems[0]


def fix_of(define: Callable[[], object], code: Code = Code.UNTRACEABLE_PREDICATE) -> str:
    return problem_of(define, code).fix


# ---- what they become -----------------------------------------------------------------------------------------------

BECOME: list[tuple[Any, str, str]] = [
    (lambda site: site.url == "x", '$."url" == "x"', "site.url is 'x'"),
    (lambda site: site.url != "x", '$."url" != "x"', "site.url is not 'x'"),
    (lambda site: "x" == site.url, '$."url" == "x"', "site.url is 'x'"),  # noqa: SIM300
    (lambda site: site.visits > 3, '$."visitCount" > 3', "site.visits > 3"),
    (
        lambda site: site.visits < 3,
        '$."visitCount" < 3 || !exists($."visitCount")',  # the default counts where the key is absent
        "site.visits < 3",
    ),
    (lambda site: site.is_big, '$."is_big" == true', "site.is_big"),
    (lambda site: not_(site.is_big), '!($."is_big" == true)', "not site.is_big"),
    (lambda site: ~site.is_big, '!($."is_big" == true)', "not site.is_big"),
    (lambda site: site.colour == Colour.BLUE, '$."colour" == "blue"', "site.colour is 'blue'"),
    (
        lambda site: site.key == UUID(int=1),
        '$."key" == "00000000-0000-0000-0000-000000000001"',
        "site.key is UUID('00000000-0000-0000-0000-000000000001')",
    ),
    (
        lambda site: site.born < dt.date(2000, 1, 1),
        '$."born" < "2000-01-01"',
        "site.born < datetime.date(2000, 1, 1)",
    ),
    (lambda site: is_none(site.owner), '!($."owner".type() != "null")', "site.owner is None"),
    (lambda site: site.owner == None, '!($."owner".type() != "null")', "site.owner is None"),  # noqa: E711
    (lambda site: not_(is_none(site.owner)), '$."owner".type() != "null"', "site.owner is not None"),
    (lambda site: site.owner != "x", '!($."owner" == "x")', "site.owner is not 'x'"),
    (lambda site: site.url.startswith("a"), '$."url" starts with "a"', "site.url starts with 'a'"),
    (
        lambda site: startswith(site.owner, "a"),
        '$."owner".type() == "string" && $."owner" starts with "a"',
        "site.owner starts with 'a'",
    ),
    (
        lambda site: matches(site.url, r"\d$"),
        r'$."url" like_regex "[0-9](?=\\n?$)" flag "s"',
        r"site.url matches /\d$/",
    ),
    (
        lambda site: in_(site.url, ["a", "b"]),
        '$."url" == "a" || $."url" == "b"',
        "site.url is 'a' or site.url is 'b'",
    ),
    (lambda site: in_("a", site.tags), '$."tags"[*] == "a"', "'a' is in site.tags"),
    (lambda site: site.tags[0] == "a", '$."tags"[0] == "a"', "site.tags[0] is 'a'"),
    (lambda site: site.tags[-2] == "a", '$."tags"[last - 1] == "a"', "site.tags[-2] is 'a'"),
    (
        lambda site: count(site.tags) > 1,
        '$."tags".type() == "array" && $."tags".size() > 1',
        "count of site.tags > 1",
    ),
    (
        lambda site: any_(site.tags, lambda tag: tag == "a"),
        '$."tags".type() == "array" && exists($."tags"[*] ? (@ == "a"))',
        "some tag of site.tags: tag is 'a'",
    ),
    (
        lambda site: all_(site.tags, lambda tag: tag == "a") & (site.url == "x"),
        '!($."tags".type() == "array" && exists($."tags"[*] ? (@ != "a"))) && $."url" == "x"',
        "(every tag of site.tags: tag is 'a') and site.url is 'x'",
    ),
    (
        lambda site: (site.url == "a") & ((site.visits > 1) | (site.url == "b")),
        '$."url" == "a" && ($."visitCount" > 1 || $."url" == "b")',
        "site.url is 'a' and (site.visits > 1 or site.url is 'b')",
    ),
    (
        lambda site: site.label == "a",
        '$."label".type() == "string" && $."label" == "a"',
        "site.label is 'a'",
    ),
]


@pytest.mark.parametrize(("when", "jsonpath", "words"), BECOME, ids=[words for _, _, words in BECOME])
def test_a_predicate_becomes_a_jsonpath_and_words(when: Any, jsonpath: str, words: str) -> None:
    predicate = predicate_of(root(when))
    assert (predicate.jsonpath, predicate.words) == (jsonpath, words)


def test_a_dependents_predicate_looks_at_its_inputs_under_their_slugs() -> None:
    predicate = predicate_of(dependent(lambda site, mood: (mood.score < -0.5) & (site.url != mood.label)))
    assert predicate.jsonpath == '$."judge"."score" < -0.5 && $."run"."url" != $."judge"."label"'
    assert predicate.words == "mood.score < -0.5 and site.url is not mood.label"


def test_unless_is_the_opposite_and_both_have_to_hold() -> None:
    assert predicate_of(root(lambda site: site.url == "x", option="unless")).jsonpath == '$."url" != "x"'

    def first(site: Site) -> str: ...

    both = Flow("both", Site).step(first, when=lambda site: site.url == "x", unless=lambda site: site.visits > 3)
    assert predicate_of(both).jsonpath == '$."url" == "x" && !($."visitCount" > 3)'
    mixed = Flow("mixed", Site).step(first, when={"url": "x"}, unless=lambda site: site.visits > 3)
    assert mixed.shape().steps[0].required_input_pattern is not None
    assert predicate_of(mixed).jsonpath == '!($."visitCount" > 3)'


def test_a_maps_predicate_is_given_the_whole_list_and_a_maybe_dependency_may_be_none() -> None:
    flow = Flow("mapped", Site).step(judge, when_exhausted="skip").array(pages)
    mapped = flow.map(fetch, pages, maybe(judge), when=lambda pages, mood: (count(pages) > 1) & is_none(mood))
    assert predicate_of(mapped).jsonpath == '$."pages".size() > 1 && !($."judge".type() != "null")'

    def number(value: int) -> int: ...

    assert (
        predicate_of(Flow("root", list[int]).map(number, when=lambda numbers: count(numbers) > 1)).jsonpath
        == "$.size() > 1"
    )


def test_a_predicate_is_called_once_when_the_flow_is_defined() -> None:
    calls = []

    def predicate(site: Site) -> bool:
        calls.append(site)
        return site.url == "x"

    flow = root(predicate)
    flow.shape()
    flow.shape()
    assert len(calls) == 1


def test_methods_partials_and_objects_are_predicates_too() -> None:
    class Rule:
        def long(self, site: Site) -> bool:
            return site.visits > 3

        def __call__(self, site: Site) -> bool:
            return site.visits > 3

    def above(least: int, site: Site) -> bool:
        return site.visits > least

    expected = predicate_of(root(lambda site: site.visits > 3)).jsonpath
    for rule in (Rule().long, Rule(), functools.partial(above, 3)):
        assert predicate_of(root(rule)).jsonpath == expected


def test_a_predicate_is_structure_but_its_words_are_not() -> None:
    one, other = root(lambda site: site.url == "x").shape(), root(lambda page: page.url == "x").shape()
    assert one.fingerprint == other.fingerprint
    assert root(lambda site: site.url == "y").shape().fingerprint != one.fingerprint
    assert FlowShape.from_json(one.to_json()).steps[0].input_predicate == one.steps[0].input_predicate


@dataclass
class Point:
    x: int
    y: float = 0.5


class Pair(NamedTuple):
    left: int
    right: str


class Row(TypedDict):
    kind: str
    note: NotRequired[str]


class Names(RootModel[list[str]]):
    pass


class Tree(BaseModel):
    name: str
    children: list["Tree"] = []


Nested = TypeAliasType("Nested", "tuple[int, Nested | None]")


class Valued(BaseModel):
    model_config = ConfigDict(use_enum_values=True)
    colour: Colour


Id = NewType("Id", int)


@pytest.mark.parametrize(
    ("declared", "when", "jsonpath"),
    [
        (Point, lambda p: p.x == 1, '$."x" == 1'),
        (Row, lambda r: r["kind"] == "a", '$."kind" == "a"'),
        (Row, lambda r: r["note"] != "a", '!($."note" == "a")'),
        (Pair, lambda p: p.right == "a", '$[1] == "a"'),
        (Names, lambda n: count(n.root) > 1, "$.size() > 1"),
        (Nested, lambda n: n[1][0] > 3, "$[1][0] > 3"),
        (Tree, lambda t: t.children[0].children[0].name == "a", '$."children"[0]."children"[0]."name" == "a"'),
        (Valued, lambda v: v.colour == "red", '$."colour" == "red"'),
        (Id, lambda i: i > 3, "$ > 3"),
        (Annotated[int, Field(gt=0)], lambda i: i > 3, "$ > 3"),
        (dict[str, int], lambda d: d['a"b'] > 3, '$."a\\"b" > 3'),
        (tuple[int, str], lambda t: t[-1] == "a", '$[1] == "a"'),
        (tuple[int, ...], lambda t: any_(t, lambda i: i > 3), "exists($[*] ? (@ > 3))"),
        (set[str], lambda s: in_("a", s), '$[*] == "a"'),
        (Sequence[str], lambda s: in_("a", s), '$[*] == "a"'),
        (NaiveDatetime, lambda t: t > dt.datetime(2024, 1, 1), '$ > "2024-01-01T00:00:00"'),  # noqa: DTZ001
        (dt.timedelta, lambda t: t == dt.timedelta(hours=1), '$ == "PT1H"'),
        (bytes, lambda b: b == b"a", '$ == "YQ=="'),
        (Level, lambda level: level >= Level.HIGH, "$ >= 10"),
        (Level, lambda level: level == 10, "$ == 10"),
        (Literal["a", 1], lambda c: c == 1, '$.type() == "number" && $ == 1'),
        (list[str | None], lambda xs: in_(None, xs), "$[*] == null"),
        (list[Tree], lambda xs: any_(xs, lambda x: any_(x.children, lambda y: y.name == "a")), None),
    ],
    ids=readable,
)
def test_types_are_read_as_the_codec_writes_them(declared: Any, when: Any, jsonpath: str | None) -> None:
    written = predicate_of(root(when, declared)).jsonpath
    assert jsonpath is None or written == jsonpath


@pytest.mark.parametrize(
    ("declared", "when", "jsonpath"),
    [
        (int, lambda n: n == 1e23, "$ == 99999999999999991611392"),
        (int, lambda n: n < 0.5, "$ < 0.5"),
        (float, lambda x: x == 1e23, "$ == 1e23"),
        (float, lambda x: x < 2**53 + 1, "$ <= 9007199254740992.0"),
        (float, lambda x: x > 2**53 + 1, "$ >= 9007199254740994.0"),
        (float, lambda x: x != 2**53, "$ != 9007199254740992"),
        (float, lambda x: x < 10**400, "$ <= 1.7976931348623157e308"),
        (int, lambda n: n > 10**40, f"$ > {10**40}"),
    ],
    ids=readable,
)
def test_numbers_are_compared_as_python_compares_them(declared: Any, when: Any, jsonpath: str) -> None:
    assert predicate_of(root(when, declared)).jsonpath == jsonpath


# ---- on plain values ------------------------------------------------------------------------------------------------


def test_the_functions_work_on_plain_values_with_the_same_meaning() -> None:
    site = Site(url="spam", tags=["a", "b"])

    def predicate(site: Site) -> bool:
        return (count(site.tags) > 1) & matches(site.url, "^sp") & any_(site.tags, lambda tag: tag == "b")

    assert predicate(site)
    assert not predicate(Site(url="spam"))
    assert (count(None), any_(None, bool), all_(None, bool), in_(None, ["a"]), in_(None, [None, 1])) == (
        0, False, True, False, True
    )  # fmt: skip
    assert (matches(None, "a"), startswith(None, "a"), is_none(None), not_(True)) == (False, False, True, False)
    assert not matches("\u0661", r"\d"), "classes are those of ASCII, as in the database"


def test_what_python_makes_of_a_negated_bool_counts_as_its_opposite() -> None:
    flags = [True, False]
    assert any_(flags, lambda flag: ~flag)
    assert not all_(flags, lambda flag: ~flag)
    assert [not_(~flag) for flag in flags] == flags


# ---- what cannot be traced ------------------------------------------------------------------------------------------

MENDED: list[tuple[Any, str, str]] = [
    (
        lambda site, mood: mood.score < -0.5 and site.url != "spam",
        "when asks whether 'mood.score < -0.5' is true by 'and'",
        "lambda site, mood: (mood.score < -0.5) & (site.url != 'spam')",
    ),
    (
        lambda site, mood: mood.score < -0.5 or site.is_big,
        "by 'or'",
        "lambda site, mood: (mood.score < -0.5) | site.is_big",
    ),
    (
        lambda site, mood: not site.is_big,
        "when asks whether site.is_big is true by 'not'",
        "lambda site, mood: not_(site.is_big)",
    ),
    (
        lambda site, mood: -1 < mood.score < 1,
        "by a chained comparison",
        "lambda site, mood: (-1 < mood.score) & (mood.score < 1)",
    ),
    (
        lambda site, mood: mood.score < 0 & site.visits > 3,
        "& takes conditions, but site.visits is int",
        "lambda site, mood: (mood.score < 0) & (site.visits > 3)",
    ),
    (lambda site, mood: site.url in ["a", "b"], "by 'in'", "lambda site, mood: in_(site.url, ['a', 'b'])"),
    (lambda site, mood: "a" in site.tags, "uses 'in' on site.tags", "lambda site, mood: in_('a', site.tags)"),
    (lambda site, mood: "a" not in site.tags, "uses 'in' on site.tags", "lambda site, mood: not_(in_('a', site.tags))"),
    (lambda site, mood: len(site.tags) > 1, "uses len() on site.tags", "lambda site, mood: count(site.tags) > 1"),
    (
        lambda site, mood: any(tag == "a" for tag in site.tags),
        "uses iteration on site.tags",
        "lambda site, mood: any_(site.tags, lambda tag: tag == 'a')",
    ),
    (
        lambda site, mood: True if mood.score > 1 else False,  # noqa: SIM210
        "by 'if'",
        "lambda site, mood: mood.score > 1",
    ),
    (
        lambda site, mood: site.is_big if mood.score > 1 else site.url == "x",
        "by 'if'",
        "lambda site, mood: (mood.score > 1) & site.is_big | not_(mood.score > 1) & (site.url == 'x')",
    ),
    (
        lambda site, mood: (site.owner is None) | site.is_big,
        "| takes conditions, but False is decided while the flow is defined",
        "lambda site, mood: is_none(site.owner) | site.is_big",
    ),
    (lambda site, mood: site.is_big & (site.owner is not None), "but True is decided", "not_(is_none(site.owner))"),
    (lambda site, mood: bool(site.is_big), "is true", "lambda site, mood: site.is_big"),
]


@pytest.mark.parametrize(("when", "what", "mended"), MENDED, ids=[mended for _, _, mended in MENDED])
def test_what_python_decides_itself_is_told_with_the_mended_line(when: Any, what: str, mended: str) -> None:
    problem = problem_of(lambda: dependent(when))
    assert what in problem.what
    assert f"{HERE}:{when.__code__.co_firstlineno}" in problem.what or HERE in problem.what
    assert mended in problem.fix.partition("\nWrite when=")[2]


@pytest.mark.parametrize(("when", "what", "mended"), [row for row in MENDED if "decided" not in row[1]], ids=readable)
def test_the_mended_line_can_be_traced(when: Any, what: str, mended: str) -> None:
    line = fix_of(lambda: dependent(when)).partition("\nWrite when=")[2].removesuffix(".")
    names = {"in_": in_, "any_": any_, "count": count, "not_": not_, "is_none": is_none}
    assert predicate_of(dependent(eval(line, names))).jsonpath  # noqa: S307 - written by us


@pytest.mark.parametrize(
    ("when", "what"),
    [
        (lambda site: site.visits + 1 > 3, "when uses + on site.visits"),
        (lambda site: 1 + site.visits > 3, "when uses + on site.visits"),
        (lambda site: site.visits % 2 == 0, "when uses % on site.visits"),
        (lambda site: site.visits**2 > 3, "when uses ** on site.visits"),
        (lambda site: -site.visits > 3, "when uses - on site.visits"),
        (lambda site: abs(site.visits) > 3, "when uses abs() on site.visits"),
        (lambda site: round(site.visits) > 3, "when uses round() on site.visits"),
        (lambda site: int(site.url) > 3, "when uses int() on site.url"),
        (lambda site: float(site.url) > 3, "when uses float() on site.url"),
        (lambda site: str(site.visits) == "3", "when uses str() on site.visits"),
        (lambda site: f"{site.url}" == "3", "when uses format() on site.url"),
        (lambda site: site.url + "x" == "3", "when uses + on site.url"),
        (lambda site: site.url.lower() == "3", "site.url is str, and .lower of it is nothing"),
        (lambda site: site.tags.index("a") == 0, "and .index of it is nothing"),
        (lambda site: {"a": True}[site.url], "when uses hash() on site.url"),
        (lambda site: ["a"][site.visits] == "a", "when uses it as an index on site.visits"),
        (lambda site: [tag + "" for tag in site.tags] == [], "when uses iteration on site.tags"),
        (lambda site: site.tags[1:] == [], "when takes a slice of site.tags"),
        (lambda site: site.tags[site.visits] == "a", "when looks for site.visits in site.tags"),
        (lambda site: (site.url == "a") == True, "when compares the condition 'site.url is 'a''"),  # noqa: E712
        (lambda site: site.tags == ["a"], "site.tags is list[str], which cannot be compared as a whole"),
        (lambda site: site == site, "site is Site, which cannot be compared as a whole"),
        (lambda site: site.tags & site.is_big, "& takes conditions, but site.tags is list[str]"),
        (lambda site: count(site.tags) & site.is_big, "& takes conditions, but count(site.tags) is a number"),
        (lambda site: site.url > 3, "site.url is str, which > cannot compare with 3"),
        (lambda site: site.colour > Colour.RED, "site.colour is Colour: its members have no order"),
        (lambda site: site.price == 1, "site.price is Decimal: 1.0 and 1.00 are written differently"),
        (lambda site: site.price == Decimal(1), "site.price is Decimal: 1.0 and 1.00 are written differently"),
        (lambda site: site.seen < dt.datetime.now(dt.UTC), "site.seen is datetime: the same moment"),
        (lambda site: site.visits < Decimal("1.5"), "cannot be compared with Decimal('1.5')"),
        (lambda site: site.visits < float("nan"), "nan is no number JSON can hold"),
        (lambda site: site.visits < float("inf"), "inf is no number JSON can hold"),
        (lambda site: site.url == "a\0", "U+0000"),
        (lambda site: site.url == "\ud800", "surrogate"),
        (lambda site: startswith(site.url, "\0"), "U+0000"),
        (lambda site: site.label < 3, "site.label is int | str, which < cannot compare"),
        (lambda site: site.ratio < 2.0**60, "beyond 2**53"),
        (lambda site: site.anything == 3, "site.anything cannot be compared: its type says nothing about it"),
        (lambda site: site.anything.x == 3, "site.anything.x is not known"),
        (lambda site: site.label.x == 3, "is not known of all of these"),
        (lambda site: count_any(site.url) > 3, "count is about lists, but site.url is str"),
        (lambda site: any_any(site.url, lambda c: c == "a"), "any_ is about lists, but site.url is str"),
        (lambda site: any_any(site.tags, "a"), "any_ needs a function of an element"),
        (lambda site: in_any(site.url, "abc"), "in_ needs a list of choices, not 'abc'"),
        (lambda site: in_any(site.visits, range(2000)), "in_ has 2000 choices"),
        (lambda site: matches_any(site.visits, "1"), "matches is about texts, but site.visits is int"),
        (lambda site: site.url.startswith(site.owner), "needs a constant text"),
        (lambda site: matches_any(site.url, site.owner), "is no regular expression"),
        (lambda site: is_none(site.url == "x"), "when uses is_none(…) on"),
        (lambda site: is_none(count(site.tags)), "when uses is_none(…) on count(site.tags)"),
        (lambda site: None, "when returns None, which is no condition"),
        (lambda site: 3, "when returns 3, which is no condition"),
        (lambda site: site.url, "when returns site.url, which is str and no condition"),
        (lambda site: site.tags, "when returns <site.tags>, which is no condition"),
        (lambda site: count(site.tags), "when returns <count(site.tags)>, which is no condition"),
        (lambda site: 1 / 0, "when raises ZeroDivisionError: division by zero"),
        (lambda: True, "when takes 0 parameters (none), but is given 1 value (run)"),
        (lambda site, mood: True, "when takes 2 parameters (site, mood), but is given 1 value (run)"),
        (lambda site, *, mood: True, "when has the keyword-only parameter 'mood'"),
    ],
    ids=readable,
)
def test_what_the_database_cannot_evaluate_is_refused(when: Any, what: str) -> None:
    problem = problem_of(lambda: root(when))
    assert what in problem.what
    assert f"({HERE}:" in problem.what or f"/{HERE}:" in problem.what
    assert problem.fix


def test_a_coroutine_function_is_refused() -> None:
    async def predicate(site: Site) -> bool: ...

    class Rule:
        async def __call__(self, site: Site) -> bool: ...

    for when in (predicate, Rule()):
        assert "is a coroutine function" in problem_of(lambda when=when: root(when)).what  # type: ignore[misc]


def test_a_function_with_statements_is_told_without_a_mended_line() -> None:
    def predicate(site: Site) -> bool:
        if site.is_big:
            return site.url == "x"
        return False

    problem = problem_of(lambda: root(predicate))
    assert "by 'if'" in problem.what
    assert "Write when=" not in problem.fix


def test_without_source_all_replacements_are_named() -> None:
    when = eval("lambda site: site.is_big and site.is_big")  # noqa: S307 - without a file
    problem = problem_of(lambda: root(when))
    assert "('and', 'or', 'not', 'if', 'in' or a chained comparison)" in problem.what
    assert problem.fix.startswith("Write & for 'and', | for 'or', not_(…) for 'not'")


def test_an_inner_predicate_cannot_look_at_the_element_around_it() -> None:
    def when(tree: Tree) -> bool:
        return any_(tree.children, lambda child: any_(child.children, lambda grandchild: grandchild.name == child.name))

    problem = problem_of(lambda: root(when, Tree))
    assert "any_ over child.children looks at child.name, an element of the list around it" in problem.what
    root(lambda tree: any_(tree.children, lambda child: child.name == tree.name), Tree)


def test_lists_of_lists_cannot_be_looked_into_one_by_one() -> None:
    problem = problem_of(lambda: root(lambda xs: any_(xs, lambda x: count(x) > 1), list[list[int]]))
    assert "the elements of xs are lists" in problem.what
    root(lambda xs: xs[0][1] > 3, list[list[int]])


class Written(BaseModel):
    amount: float

    @field_serializer("amount")
    def _text(self, amount: float) -> str:
        return f"{amount:.2f}"


class Whole(BaseModel):
    amount: float

    @model_serializer
    def _whole(self) -> dict[str, Any]:
        return {"other": self.amount}


@pytest.mark.parametrize("declared", [Written, Whole], ids=readable)
def test_what_a_serializer_writes_is_not_guessed(declared: Any) -> None:
    problem = problem_of(lambda: root(lambda w: w.amount > 3, declared))
    assert "it has a serializer of its own" in problem.what


# ---- unknown names, and what is decided -----------------------------------------------------------------------------


def test_an_unknown_attribute_is_told_with_the_known_ones_and_the_mended_line() -> None:
    problem = problem_of(lambda: dependent(lambda site, mood: mood.labl == "bad"), Code.UNKNOWN_PATTERN_KEY)
    assert problem.what.startswith("when can never be met: Mood has no attribute 'labl', in mood (")
    assert problem.fix == (
        "Did you mean 'label'? Its attributes: score, label, words.\nWrite when=lambda site, mood: mood.label == 'bad'."
    )
    problem = problem_of(lambda: dependent(lambda site, mood: mood.labl == "bad", "unless"), Code.UNKNOWN_PATTERN_KEY)
    assert problem.what.startswith("unless can never apply: ")


def test_an_unknown_key_is_told_with_the_known_ones() -> None:
    problem = problem_of(lambda: root(lambda row: row["knd"] == "a", Row), Code.UNKNOWN_PATTERN_KEY)
    assert problem.fix == "Did you mean 'kind'? Its keys: kind, note.\nWrite when=lambda row: row['kind'] == 'a'."


def test_a_key_is_no_attribute_and_an_attribute_no_key() -> None:
    assert "Write row['kind']" in fix_of(lambda: root(lambda row: row.kind == "a", Row))
    assert "Write site.url" in fix_of(lambda: root(lambda site: site["url"] == "a"))
    assert "Write d['a']" in fix_of(lambda: root(lambda d: d.a == 1, dict[str, int]))


@pytest.mark.parametrize(
    ("when", "what", "fix"),
    [
        (lambda site, mood: mood.label == "Bad", "mood.label is 'good' or 'bad', never 'Bad'", "Did you mean 'bad'?"),
        (lambda site, mood: mood.score == "0.5", "mood.score is float, never '0.5'", "mood.score == 0.5"),
        (lambda site, mood: site.url == 404, "site.url is str, never 404", "site.url == '404'"),
        (lambda site, mood: site.colour == "red", "site.colour is Colour, never 'red'", "Write Colour.RED."),
        (lambda site, mood: site.key == "x", "site.key is UUID, never 'x'", "Write UUID('x')."),
        (lambda site, mood: site.visits == True, "never True", "in JSON True is not 1"),  # noqa: E712
        (lambda site, mood: site.is_big == 1, "site.is_big is bool, never 1", "site.is_big, or not_(site.is_big)"),
        (lambda site, mood: is_none(site.url), "site.url is str, never None", "Leave the question out."),
        (lambda site, mood: site.url == None, "site.url is str, never None", "Leave"),  # noqa: E711
        (lambda site, mood: site.url == site.visits, "which are never equal", "one type"),
        (lambda site, mood: in_any(site.url, []), "in_(site.url, []) is never true", "Name the choices."),
        (lambda site, mood: in_any(None, site.tags), "None is not in it", "Leave it out."),
        (lambda site, mood: count(site.tags) < 0, "count(site.tags) < 0 is never true", "another number"),
        (
            lambda site, mood: (site.url == "a") & (site.url != "a"),
            "when can never be met: site.url is 'a' and",
            "Leave",
        ),
        (lambda site, mood: False, "when can never be met: it returns False whatever the inputs are", "Compare"),
    ],
    ids=readable,
)
def test_a_predicate_that_can_never_hold_is_refused(when: Any, what: str, fix: str) -> None:
    problem = problem_of(lambda: dependent(when), Code.IMPOSSIBLE_PREDICATE)
    assert what in problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("when", "what"),
    [
        (lambda site, mood: True, "when is met by every input: it returns True"),
        (lambda site, mood: mood.label != "Bad", "mood.label is 'good' or 'bad', never 'Bad'"),
        (lambda site, mood: count(site.tags) >= 0, "count(site.tags) >= 0 is always true"),
        (lambda site, mood: site.is_big | not_(site.is_big), "when is met by every input: site.is_big or not"),
    ],
    ids=readable,
)
def test_a_predicate_that_always_holds_is_refused(when: Any, what: str) -> None:
    assert what in problem_of(lambda: dependent(when), Code.POINTLESS_PREDICATE).what


def test_unless_says_what_it_keeps_from_running() -> None:
    always = problem_of(lambda: root(lambda site: True, option="unless"), Code.POINTLESS_PREDICATE)
    assert always.what.startswith("unless keeps the step from ever running: ")
    never = problem_of(lambda: root(lambda site: False, option="unless"), Code.IMPOSSIBLE_PREDICATE)
    assert never.what.startswith("unless can never apply: ")


def test_when_and_unless_that_contradict_each_other_are_refused() -> None:
    def first(site: Site) -> str: ...

    def define() -> object:
        return Flow("f", Site).step(first, when=lambda s: s.url == "a", unless=lambda s: s.url == "a")

    assert "can never both be met" in problem_of(define, Code.IMPOSSIBLE_PREDICATE).what


def test_a_predicate_about_an_unknown_dependency_is_no_second_mistake() -> None:
    def nowhere(site: Site) -> Mood: ...

    define = lambda: Untyped("f", Site).step(escalate, Site, nowhere, when=lambda site, mood: mood.x == 1)  # noqa: E731
    problem_of(define, Code.UNKNOWN_DEPENDENCY)


def test_a_predicate_about_what_has_a_mistake_of_its_own_is_no_second_mistake() -> None:
    def unannotated(site: Site):  # type: ignore[no-untyped-def]
        ...

    def after(found: Any) -> str: ...

    define = lambda: Untyped("f", Site).step(unannotated).step(after, unannotated, when=lambda found: found.x == 1)  # noqa: E731
    problem_of(define, Code.MISSING_ANNOTATION)

    def first(value: threading.Lock) -> str: ...

    with pytest.raises(DefinitionError) as caught:
        Untyped("f", threading.Lock).step(first, when=lambda value: value == 1)
    assert Code.UNTRACEABLE_PREDICATE not in {problem.code for problem in caught.value.problems}


def test_a_step_with_a_wrong_predicate_may_be_asked_for_with_maybe() -> None:
    def told(text: str | None) -> str: ...

    problem_of(lambda: dependent(lambda site, mood: mood.score and site.is_big).step(told, maybe(escalate)))


# ---- regular expressions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        (r"(a)\1", "a back reference"),
        (r"(?P<x>a)(?P=x)", "a back reference"),
        (r"(?<=a)b", "a lookbehind"),
        (r"(?<!a)b", "a lookbehind"),
        (r"(?i)a", "a flag"),
        (r"(?i:a)", "a flag"),
        (r"(?s).", "a flag"),
        (r"a{256}", "a count above 255"),
        (r"a{3,300}", "a count above 255"),
        (r"a*+", "a possessive quantifier"),
        (r"(?>a)", "an atomic group"),
        (r"(a)?(?(1)b|c)", "a conditional group"),
        (r"a\Bb", r"\B"),
        (r"(", "is no regular expression"),
        (r"(?:a{200}){200}", "is too large for the database"),
        (r"(?:(?:a?b?c?){0,9}){0,9}", "repeats what may be empty"),
        (r"(?:a?\b){0,50}", "too complex for the database"),
        (r"(\b|x){255}", "too complex for the database"),
        (r"(?:\b){255}", "too complex for the database"),
        (r"((a|b|c)*\b){200}", "too complex for the database"),
        (r"(?:(?:){255}){255}", "too complex for the database"),
        (r"(a?){255}a{255}", "repeats what may be empty"),
        (r"((a{0,10}){0,10}){0,10}", "repeats what may be empty"),
        (r"\b" * 20, "asserts too much at one place"),
        (r"(?:^|$)" * 16, "asserts too much at one place"),
        (r"(?:(?:\b){0,9})*", "asserts too much at one place"),
        (r"(?:(?!b)){0,30}", "asserts too much at one place"),
        (r"(?:a|^|$){20}", "asserts too much at one place"),
        ("a\0", "U+0000"),
    ],
    ids=readable,
)
def test_a_regular_expression_of_another_meaning_or_too_complex_is_refused(pattern: str, what: str) -> None:
    assert what in problem_of(lambda: root(lambda site: matches(site.url, pattern))).what


@pytest.mark.parametrize(
    "pattern",
    [
        r"(x\b){200}",
        r"^(?=.*[a-z])(?=.*\d)\S{8,72}$",
        r"\b(?:foo|bar)\b(?:\b|$)",
        r"(?:a?b?){30}",
        "^a?b?c?d?e?f?g?h?i?$",
    ],
)
def test_regular_expressions_that_the_database_reads_at_once_are_not_refused(pattern: str) -> None:
    assert "like_regex" in predicate_of(root(lambda site: matches(site.url, pattern))).jsonpath


# ---- root models ----------------------------------------------------------------------------------------------------


class Some(RootModel[list[int] | None]):
    pass


class Amount(RootModel[int | None]):
    pass


class Rooted(BaseModel):
    some: Some
    amount: Amount
    late: Amount = Amount(None)
    either: Amount | None = None
    rows: list[Amount] = []


@pytest.mark.parametrize(
    ("when", "values", "verdicts"),
    [
        (lambda r: count(r.some.root) > 0, ({"some": None}, {"some": [1]}), (False, True)),
        (lambda r: any_(r.some.root, lambda x: x != 1), ({"some": None}, {"some": [2]}), (False, True)),
        (lambda r: all_(r.some.root, lambda x: x == 1), ({"some": None}, {"some": [2]}), (True, False)),
        (lambda r: not_(r.amount.root < 5), ({"amount": None}, {"amount": 4}), (True, False)),
        (lambda r: is_none(r.amount.root), ({"amount": None}, {"amount": 4}), (True, False)),
        (lambda r: is_none(r.late.root), ({"late": None}, {"late": 4}), (True, False)),
        (lambda r: is_none(r.either), ({"either": None}, {"either": 4}), (True, False)),
        (lambda r: is_none(r.either.root), ({"either": None}, {"either": 4}), (True, False)),
        (lambda r: any_(r.rows, lambda a: not_(a.root < 5)), ({"rows": [None]}, {"rows": [4]}), (True, False)),
        (lambda r: any_(r.rows, lambda a: is_none(a.root)), ({"rows": [None]}, {"rows": [4]}), (True, False)),
    ],
    ids=readable,
)
def test_the_root_of_a_root_model_may_be_none(
    when: Any, values: Any, verdicts: Any, conn: "psycopg.Connection[Any]"
) -> None:
    jsonpath = predicate_of(root(when, Rooted)).jsonpath
    whole = [{"some": [], "amount": 1, "late": 1, "either": 1, "rows": []} | value for value in values]
    found = [
        conn.execute("select %s::jsonb @@ %s::jsonpath", (json.dumps(value), jsonpath)).fetchone() for value in whole
    ]
    assert found == [(verdict,) for verdict in verdicts]


def test_a_root_model_alone_may_hold_none() -> None:
    assert predicate_of(root(lambda a: not_(a.root < 5), Amount)).jsonpath == "!($ < 5)"
    assert predicate_of(root(lambda a: is_none(a.root), Amount)).jsonpath == '!($.type() != "null")'


@pytest.mark.parametrize("when", [lambda r: is_none(r.amount), lambda r: is_none(r.late), lambda r: r.amount == None])  # noqa: E711
def test_a_root_model_that_holds_none_is_not_none_itself(when: Any) -> None:
    problem = problem_of(lambda: root(when, Rooted))
    assert "Amount with None inside is written the same" in problem.what
    assert ".root)." in problem.fix
