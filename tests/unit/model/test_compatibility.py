"""What of one type another takes, and what differs, in words and with places."""

import inspect
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    UUID4,
    AfterValidator,
    AnyUrl,
    AwareDatetime,
    Base64Str,
    BaseModel,
    BeforeValidator,
    Field,
    FtpUrl,
    ImportString,
    PastDate,
    PlainValidator,
    StringConstraints,
    create_model,
    model_validator,
)

from flowdsl.model.adapters import MisfitError, ValueAdapter
from flowdsl.model.canonical import Canonical
from flowdsl.model.compatibility import Difference, differences, not_accepted
from flowdsl.model.schemas import Schema
from tests.names import readable

PAGE = Path(__file__).parents[3] / "docs" / "types.md"
NAMES = {"Annotated": Annotated, "Any": Any, "Decimal": Decimal, "Field": Field, "Literal": Literal, "date": date}


class Leaf(BaseModel):
    value: int


class Tree(BaseModel):
    value: int
    children: "list[Tree]" = []


class WiderTree(BaseModel):
    value: float
    children: "list[WiderTree] | None" = None


class OtherTree(BaseModel):
    value: str
    children: "list[OtherTree]" = []


class Twin(BaseModel):
    value: int
    children: "list[Other]" = []


class Other(BaseModel):
    value: int
    children: list[Twin] = []


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class OtherCat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: str


def read(declared: Any) -> Schema:
    return Canonical.of(ValueAdapter(declared).input_schema()).schema()


def written(declared: Any) -> Schema:
    return Canonical.of(ValueAdapter(declared).output_schema()).schema()


def told(found: tuple[Difference, ...]) -> list[str]:
    return [f"`{item.path}`: {item.written}, expected {item.expected}" for item in found]


# ---- the page -------------------------------------------------------------------------------------------------------


def type_of(text: str) -> Any:
    """Return the type in a cell of the table, in which `Item(…)` stands for a model with these fields."""
    found = re.fullmatch(r"(list\[)?Item\((.*)\)\]?", text)
    if found is None:
        return eval(text, dict(NAMES))  # noqa: S307 - the page's own text
    namespace: dict[str, Any] = dict(NAMES)
    exec(f"def item({found[2]}): ...", namespace)  # noqa: S102 - the page's own text
    parameters = inspect.signature(namespace["item"]).parameters.values()
    fields: dict[str, Any] = {
        given.name: (given.annotation, ... if given.default is given.empty else given.default) for given in parameters
    }
    model: Any = create_model("Item", **fields)
    return list[model] if found[1] else model


def rows() -> list[list[str]]:
    lines = PAGE.read_text().partition("<!-- directions -->\n")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize(("before", "after", "new_reads", "old_reads"), rows())
def test_the_page_says_what_is_judged(before: str, after: str, new_reads: str, old_reads: str) -> None:
    old, new = type_of(before.strip("`")), type_of(after.strip("`"))
    assert ("; ".join(told(not_accepted(written(old), read(new)))) or "yes") == new_reads
    assert ("; ".join(told(not_accepted(written(new), read(old)))) or "yes") == old_reads


def test_callers_may_not_have_sent_what_had_a_default() -> None:
    before, after = type_of("Item(name: str, size: int = 1)"), type_of("Item(name: str, size: int)")
    found = not_accepted(read(before), read(after))
    assert told(found) == ["`$.size`: integer, optional, expected integer, required"]


def test_the_keys_of_a_runs_output_are_a_promise() -> None:
    before, after = type_of("Item(name: str, size: int = 1)"), type_of("Item(name: str)")
    assert told(not_accepted(written(after), written(before))) == ["`$.size`: nothing, expected integer, required"]
    assert not_accepted(written(before), written(after)) == ()


# ---- schemas --------------------------------------------------------------------------------------------------------

CLOSED: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
OPEN: dict[str, Any] = {**CLOSED, "additionalProperties": True}


def schema(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (True, True),
        (False, schema("null")),
        (schema("string"), True),
        ({"enum": ["a", 1, None]}, {"anyOf": [schema("string"), schema("null"), schema("number")]}),
        (schema("boolean"), {"enum": [True, False, "x"]}),
        (schema("null"), {"enum": [None]}),
        (schema("integer", minimum=1), schema("number", exclusiveMinimum=0)),
        (schema("integer", exclusiveMinimum=0), schema("integer", minimum=1)),
        (schema("integer", exclusiveMaximum=10), schema("integer", maximum=9.5)),
        (schema("number", minimum=2, maximum=3), schema("number", minimum=2, exclusiveMaximum=4)),
        (schema("integer", multipleOf=6), schema("integer", multipleOf=3)),
        (schema("integer"), schema("number", multipleOf=0.5)),
        ({"enum": [4, 8]}, schema("integer", multipleOf=2, minimum=4, maximum=8)),
        (schema("string", minLength=2, maxLength=3), schema("string", minLength=1, maxLength=3)),
        ({"enum": ["ab"]}, schema("string", minLength=2, maxLength=2)),
        (schema("string", pattern="^a", format="x"), schema("string", pattern="^a")),
        (schema("array", items=True, maxItems=0), schema("array", items=schema("integer"))),
        (schema("array", prefixItems=[schema("integer")] * 2, maxItems=2), schema("array", items=schema("number"))),
        (schema("array", prefixItems=[True], items=False), schema("array", maxItems=1, uniqueItems=True)),
        (schema("array", maxItems=1), schema("array", uniqueItems=True)),
        ({"enum": [[1, 2]]}, schema("array", items=schema("integer"), minItems=2, uniqueItems=True)),
        ({"enum": [{"a": 1}]}, {**CLOSED, "required": ["a"]}),
        (CLOSED, OPEN),
        ({**CLOSED, "required": ["a"]}, {**OPEN, "minProperties": 1}),
        (CLOSED, schema("object", additionalProperties=schema("integer"), maxProperties=1)),
        (schema("object", additionalProperties=schema("integer"), propertyNames={"enum": ["a"]}), CLOSED),
        (CLOSED, schema("object", propertyNames={"enum": ["a", "b"]})),
        (schema("object", propertyNames={"minLength": 2}), schema("object", propertyNames={"minLength": 1})),
        ({"allOf": [schema("integer"), {"minimum": 1}]}, schema("integer", minimum=0)),
        (schema("integer", minimum=1), {"allOf": [schema("integer"), {"minimum": 0}, {"minimum": 1}]}),
        ({"allOf": [schema("integer"), schema("string")]}, schema("null")),
        ({"allOf": [OPEN, {"required": ["a"]}]}, {**OPEN, "required": ["a"]}),
        (schema("string", contains=1), schema("string", contains=1)),
    ],
    ids=readable,
)  # fmt: skip
def test_what_fits_is_accepted(old: Any, new: Any) -> None:
    assert told(not_accepted(Schema.of(old), Schema.of(new))) == []


@pytest.mark.parametrize(
    ("old", "new", "place", "is_decided"),
    [
        (True, schema("string"), "$", True),
        (True, False, "$", True),
        (schema("number"), schema("integer"), "$", True),
        (schema("boolean"), {"enum": [True]}, "$", True),
        ({"enum": [1, True]}, {"enum": [1]}, "$", True),
        (schema("integer", minimum=0), schema("integer", exclusiveMinimum=0), "$", True),
        (schema("number", exclusiveMaximum=4), schema("number", maximum=3), "$", True),
        (schema("number"), schema("number", multipleOf=1), "$", True),
        ({"enum": [4, 7]}, schema("integer", multipleOf=2), "$", True),
        (schema("string", maxLength=3), schema("string", maxLength=2), "$", True),
        (schema("string", format="date"), schema("string", format="date-time"), "$", True),
        (schema("string", pattern="^a"), schema("string", pattern="^b"), "$", False),
        ({"enum": ["x"]}, schema("string", pattern="^b"), "$", False),
        (schema("array"), schema("array", prefixItems=[True], items=False), "$", True),
        (schema("array", minItems=1), schema("array", minItems=2), "$", True),
        (schema("array", items=schema("string")), schema("array", prefixItems=[schema("integer")]), "$[0]", True),
        (schema("array", items=schema("string")), schema("array", items=schema("integer")), "$[*]", True),
        (OPEN, CLOSED, "$.*", True),
        (OPEN, schema("object", additionalProperties=schema("integer")), "$.*", True),
        (OPEN, {**OPEN, "properties": {"net price": schema("integer")}}, "$['net price']", True),
        (CLOSED, {**CLOSED, "properties": {}}, "$.a", True),
        (CLOSED, {**CLOSED, "required": ["a"]}, "$.a", True),
        (CLOSED, {**OPEN, "minProperties": 1}, "$", True),
        (CLOSED, schema("object", propertyNames={"enum": ["b"]}), "$.a", True),
        ({"enum": [{"a": "x"}]}, CLOSED, "$.a", True),
        (schema("object"), schema("object", propertyNames={"minLength": 1}), "$", True),
        (schema("object", patternProperties={"^x": True}), schema("object", additionalProperties=False), "$.*", True),
        (schema("string"), {"not": schema("null")}, "$", False),
        (schema("integer"), {"oneOf": [schema("integer"), schema("number")]}, "$", False),
        (schema("string", contains=1), schema("string", contains=2), "$", False),
        (schema("number"), {"anyOf": [schema("number", minimum=0), schema("number", maximum=0)]}, "$", False),
    ],
    ids=readable,
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_place(old: Any, new: Any, place: str, is_decided: bool) -> None:
    found = not_accepted(Schema.of(old), Schema.of(new))
    assert [(item.path, item.is_decided) for item in found] == [(place, is_decided)], found


# ---- types that hold themselves, unions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Tree, Tree, []),
        (Tree, WiderTree, []),
        (Twin, Tree, []),
        (Tree, Twin, []),
        (Tree, OtherTree, ["`$.value`: integer, expected string"]),
        (
            WiderTree,
            Tree,
            [
                "`$.children`: null, expected array of object (children, value)",
                "`$.value`: number, expected integer",
            ],
        ),
        (list[Tree], Tree, ["`$`: array of object (children, value), expected object (children, value)"]),
        (Cat | Dog, Annotated[Cat | Dog, Field(discriminator="kind")], []),
        (Cat, Cat | Dog, []),
        (Cat | Dog, OtherCat | Dog, ["`$.lives`: integer, expected string"]),
        (Tree | Leaf, Tree, []),
        (Leaf, Cat, ["`$.lives`: nothing, expected integer, required"]),
        (str | int, int | None, ["`$`: string, expected integer or null"]),
    ],
    ids=readable,
)
def test_types_that_hold_themselves_and_unions_are_judged(old: Any, new: Any, expected: list[str]) -> None:
    assert sorted(told(not_accepted(written(old), read(new)))) == expected


def test_what_was_assumed_of_one_member_of_a_union_does_not_help_another() -> None:
    def chain(last: str) -> Any:
        link = {"type": "object", "properties": {"next": {"$ref": "#/$defs/T1"}, "value": {"type": last}}}
        return {"$defs": {"T1": {**link, "required": ["value"]}}, "anyOf": [{"$ref": "#/$defs/T1"}, {"type": "null"}]}

    assert not_accepted(Schema.of(chain("integer")), Schema.of(chain("number"))) == ()
    assert [item.path for item in not_accepted(Schema.of(chain("number")), Schema.of(chain("integer")))] == ["$.value"]


# ---- what JSON Schema has no words for ----------------------------------------------------------------------------------


def even(value: int) -> int:
    if value % 2:
        raise ValueError("it is odd")
    return value


class Span(BaseModel):
    first: int
    last: int = 0


class Ordered(Span):
    @model_validator(mode="after")
    def in_order(self) -> "Ordered":
        if self.first > self.last:
            raise ValueError("the first is after the last")
        return self


NON_NEGATIVE = Annotated[Decimal, Field(ge=0)]
UNSEEN: list[tuple[Any, Any, Any]] = [
    (Decimal, NON_NEGATIVE, Decimal(-1)),
    (Decimal, Annotated[Decimal, Field(max_digits=3)], Decimal(12345)),
    (int, Annotated[Decimal, Field(max_digits=3)], 12345),
    (datetime, AwareDatetime, datetime(2026, 1, 1)),  # noqa: DTZ001 - a naive one
    (date, PastDate, date(2990, 1, 1)),
    (date, Annotated[date, Field(ge=date(2020, 1, 1))], date(1990, 1, 1)),
    (timedelta, Annotated[timedelta, Field(le=timedelta(1))], timedelta(5)),
    (AnyUrl, FtpUrl, AnyUrl("http://x/")),
    (Annotated[bytes, Field(max_length=10)], Annotated[str, Field(max_length=10)], b"x" * 10),
    (str, re.Pattern, "("),
    (str, ImportString, "no.such"),
    (str, Base64Str, "no base64"),
    (str, UUID4, "x"),
    (UUID, UUID4, UUID(int=1)),
    (int, Annotated[int, AfterValidator(even)], 3),
    (int, Annotated[int, BeforeValidator(even)], 3),
    (int, Annotated[int, PlainValidator(even)], 3),
    (Literal[1, 2], Annotated[int, AfterValidator(even)], 1),
    (Span, Ordered, Span(first=1)),
    (list[Span], list[Ordered], [Span(first=1)]),
    (dict[int, int], dict[Annotated[int, Field(ge=0)], int], {-1: 1}),
    (
        Annotated[str, Field(min_length=1)],
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)],
        " ",
    ),
]


@pytest.mark.parametrize(("old", "new", "value"), UNSEEN, ids=readable)
def test_what_json_schema_has_no_words_for_is_not_taken_for_fitting(old: Any, new: Any, value: Any) -> None:
    data = ValueAdapter(old).encode(value)
    with pytest.raises(MisfitError):
        ValueAdapter(new).decode(data)
    assert not_accepted(written(old), read(new)) != ()
    assert differences(read(old), read(new)) != ()
    assert not_accepted(written(new), read(new)) == ()


def test_anything_takes_what_is_checked() -> None:
    assert not_accepted(written(Annotated[int, PlainValidator(even)]), read(Any)) == ()
    assert not_accepted(written(Ordered), read(Span)) == ()


# ---- what differs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (int, float, ["`$`: integer, expected number"]),
        ("Item(a: int, b: str)", "Item(b: str, c: str = '')", [
            "`$.a`: integer, required, expected nothing",
            "`$.c`: nothing, expected string, optional",
        ]),
        ("Item(a: int)", "Item(a: int = 1)", ["`$.a`: integer, required, expected integer, optional"]),
        ("Item(a: int)", "Item(a: str = '')", ["`$.a`: integer, required, expected string, optional"]),
        ("list[Item(a: int)]", "list[Item(a: int | None)]", ["`$[*].a`: integer, expected integer or null"]),
        ("Item(a: int)", "Item(a: Annotated[int, Field(ge=1)])", ["`$.a`: integer, expected integer, at least 1"]),
        ("Item(a: Literal['x'])", "Item(a: Literal['x', 'y'])", ["`$.a`: 'x', expected one of 'x', 'y'"]),
        (dict[str, int], dict[str, str], ["`$.*`: integer, expected string"]),
        (tuple[int, str], tuple[int, str, bool], ["`$[2]`: nothing, expected boolean"]),
        (tuple[int, str], list[int], ["`$`: array of (integer, string), expected array of integer"]),
        (Tree, OtherTree, ["`$.value`: integer, expected string"]),
        (Cat | Dog | None, OtherCat | Dog | None, ["`$.lives`: integer, expected string"]),
        (
            Cat,
            Cat | Dog,
            ["`$`: object (kind: 'cat', lives), expected object (kind: 'cat', lives) or object (kind: 'dog', name)"],
        ),
        (Tree, Twin, []),
    ],
    ids=readable,
)  # fmt: skip
def test_what_differs_is_told_in_both_directions(old: Any, new: Any, expected: list[str]) -> None:
    before, after = (read(type_of(part) if isinstance(part, str) else part) for part in (old, new))
    assert told(differences(before, after)) == expected
    assert len(differences(after, before)) == len(expected)


def test_whether_other_keys_are_taken_differs_too() -> None:
    found = differences(Schema.of(CLOSED), Schema.of({key: CLOSED[key] for key in ("type", "properties")}))
    assert told(found) == ["`$.*`: nothing, expected other keys are ignored"]
