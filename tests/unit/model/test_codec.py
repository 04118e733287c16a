# mypy: disable-error-code="empty-body"
import json
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    SecretBytes,
    SecretStr,
    computed_field,
)
from typing_extensions import TypedDict

from flowdsl import Context, Flow, collect, named
from flowdsl.errors import DefinitionError, InputError
from flowdsl.model.codec import (
    decode_arguments,
    decode_input,
    decode_output,
    decode_step_output,
    encode_input,
    encode_output,
)
from flowdsl.model.step import StepSpec
from tests.names import readable

from .handlers_for_tests import Page, Site, fetch, links, shout, summary, website


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    A = "a"


@dataclass
class Point:
    x: float
    y: float = 0.0
    tags: list[str] = field(default_factory=list)


class Row(TypedDict):
    id: int
    blob: bytes
    note: NotRequired[str | None]


class Pair(NamedTuple):
    left: int
    right: str


class Aliased(BaseModel):
    given: int = Field(alias="Given")
    read: int = Field(validation_alias="Read")
    written: int = Field(serialization_alias="Written")
    both: int = Field(validation_alias=AliasChoices("Both", "both_"), serialization_alias="Both")


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: name.upper(), extra="forbid")
    some_name: int
    other: list["Camel"] = []


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> float:
        return self.side**2


class Binary(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Text(BaseModel):
    data: bytes
    number: float = 0.0
    note: str | None = None


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Tree(BaseModel):
    children: list["Tree"] = []


class Mixed(BaseModel):
    value: str | Decimal


class Shown(BaseModel):
    password: Annotated[SecretStr, PlainSerializer(lambda secret: secret.get_secret_value())]


class Login(BaseModel):
    password: SecretStr


class Partly(BaseModel):
    kept: int
    left_out: int = Field(default=1, exclude=True)


Names = RootModel[list[str]]
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ID = uuid.UUID("018f0000-0000-7000-8000-000000000001")

ALIASED = Aliased.model_validate({"Given": 1, "Read": 2, "written": 3, "Both": 4})
CAMEL = Camel.model_validate({"SOME_NAME": 1, "OTHER": [{"SOME_NAME": 2}]})

ROUND_TRIPS: list[tuple[Any, Any]] = [
    (None, None),
    (type(None), None),
    (bool, False),
    (int, 0),
    (int, 2**80),
    (int, -1),
    (float, 0.0),
    (float, 1e300),
    (float, 0.1),
    (str, ""),
    (str, "a'b\"c\\d %s :name {{ x }} \u2028 ü 🎉 \n"),
    (str, "\\u0000"),
    (bytes, b""),
    (bytes, b"\x00\xff\xfe"),
    (list[bytes], [b"\xff", b""]),
    (dict[str, bytes], {"a": b"\xff"}),
    (bytes | None, b"\xff"),
    (list[int], []),
    (list[None], [None, None]),
    (dict[str, int], {}),
    (dict[int, str], {1: "a"}),
    (dict[str, list[int | None]], {"a": [1, None]}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], ()),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (int | None, None),
    (int | str, "1"),
    (int | str, 1),
    (int | float, 1),
    (bool | int, True),
    (datetime, NOW),
    (datetime, datetime(2026, 1, 2)),  # noqa: DTZ001 - naive ones have to survive too
    (date, date(2026, 1, 2)),
    (time, time(3, 4, 5)),
    (timedelta, timedelta(days=1, microseconds=5)),
    (uuid.UUID, ID),
    (Decimal, Decimal("0.10")),
    (Decimal, Decimal("1E+20")),
    (complex, 1 + 2j),
    (PurePosixPath, PurePosixPath("/a/b")),
    (Colour, Colour.RED),
    (Level, Level.LOW),
    (Word, Word.A),
    (Literal["a", 1], 1),
    (Any, {"a": [1, "b", None, 2.5, True]}),
    (object, [1]),
    (Page, Page(content="")),
    (list[Page], [Page(content="a"), Page(content="b")]),
    (Page | None, None),
    (dict[str, Page], {"a": Page(content="a")}),
    (Point, Point(x=1.5, tags=["a"])),
    (list[Point], [Point(x=0.0)]),
    (Row, {"id": 1, "blob": b"\xff\x00"}),
    (Row, {"id": 1, "blob": b"", "note": None}),
    (list[Row], [{"id": 1, "blob": b"\xff"}]),
    (Pair, Pair(left=1, right="a")),
    (Aliased, ALIASED),
    (list[Aliased], [ALIASED]),
    (Camel, CAMEL),
    (Computed, Computed(side=2)),
    (Binary, Binary(data=b"\xff")),
    (Text, Text(data="ü".encode(), note=None)),
    (list[Pet], [Cat(lives=7), Dog(name="a")]),
    (Cat | Dog, Dog(name="cat")),
    (Names, Names(["a"])),
    (Tree, Tree(children=[Tree(), Tree(children=[Tree()])])),
    (Annotated[int, Field(ge=0)], 0),
    (bytes | str, b"\xff"),
    (str | bytes, "aGk="),
    (uuid.UUID | str, ID),
    (uuid.UUID | str, "no id"),
    (Decimal | str | None, None),
    (list[PurePosixPath | int], [PurePosixPath("a"), 1]),
    (date | datetime, NOW),
    (dict[int | str, int], {"a": 1, "b": 2}),
    (Shown, Shown(password=SecretStr("x"))),
]

MISFITS: list[tuple[Any, Any, str, str]] = [
    (int, "1", "", "valid integer"),
    (int, 1.0, "", "valid integer"),
    (int, None, "", "valid integer"),
    (str, 1, "", "valid string"),
    (str, b"a", "", "valid string"),
    (bool, 1, "", "valid boolean"),
    (list[int], (1, 2), "", "valid list"),
    (list[int], [1, "2"], "1", "valid integer"),
    (datetime, "2026-01-01T00:00:00", "", "valid datetime"),
    (uuid.UUID, str(ID), "", "UUID"),
    (Point, {"x": 1.0}, "", "instance of Point"),
    (Page, Site(url="x"), "", "Page"),
    (Page, None, "", "Page"),
    (Row, {"id": 1}, "blob", "required"),
    (Row, {"id": 1, "blob": "text"}, "blob", "valid bytes"),
    (None, 0, "", "None"),
    (Literal["a"], "b", "", "'a'"),
    (Annotated[int, Field(ge=0)], -1, "", "greater than or equal to 0"),
    (dict[str, list[Page]], {"a": [Page(content="x"), 7]}, "a.1", "Page"),
    # what pydantic would let pass, and JSON or PostgreSQL cannot hold
    (float, math.nan, "", "finite"),
    (list[float], [0.0, -math.inf], "1", "finite"),
    (Any, math.nan, "", "nan is no number JSON can hold"),
    (Any, {"a": [None, math.inf]}, "a.1", "inf is no number JSON can hold"),
    (Text, Text(data=b"", number=math.nan), "number", "nan is no number JSON can hold"),
    (list[Text], [Text(data=b""), Text(data=b"", number=math.inf)], "1.number", "inf is no number"),
    (Point, Point(x=math.nan), "x", "nan is no number JSON can hold"),
    (Decimal, Decimal("NaN"), "", "finite"),
    (str, "a\0b", "", "U+0000"),
    (str, "\\\0", "", "U+0000"),
    (Page, Page(content="\0"), "", "U+0000"),
    (dict[str, int], {"\0": 1}, "", "U+0000"),
    (str, "\ud800", "", "surrogates"),
    (Text, Text(data=b"\xff"), "", "ser_json_bytes='base64'"),
    (Any, object(), "", "Unable to serialize unknown type"),
    (Any, {1, object()}, "", "Unable to serialize unknown type"),
    # what would come back as something else
    (bytes | str, "aGk=", "", "is a str and would come back as a bytes"),
    (str | bytes, b"hi", "", "is a bytes and would come back as a str"),
    (uuid.UUID | str, str(ID), "", "would come back as a UUID"),
    (str | Decimal, Decimal("1.5"), "", "would come back as a str"),
    (list[Decimal | str], ["a", "1.5"], "1", "would come back as a Decimal"),
    (dict[str, str | datetime | None], {"at": NOW}, "at", "would come back as a str"),
    (Path | str, "a/b", "", "would come back as a"),
    (list[Mixed], [Mixed(value="a"), Mixed(value=Decimal(1))], "1.value", "would come back as a str"),
    (dict[int | str, int], {1: 1}, "1", "the key 1 is a int and would come back as a str"),
    (dict[int | str, int], {1: 1, "1": 2}, "", "two keys are the same in JSON"),
    (dict[str | None, int], {None: 1}, "None", "the key None"),
    (Page, Page.model_construct(content=7), "", "Expected `str`"),
]


def step_of(declared: Any) -> StepSpec:
    def handler(site: Site) -> Any: ...

    handler.__annotations__["return"] = declared
    return Flow("coding", Site).step(handler).steps[0]


@pytest.mark.parametrize(("declared", "value"), ROUND_TRIPS, ids=readable)
def test_an_output_comes_back_as_it_was(declared: Any, value: Any) -> None:
    step = step_of(declared)
    data = encode_output(step, value)
    back = decode_step_output(step, data)
    assert back == value
    assert type(back) is type(value)
    assert encode_output(step, back) == data
    json.loads(data)


@pytest.mark.parametrize(("declared", "value"), ROUND_TRIPS, ids=readable)
def test_an_output_comes_back_also_as_a_dependency_an_element_and_in_a_list(declared: Any, value: Any) -> None:
    def first(site: Site) -> Any: ...
    def several(site: Site) -> Any: ...
    def each(item: Any, first: Any) -> Any: ...
    def last(site: Site, first: Any, each: Any) -> Any: ...

    first.__annotations__["return"] = each.__annotations__["return"] = declared
    several.__annotations__["return"] = list[declared]
    flow = (
        Flow("coding", Site).step(first).array(several).map(each, several, first).step(last, Site, first, collect(each))
    )
    one = encode_output(flow.step_for(first), value).decode()
    mapped = flow.step_for(each)
    assert decode_arguments(mapped, b'{"first":%s}' % one.encode(), one.encode()) == (value, value)
    assert encode_output(mapped, value).decode() == one
    assert decode_step_output(mapped, f"[{one},{one}]".encode()) == [value, value]
    inputs = f'{{"run":{{"url":"u"}},"first":{one},"each":[{one}]}}'.encode()
    assert decode_arguments(flow.step_for(last), inputs, None) == (Site(url="u"), value, [value])


@pytest.mark.parametrize(("declared", "value", "location", "message"), MISFITS, ids=readable)
def test_an_output_that_does_not_fit_is_refused_with_its_place(
    declared: Any, value: Any, location: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        encode_output(step_of(declared), value)
    error = caught.value
    assert (error.flow_slug, error.step_slug, error.subject) == ("coding", "handler", "output")
    assert any(problem.location == location and message in problem.message for problem in error.problems), str(error)


def test_a_bool_is_an_int_as_in_python() -> None:
    for declared, value, text in (
        (int, True, b"1"),
        (float, False, b"0.0"),
        (list[int], [2, True], b"[2,1]"),
        (int | None, True, b"1"),
        (bool | int, True, b"true"),
    ):
        step = step_of(declared)
        assert encode_output(step, value) == text
        assert decode_step_output(step, text) == value
    with pytest.raises(InputError, match="valid integer"):
        encode_output(step_of(list[int]), [True, "2"])


def test_nan_that_a_model_writes_as_text_is_its_own_affair() -> None:
    class Textual(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="strings")
        number: float

    step = step_of(Textual)
    back = decode_step_output(step, encode_output(step, Textual(number=math.inf)))
    assert back == Textual(number=math.inf)


def test_nan_that_a_model_writes_bare_is_refused() -> None:
    class Bare(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="constants")
        number: float

    with pytest.raises(InputError, match="number: nan is no number JSON can hold"):
        encode_output(step_of(Bare), Bare(number=math.nan))


def test_a_field_that_is_written_as_none_is_no_lost_number() -> None:
    class Hiding(BaseModel):
        secret: Annotated[str, PlainSerializer(lambda _: None)] | None
        number: float

    assert encode_output(step_of(Hiding), Hiding(secret="a", number=1.5)) == b'{"secret":null,"number":1.5}'


def test_json_is_written_by_alias_where_it_can_be_read_again() -> None:
    assert encode_output(step_of(Camel), Camel.model_validate({"SOME_NAME": 1})) == b'{"SOME_NAME":1,"OTHER":[]}'
    written_only = encode_output(step_of(Aliased), ALIASED)
    assert json.loads(written_only) == {"given": 1, "read": 2, "written": 3, "both": 4}


def test_computed_fields_are_left_out_for_they_cannot_be_read() -> None:
    assert encode_output(step_of(Computed), Computed(side=2)) == b'{"side":2.0}'


def test_fields_are_read_by_name_and_by_alias() -> None:
    flow = Flow("aliases", Camel).step(lambda_free)
    assert decode_input(flow, b'{"SOME_NAME": 1}') == decode_input(flow, b'{"some_name": 1}')


def lambda_free(camel: Camel) -> int:
    return camel.some_name


def test_the_run_input_is_checked_both_ways() -> None:
    flow = Flow("inputs", Site).step(website)
    assert encode_input(flow, Site(url="x")) == b'{"url":"x"}'
    assert decode_input(flow, b'{"url":"x"}') == Site(url="x")
    with pytest.raises(InputError, match="flow 'inputs': the input does not fit: url: Field required"):
        decode_input(flow, b"{}")
    with pytest.raises(InputError, match="flow 'inputs': the input does not fit: Invalid JSON"):
        decode_input(flow, b"{")
    untyped: Any = flow
    with pytest.raises(InputError, match="flow 'inputs': the input does not fit"):
        encode_input(untyped, Page(content="x"))


def test_each_problem_of_a_value_is_told() -> None:
    with pytest.raises(InputError) as caught:
        decode_input(Flow("inputs", list[Site]).map(website), b'[{"url":"x"},{"url":1},{}]')
    assert [problem.location for problem in caught.value.problems] == ["1.url", "2.url"]


def test_arguments_are_in_the_order_of_the_parameters() -> None:
    def use(text: str, site: Site, pages: list[Page], ctx: Context) -> int: ...

    flow = (
        Flow("order", Site)
        .step(website)
        .step(summary, website)
        .array(links, website)
        .map(fetch, links)
        .step(use, summary, Site, collect(fetch))
    )
    data = b'{"fetch":[{"content":"c"}],"run":{"url":"u"},"other":1,"summary":"s"}'
    assert decode_arguments(flow.step_for(use), data, None) == ("s", Site(url="u"), [Page(content="c")])
    assert decode_arguments(flow.step_for(fetch), None, b'"link"') == ("link",)
    assert decode_arguments(Flow("words", list[str]).map(shout).steps[0], b"{}", b'""') == ("",)


def test_arguments_that_do_not_fit_name_the_dependency() -> None:
    flow = Flow("order", Site).step(website).step(summary, website)
    step = flow.step_for(summary)
    with pytest.raises(InputError, match=r"step 'summary': the input does not fit: website\.content: Input should be"):
        decode_arguments(step, b'{"website":{"content":1}}', None)
    with pytest.raises(InputError, match="website: Field required"):
        decode_arguments(step, b"{}", None)
    with pytest.raises(InputError, match="the input does not fit: it is missing"):
        decode_arguments(step, None, None)
    words = Flow("words", list[str]).map(shout).steps[0]
    with pytest.raises(InputError, match="the element does not fit: Input should be a valid string"):
        decode_arguments(words, None, b"1")
    with pytest.raises(InputError, match="the element does not fit: it is missing"):
        decode_arguments(words, None, None)


def test_dependencies_may_have_any_slug() -> None:
    def use(*texts: str) -> int: ...

    refs = [named(slug, summary) for slug in ("_private", "class", "model_config", "json")]
    flow = Flow("odd", Page)
    for ref in refs:
        flow = flow.step(ref)
    step = flow.step(use, *refs).steps[-1]
    data = b'{"json":"4","class":"2","_private":"1","model_config":"3"}'
    assert decode_arguments(step, data, None) == ("1", "2", "3", "4")


def test_a_returned_step_makes_the_output() -> None:
    flow = Flow("out", Site).step(website).array(links, website).map(fetch, links)
    assert decode_output(flow.returns(website), b'{"content":"x"}') == Page(content="x")
    assert decode_output(flow.returns(collect(fetch)), b'[{"content":"x"}]') == [Page(content="x")]
    with pytest.raises(InputError, match="flow 'out', step 'website': the output does not fit"):
        decode_output(flow.returns(website), b"{}")


def test_without_a_returned_step_the_output_has_the_leaves_that_completed() -> None:
    flow = Flow("out", Site).step(website).step(summary, website).array(links, website).map(fetch, links)
    data = b'{"summary":"s","fetch":[{"content":"x"}]}'
    assert decode_output(flow, data) == {"summary": "s", "fetch": [Page(content="x")]}
    assert decode_output(flow, b'{"summary":"s"}') == {"summary": "s"}
    assert decode_output(flow, b"{}") == {}


def test_a_run_without_output_has_no_leaves() -> None:
    assert decode_output(Flow("out", Site).step(website), b"null") == {}


def test_adapters_are_built_once() -> None:
    flow = Flow("out", Site).step(website).returns(website)
    step = flow.steps[0]
    assert step.task_output is step.task_output
    assert step.inputs is step.inputs
    assert flow.input_adapter is flow.input_adapter
    assert flow.output_adapter is step.step_output


def test_a_generator_is_no_list() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(InputError, match="valid list"):
        encode_output(step_of(list[int]), numbers())


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        (SecretStr, "asterisks"),
        (list[SecretBytes | None], "asterisks"),
        (Login, "asterisks"),
        (dict[str, Partly], "exclude=True"),
        (dict[tuple[int, int], str], "a tuple as a dict's key"),
    ],
)
def test_types_whose_values_would_not_come_back_are_refused_at_definition(declared: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        step_of(declared)
    with pytest.raises(DefinitionError, match=why):
        Flow("coding", declared)


@pytest.mark.parametrize("declared", [int, Any])
def test_an_integer_too_long_to_be_read_again_is_refused(declared: Any) -> None:
    step = step_of(declared)
    with pytest.raises(InputError, match="more than 4300 digits"):
        encode_output(step, 10**4300)
    assert decode_step_output(step, encode_output(step, 10**4299)) == 10**4299


def test_a_text_of_many_digits_is_no_integer() -> None:
    step = step_of(str)
    assert decode_step_output(step, encode_output(step, "7" * 9999)) == "7" * 9999
