"""The schemas of types and steps: what is read, what is written, and the same text whatever the names."""

import enum
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, assert_type
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    computed_field,
    create_model,
)
from pydantic_core import from_json
from typing_extensions import TypeAliasType, TypedDict

from flowdsl import Flow, collect, maybe, named
from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.canonical import Canonical
from flowdsl.model.compatibility import not_accepted
from flowdsl.model.schemas import Schema
from flowdsl.model.type_schemas import TypeSchemas
from tests.names import readable

from .handlers_for_tests import Mood, Page, Site, fetch, links, save, sentiment, shout, summary, website
from .test_codec import ROUND_TRIPS


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Right(enum.Flag, boundary=enum.STRICT):  # the default, but not yet in Python 3.11.2
    READ = 1
    WRITE = 2


class Note(BaseModel):
    """Words about it."""

    model_config = ConfigDict(title="A note", json_schema_extra={"examples": [1], "deprecated": True})
    text: str = Field(description="what it says", examples=["hello"], min_length=1)
    stars: int = Field(3, ge=1, le=5, title="Stars", deprecated=True)
    amount: float = Field(0.5, gt=0.0)


class Tree(BaseModel):
    value: int
    children: "list[Tree]" = []


class Node(BaseModel):
    children: "list[Node]" = []
    value: int


class Camel(BaseModel):
    amount: float = Field(alias="theAmount")


class ReadElsewhere(BaseModel):
    amount: int = Field(validation_alias="Amount")
    names: list[str] = Field([], validation_alias=AliasChoices("Names", "names_"))


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    known: int


class Square(BaseModel):
    side: int

    @computed_field
    def area(self) -> int:
        return self.side**2


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Seconds(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")
    took: timedelta


class Foreign:
    pass


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: Foreign
    number: int


@dataclass
class Point:
    x: int
    y: int = 0


class Row(TypedDict):
    key: str
    note: NotRequired[str]


class Pair(NamedTuple):
    left: int
    right: str


JsonTree = TypeAliasType("JsonTree", "dict[str, JsonTree] | list[JsonTree] | str | None")
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
INTEGER, NUMBER, STRING, NULL = ({"type": name} for name in ("integer", "number", "string", "null"))
CAT = {"properties": {"kind": {"enum": ["cat"]}, "lives": INTEGER}, "required": ["kind", "lives"], "type": "object"}
DOG = {"properties": {"kind": {"enum": ["dog"]}, "name": STRING}, "required": ["kind", "name"], "type": "object"}
NOTE = {
    "properties": {
        "text": {"minLength": 1, "type": "string"},
        "stars": {"maximum": 5, "minimum": 1, "type": "integer"},
        "amount": {"exclusiveMinimum": 0, "type": "number"},
    },
    "type": "object",
}
POINT = {"properties": {"x": INTEGER, "y": INTEGER}, "type": "object"}
TREE = {
    "properties": {"value": INTEGER, "children": {"items": {"$ref": "#/$defs/T1"}, "type": "array"}},
    "type": "object",
}


def text_of(format: str) -> dict[str, str]:
    return {"format": format, "type": "string"}


def both(schema: Any) -> tuple[Any, Any]:
    return schema, schema


def odd(value):  # type: ignore[no-untyped-def]
    return value


def checked(*checks: str, **schema: Any) -> dict[str, Any]:
    return {**schema, "x-checks": list(checks)}


def tree(*required: str) -> dict[str, Any]:
    return {"$ref": "#/$defs/T1", "$defs": {"T1": {**TREE, "required": list(required)}}}


# What is read and what is written of each type. Compiled migrations hold these texts: should one change, flows look changed.
SCHEMAS: list[tuple[Any, tuple[Any, Any]]] = [
    (Any, both(True)),
    (object, both(True)),
    (None, both(NULL)),
    (bool, both({"type": "boolean"})),
    (int, both(INTEGER)),
    (float, both(NUMBER)),
    (str, both(STRING)),
    (bytes, both(text_of("base64url"))),
    (datetime, both(text_of("date-time"))),
    (date, both(text_of("date"))),
    (time, both(text_of("time"))),
    (timedelta, both(text_of("duration"))),
    (UUID, both(text_of("uuid"))),
    (complex, both(text_of("complex"))),
    (IPv4Address, both(text_of("ipv4"))),
    (Path, both(STRING)),
    (Json[list[int]], both(text_of("json"))),
    (Decimal, ({"anyOf": [text_of("decimal"), NUMBER]}, text_of("decimal"))),
    (int | None, both({"anyOf": [INTEGER, NULL]})),
    (str | int, both({"anyOf": [INTEGER, STRING]})),
    (Literal["b", "a", 1], both({"enum": ["a", "b", 1]})),
    (Literal["a"], both({"enum": ["a"]})),
    (Colour, both({"enum": ["red", 2]})),
    (Right, both({"maximum": 3, "minimum": 0, "type": "integer"})),
    (list[int], both({"items": INTEGER, "type": "array"})),
    (list, both({"type": "array"})),
    (set[int], both({"items": INTEGER, "type": "array", "uniqueItems": True})),
    (tuple[int, str], both({"prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2, "type": "array"})),
    (Pair, both({"prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2, "type": "array"})),
    (dict, both({"type": "object"})),
    (dict[str, Any], both({"type": "object"})),
    (dict[str, int], both({"additionalProperties": INTEGER, "type": "object"})),
    (
        dict[int, str],
        both({"additionalProperties": STRING, "propertyNames": {"pattern": "^-?[0-9]+$"}, "type": "object"}),
    ),
    (
        dict[Colour, int],
        both({"additionalProperties": INTEGER, "propertyNames": {"enum": ["2", "red"]}, "type": "object"}),
    ),
    (Annotated[int, Field(ge=0, lt=10)], both({"minimum": 0, "exclusiveMaximum": 10, "type": "integer"})),
    (
        Annotated[str, Field(pattern="^a", max_length=3)],
        both({"pattern": "^a", "maxLength": 3, "type": "string"}),
    ),
    (Note, ({**NOTE, "required": ["text"]}, {**NOTE, "required": ["amount", "stars", "text"]})),
    (Point, ({**POINT, "required": ["x"]}, {**POINT, "required": ["x", "y"]})),
    (Row, both({"properties": {"key": STRING, "note": STRING}, "required": ["key"], "type": "object"})),
    (Tree, (tree("value"), tree("children", "value"))),
    (
        JsonTree,
        both(
            {
                "$ref": "#/$defs/T1",
                "$defs": {
                    "T1": {
                        "anyOf": [
                            {"additionalProperties": {"$ref": "#/$defs/T1"}, "type": "object"},
                            {"items": {"$ref": "#/$defs/T1"}, "type": "array"},
                            STRING,
                            NULL,
                        ]
                    }
                },
            }
        ),
    ),
    (Camel, both({"properties": {"theAmount": NUMBER}, "required": ["theAmount"], "type": "object"})),
    (
        Loose,
        both({"additionalProperties": True, "properties": {"known": INTEGER}, "required": ["known"], "type": "object"}),
    ),
    (
        Strict,
        both(
            {"additionalProperties": False, "properties": {"known": INTEGER}, "required": ["known"], "type": "object"}
        ),
    ),
    (Square, both({"properties": {"side": INTEGER}, "required": ["side"], "type": "object"})),
    (Pet, both({"anyOf": [CAT, DOG]})),
    (Cat | Dog, ({"anyOf": [{**CAT, "required": ["lives"]}, {**DOG, "required": ["name"]}]}, {"anyOf": [CAT, DOG]})),
    (
        Seconds,
        (
            {"properties": {"took": {"anyOf": [text_of("duration"), NUMBER]}}, "required": ["took"], "type": "object"},
            {"properties": {"took": NUMBER}, "required": ["took"], "type": "object"},
        ),
    ),
    # what JSON Schema has no words for is named, and what is said in a schema for readers does not count
    (
        Holder,
        both(
            {
                "properties": {"thing": checked("is-instance Foreign"), "number": INTEGER},
                "required": ["number", "thing"],
                "type": "object",
            }
        ),
    ),
    (
        Annotated[int, PlainValidator(odd)],
        (
            {"anyOf": [checked("function-plain odd", **INTEGER), checked("function-plain odd")]},
            checked("function-plain odd", **INTEGER),
        ),
    ),
    (Annotated[int, WithJsonSchema({"type": "string"})], both(INTEGER)),
    (Annotated[int, BeforeValidator(odd)], both(checked("function-before odd", **INTEGER))),
    # what a serializer writes has to be read again
    (Annotated[int, PlainSerializer(str, return_type=str)], ({"anyOf": [INTEGER, STRING]}, STRING)),
    (
        Annotated[int, PlainSerializer(odd)],
        ({"anyOf": [INTEGER, checked("serializer odd")]}, checked("serializer odd")),
    ),
    (
        ReadElsewhere,
        (
            {
                "anyOf": [{"required": ["Amount"]}, {"required": ["amount"]}],
                "properties": {
                    "Amount": INTEGER,
                    "amount": INTEGER,
                    "Names": {"items": STRING, "type": "array"},
                    "names": {"items": STRING, "type": "array"},
                },
                "type": "object",
            },
            {
                "properties": {"amount": INTEGER, "names": {"items": STRING, "type": "array"}},
                "required": ["amount", "names"],
                "type": "object",
            },
        ),
    ),
]


def read(declared: Any) -> Schema:
    return Canonical.of(ValueAdapter(declared).input_schema()).schema()


def written(declared: Any) -> Schema:
    return Canonical.of(ValueAdapter(declared).output_schema()).schema()


@pytest.mark.parametrize(("declared", "expected"), SCHEMAS, ids=readable)
def test_a_type_is_described_as_it_is_read_and_as_it_is_written(declared: Any, expected: tuple[Any, Any]) -> None:
    assert (read(declared).value, written(declared).value) == expected


@pytest.mark.parametrize(("declared", "_expected"), SCHEMAS, ids=readable)
def test_what_is_written_of_a_type_is_accepted_where_it_is_read(declared: Any, _expected: Any) -> None:
    assert not_accepted(written(declared), read(declared)) == ()


@pytest.mark.parametrize(("declared", "value"), ROUND_TRIPS, ids=readable)
def test_encoded_values_are_valid_under_both_schemas(declared: Any, value: Any) -> None:
    data = from_json(ValueAdapter(declared).encode(value))
    for schema in (read(declared), written(declared)):
        assert Draft202012Validator(schema.value).is_valid(data), (schema, data)
    assert not_accepted(written(declared), read(declared)) == ()


class Limit(enum.Enum):
    NONE = float("inf")
    SOME = 1.5


def test_values_and_patterns_that_postgresql_cannot_store_are_left_out() -> None:
    assert read(Limit).value == {"enum": [1.5]}
    assert read(Literal["a", "\0"]).value == {"enum": ["a"]}
    assert read(Annotated[str, Field(pattern="[^\0]")]).value == STRING


class Circle(BaseModel):
    kind: Literal["circle"] = Field("circle", alias="Kind")
    radius: int


class Line(BaseModel):
    kind: Literal["line"] = Field("line", alias="Kind")
    parts: "list[Annotated[Circle | Line, Field(discriminator='kind')]]" = []


def test_a_tag_is_required_under_the_name_it_is_written_by() -> None:
    shape: Any = Annotated[Circle | Line, Field(discriminator="kind")]
    value = Line.model_validate({"parts": [{"Kind": "circle", "radius": 1}, {"Kind": "line"}]})
    data = from_json(ValueAdapter(shape).encode(value))
    assert data == {"Kind": "line", "parts": [{"Kind": "circle", "radius": 1}, {"Kind": "line", "parts": []}]}
    for schema in (read(shape), written(shape)):
        assert Draft202012Validator(schema.value).is_valid(data)
        assert not Draft202012Validator(schema.value).is_valid({"radius": 1})
    assert not_accepted(written(shape), read(shape)) == ()


class OnlyRead(BaseModel):
    kind: Literal["only"] = Field("only", validation_alias="Kind")


class OnlyReadToo(BaseModel):
    kind: Literal["too"] = Field("too", validation_alias="Kind")


def test_a_tag_that_is_written_by_another_name_is_not_required_by_the_name_it_is_read_by() -> None:
    shape: Any = Annotated[OnlyRead | OnlyReadToo, Field(discriminator="kind")]
    data = from_json(ValueAdapter(shape).encode(OnlyRead.model_validate({})))
    assert Draft202012Validator(written(shape).value).is_valid(data), written(shape)


# ---- canonical ------------------------------------------------------------------------------------------------------


def test_names_docstrings_and_the_order_of_fields_do_not_count() -> None:
    assert read(Tree) == read(Node)
    assert written(Tree) == written(Node)
    plain = create_model(
        "Other",
        amount=(Annotated[float, Field(gt=0)], 1.5),
        stars=(Annotated[int, Field(ge=1, le=5)], 1),
        text=(Annotated[str, Field(min_length=1)], ...),
    )
    assert read(plain) == read(Note)
    assert written(plain) == written(Note)


def test_the_order_of_a_unions_members_does_not_count() -> None:
    one: Any = Tree | int | None | Literal["a"] | list[Note]
    other: Any = list[Note] | Literal["a"] | None | int | Node
    assert read(one) == read(other)


def test_types_that_hold_each_other_are_numbered_as_they_are_met() -> None:
    class Even(BaseModel):
        odd: "Odd | None" = None

    class Odd(BaseModel):
        even: Even | None = None
        name: str

    Even.model_rebuild(_types_namespace={"Odd": Odd})
    found: Any = read(dict[str, Odd]).value
    assert found["additionalProperties"] == {"$ref": "#/$defs/T1"}
    assert found["$defs"]["T1"]["properties"]["even"]["anyOf"][0] == {"$ref": "#/$defs/T2"}
    assert found["$defs"]["T2"]["properties"]["odd"]["anyOf"][0] == {"$ref": "#/$defs/T1"}


def test_a_long_type_is_written_once() -> None:
    fields: dict[str, Any] = {f"a_field_with_a_long_name_{index}": (int, ...) for index in range(100)}
    long: Any = create_model("Long", **fields)
    parts: dict[str, Any] = dict.fromkeys("abcdefgh", (long, ...))
    several: Any = create_model("Several", **parts)
    found: Any = read(several).value
    assert list(found["$defs"]) == ["T1"]
    assert len(read(several).text) < 1.5 * len(read(long).text)


def test_types_nested_in_each_other_do_not_grow_without_bound() -> None:
    made: Any = create_model
    nested: Any = made("Level0", value=(int, ...), text=(str, ...))
    for level in range(1, 30):
        sides: dict[str, Any] = {"left": (nested, ...), "right": (nested, ...)}
        nested = made(f"Level{level}", **sides)
    assert len(read(nested).text) < 100_000


# ---- steps and flows ------------------------------------------------------------------------------------------------


def array(schema: Any) -> dict[str, Any]:
    return {"items": schema, "type": "array"}


def record(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"properties": properties, "type": "object"} | ({"required": required} if required else {})


PAGE, SITE = record(["content"], content=STRING), record(["url"], url=STRING)
MOOD = record(["label", "score"], label=STRING, score=NUMBER)


def test_a_steps_schemas_are_those_of_all_it_is_given_and_of_its_whole_output() -> None:
    flow = (
        Flow("analyze", Site)
        .step(website)
        .step(sentiment, website)
        .step(summary, website)
        .array(links, website)
        .map(fetch, links)
        .step(save, Site, sentiment, summary, collect(fetch))
        .returns(save)
    )
    shape = flow.shape()
    found = {step.slug: tuple(step.schemas().values()) for step in shape.steps}
    assert found == {
        "website": (record(["run"], run=SITE), PAGE),
        "sentiment": (record(["website"], website=PAGE), MOOD),
        "summary": (record(["website"], website=PAGE), STRING),
        "links": (record(["website"], website=PAGE), array(STRING)),
        "fetch": (record(["links"], links=array(STRING)), array(PAGE)),
        "save": (
            record(
                ["fetch", "run", "sentiment", "summary"], run=SITE, sentiment=MOOD, summary=STRING, fetch=array(PAGE)
            ),
            {"type": "boolean"},
        ),
    }
    assert shape.input_schema is not None
    assert shape.output_schema is not None
    assert (shape.input_schema.value, shape.output_schema.value) == (SITE, {"type": "boolean"})


def test_a_root_map_is_given_the_runs_list() -> None:
    shape = Flow("words", list[str]).map(shout).shape()
    assert str(shape.steps[0].input_schema) == str(Schema.of(record(["run"], run=array(STRING))))


def test_what_may_be_skipped_is_not_required() -> None:
    def judge(page: Page, mood: Mood | None) -> int: ...  # type: ignore[empty-body]

    flow = (
        Flow("skips", Site)
        .step(website)
        .step(sentiment, website, when={"run": {"url": "x"}}, when_unmet="skip")
        .step(judge, website, maybe(sentiment))
    )
    given: Any = flow.shape().steps[-1].input_schema
    assert given.value == record(["website"], website=PAGE, sentiment={"anyOf": [MOOD, NULL]})
    output: Any = flow.returns(maybe(sentiment)).shape().output_schema
    assert output.value == {"anyOf": [MOOD, NULL]}


def test_without_a_returned_step_the_output_is_an_object_of_the_leaves() -> None:
    flow = Flow("leaves", Site).step(website).step(summary, website).step(sentiment, website)
    output: Any = flow.shape().output_schema
    assert output.value == record(["sentiment", "summary"], summary=STRING, sentiment=MOOD)
    skips = Flow("leaves", Site).step(website, when={"url": "x"}, when_unmet="skip")
    output = skips.shape().output_schema
    assert output.value == {"anyOf": [record([], website=PAGE), NULL]}


def test_types_that_hold_themselves_are_numbered_anew_in_what_a_step_is_given() -> None:
    def plant(run: Site) -> Tree: ...  # type: ignore[empty-body]
    def graft(run: Site) -> JsonTree: ...
    def prune(one: Tree, two: Any, three: Tree) -> int: ...  # type: ignore[empty-body]

    flow = Flow("trees", Site).step(plant).step(graft).step(named("again", plant))
    step = flow.step(prune, plant, graft, named("again", plant)).shape().steps[-1]
    given: Any = step.input_schema
    places = {key: part["$ref"] for key, part in given.value["properties"].items()}
    assert places["plant"] == places["again"] != places["graft"]
    assert sorted(given.value["$defs"]) == ["T1", "T2"]


def test_a_parameter_says_what_its_dependency_leaves_open() -> None:
    def anything(run: Site) -> Any: ...
    def use(page: Page) -> int: ...  # type: ignore[empty-body]

    step = Flow("open", Site).step(anything).step(use, anything).shape().steps[-1]
    assert str(step.input_schema) == str(Schema.of(record(["anything"], anything=PAGE)))


def test_a_type_whose_schema_cannot_be_had_is_anything() -> None:
    step = replace(Flow("shy", Site).step(website).steps[0], output_type=list[Foreign])
    assert TypeSchemas().step_output(step).value is True


# ---- the model of a step's inputs says the same --------------------------------------------------------------------------


def inputs_of(flow: Flow[Any, Any], slug: str) -> tuple[Draft202012Validator, type[BaseModel]]:
    shape = next(step for step in flow.shape().steps if step.slug == slug)
    assert shape.input_schema is not None
    return Draft202012Validator(shape.input_schema.value), flow.input_model(flow.step_by_slug(slug).ref)


@pytest.mark.parametrize(
    ("given", "is_valid"),
    [
        ({"website": {"content": "x"}, "sentiment": {"score": 1, "label": "y"}}, True),
        ({"website": {"content": "x", "more": 1}, "sentiment": None, "other": 1}, True),
        ({"website": {"content": "x"}}, True),
        ({"sentiment": {"score": 1, "label": "y"}}, False),
        ({"website": None}, False),
        ({"website": {"content": None}}, False),
        ({"website": {"content": "x"}, "sentiment": {"score": "much", "label": "y"}}, False),
    ],
)
def test_the_schema_of_a_steps_inputs_and_their_model_agree(given: dict[str, Any], is_valid: bool) -> None:
    def judge(page: Page, mood: Mood | None) -> int: ...  # type: ignore[empty-body]

    flow = (
        Flow("skips", Site)
        .step(website)
        .step(sentiment, website, when={"run": {"url": "x"}}, when_unmet="skip")
        .step(judge, website, maybe(sentiment))
    )
    validator, model = inputs_of(flow, "judge")
    assert validator.is_valid(given) is is_valid
    if is_valid:
        model.model_validate(given)
    else:
        with pytest.raises(ValidationError):
            model.model_validate(given)


def test_the_type_of_an_output_is_known_to_checkers() -> None:
    def each(link: str) -> int: ...  # type: ignore[empty-body]

    flow = Flow("types", Site).step(website).step(sentiment, website, when={"run": {"url": "x"}}, when_unmet="skip")
    mapped = flow.array(links, website).map(each, links)
    assert assert_type(mapped.output_type(website), type[Page]) is Page
    assert assert_type(mapped.output_type(links), type[list[str]]) == list[str]
    assert assert_type(mapped.output_type(each), type[int]) is int
    assert assert_type(mapped.output_type(collect(each)), type[list[int]]) == list[int]
    assert assert_type(mapped.output_type(maybe(sentiment)), type[Mood | None]) == Mood | None
