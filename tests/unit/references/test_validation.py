"""Values judged by a schema alone: which are refused, where, and in which words."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from flowdsl.errors import ConfigError, InputError
from flowdsl.model.codec import decode_output, encode_input
from flowdsl.references.dynamic import UntypedFlowRef
from flowdsl.references.validation import problems_of, validator_of


def told(schema: Any, value: Any) -> list[str]:
    return [str(problem) for problem in problems_of(validator_of(schema), value)]


def nested(core: Any, times: int, around: Callable[[Any], Any]) -> Any:
    for _ in range(times):
        core = around(core)
    return core


ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "kind": {"enum": ["a", "b"]}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"type": "integer"}, "x", ['"x" is no integer']),
        ({"type": "integer"}, True, ["true is no integer"]),
        ({"type": ["string", "null"]}, 1, ["1 is no string or null"]),
        ({"enum": ["a", 2, None]}, "b", ['"b" is not one of: "a", 2, null']),
        ({"type": "number", "minimum": 1}, 0.5, ["0.5 is not at least 1"]),
        ({"type": "number", "exclusiveMaximum": 1}, 1, ["1 is not less than 1"]),
        ({"type": "integer", "multipleOf": 2}, 3, ["3 is not a multiple of 2"]),
        ({"type": "string", "maxLength": 2}, "abc", ["its length is 3, which is not at most 2"]),
        ({"type": "array", "minItems": 1}, [], ["its length is 0, which is not at least 1"]),
        ({"type": "string", "pattern": "^a"}, "b", ['"b" does not match ^a']),
        ({"type": "string", "format": "date"}, "soon", ['"soon" is no date']),
        ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00Z", []),
        ({"type": "string", "format": "decimal"}, "1,5", ['"1,5" is no decimal']),
        ({"type": "string", "format": "uuid"}, "1", ['"1" is no uuid']),
        ({"type": "string", "format": "base64url"}, "a", ['"a" is no base64url']),
        ({"type": "string", "format": "of their own"}, "anything", []),
        ({"type": "array", "items": ITEM}, [{"name": "x"}, {}], ["1.name: it is missing"]),
        (ITEM, {}, ["name: it is missing"]),
        (ITEM, {"name": "x", "nmae": 1}, ['"nmae" is not among its keys: name, kind']),
        (ITEM, {"name": 1, "kind": "c"}, ['kind: "c" is not one of: "a", "b"', "name: 1 is no string"]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 3, ["3 fits none of: string, null"]),
        ({"anyOf": [ITEM, {"type": "null"}]}, {"name": 1}, ["name: 1 is no string"]),
        (True, object, []),
        (False, 1, ["False schema does not allow 1"]),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_what_would_fit(schema: Any, value: Any, said: list[str]) -> None:
    assert told(schema, value) == said


def test_of_a_union_with_tags_the_member_that_was_meant_is_told() -> None:
    def member(kind: str, **others: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"kind": {"enum": [kind]}, **others}, "required": ["kind"]}

    pets = {"anyOf": [member("cat", lives={"type": "integer"}), member("dog")]}
    assert told(pets, {"kind": "cat", "lives": "nine"}) == ['lives: "nine" is no integer']
    assert told(pets, {"kind": "fish"}) == ['{"kind": "fish"} fits none of: object with "cat", object with "dog"']


def test_all_that_is_missing_is_told_once() -> None:
    schema = {"type": "object", "properties": {}, "required": ["a", "b"]}
    assert told(schema, {}) == ["a: it is missing", "b: it is missing"]


def test_a_long_value_is_cut() -> None:
    (said,) = told({"type": "integer"}, "x" * 1000)
    assert len(said) < 100
    assert said.endswith("… is no integer")


def described(**changes: Any) -> dict[str, Any]:
    return {"slug": "shop", "fingerprint": "f" * 16, "inputSchema": ITEM, "outputStep": None, **changes}


def test_an_untyped_reference_takes_plain_values_that_fit_the_schema() -> None:
    ref = UntypedFlowRef(described())
    assert encode_input(ref, {"name": "tea"}) == b'{"name":"tea"}'
    with pytest.raises(InputError, match="flow 'shop': the input does not fit: name: it is missing"):
        encode_input(ref, {})
    assert decode_output(ref, b'{"step":1}') == {"step": 1}
    assert decode_output(ref, b"null") == {}
    assert decode_output(UntypedFlowRef(described(outputStep="only")), b"null") is None


def test_an_untyped_reference_to_a_flow_without_schemas_takes_everything() -> None:
    assert encode_input(UntypedFlowRef(described(inputSchema=None)), [1]) == b"[1]"


@pytest.mark.parametrize("module", ["flowdsl", "flowdsl.client", "flowdsl.cli.app", "flowdsl.runtime.worker"])
def test_neither_the_judge_nor_the_generator_is_loaded_before_it_is_needed(module: str) -> None:
    heavy = ["jsonschema", "datamodel_code_generator", "flowdsl.references", "black"]
    script = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---- schemas of others ----------------------------------------------------------------------------------------------


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and what it was asked for."""
    paths: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "HTTP/x"},
        {"$id": "HTTP/y", "$ref": "x"},
        {"$id": "HTTP/y", "properties": {"a": {"$dynamicRef": "x"}}},
        {"$dynamicRef": "HTTP/x"},
        {"properties": {"a": {"items": {"$ref": "HTTP/x#/$defs/T0"}}}},
        {"$defs": {"T0": {"$ref": "HTTP/x"}}, "$ref": "#/$defs/T0"},
        {"$schema": "HTTP/x"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "HTTP/x"},
    ],
)
def test_nothing_is_fetched_whatever_a_stored_schema_refers_to(schema: Any, asked: tuple[str, list[str]]) -> None:
    address, paths = asked
    ref = UntypedFlowRef(described(inputSchema=json.loads(json.dumps(schema).replace("HTTP", address))))
    with suppress(ConfigError):
        encode_input(ref, {"a": [1]})
    assert paths == []


def test_a_reference_to_a_file_is_refused_and_named() -> None:
    ref = UntypedFlowRef(described(inputSchema={"properties": {"a": {"$ref": "file:///etc/passwd"}}}))
    with pytest.raises(ConfigError) as caught:
        encode_input(ref, {"a": 1})
    assert caught.value.message == (
        "flow 'shop': the JSON Schema of its input cannot be used: properties.a.$ref: "
        "'file:///etc/passwd' where a reference to one of its own definitions (#/$defs/…) is needed."
    )


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (5, "5 where a schema is needed"),
        ([], "an empty list where a schema is needed"),
        ({"properties": []}, "properties: an empty list where an object is needed"),
        ({"properties": {"a": 5}}, "properties.a: 5 where a schema is needed"),
        ({"enum": 5}, "enum: 5 where a list of values is needed"),
        ({"required": 7}, "required: 7 where a list of names is needed"),
        ({"anyOf": 5}, "anyOf: 5 where a list of schemas is needed"),
        ({"anyOf": []}, "anyOf: an empty list where a list of schemas is needed"),
        ({"type": [["string"]]}, "type: a list where the name of a type is needed"),
        ({"type": "text"}, "type: 'text' where the name of a type is needed"),
        ({"minimum": "1"}, "minimum: '1' where a number is needed"),
        ({"minimum": True}, "minimum: True where a number is needed"),
        ({"multipleOf": 0}, "multipleOf: 0 where a number above 0 is needed"),
        ({"minLength": -1}, "minLength: -1 where a number of them is needed"),
        ({"pattern": 1}, "pattern: 1 where text is needed"),
        ({"format": ["date"]}, "format: a list where text is needed"),
        ({"items": [{}]}, "items: a list where a schema is needed"),
        ({"$defs": []}, r"$defs: an empty list where an object is needed"),
        ({"$ref": "#/$defs/T0"}, "$ref: '#/$defs/T0' is none of the definitions it comes with"),
        ({"$ref": "#"}, "$ref: '#' where a reference to one of its own definitions (#/$defs/…) is needed"),
        ({"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}, "$defs.A: it is defined by nothing but itself"),
        (
            {"$defs": {"A": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/B"}]}, "B": {"allOf": [{"$ref": "#/$defs/A"}]}}},
            "$defs.A: it is defined by nothing but itself",
        ),
        (nested({}, 300, lambda part: {"type": ["array", "null"], "items": part}), "nested more than 64 levels deep"),
        (nested({}, 300, lambda part: {"anyOf": [part, {"type": "null"}]}), "nested more than 64 levels deep"),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_refused_with_its_place(schema: Any, why: str) -> None:
    with pytest.raises(ConfigError, match="flow 'shop': the JSON Schema of its input cannot be used") as caught:
        encode_input(UntypedFlowRef(described(inputSchema=schema)), {"a": 1})
    assert why in caught.value.message
    assert "pgflow compile" in str(caught.value.hint)


def test_a_schema_of_64_levels_is_judged() -> None:
    schema = nested({"type": "integer"}, 64, lambda part: {"type": "array", "items": part})
    assert told(schema, nested(1, 64, lambda part: [part])) == []
    assert told(schema, nested("x", 64, lambda part: [part])) == [f'{".".join("0" * 64)}: "x" is no integer']


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        (r"^\p{L}+$", "größe", "9"),
        (r"^(?P<a>x)\z", "x", "x\n"),
        (r"^(a+)+$", "aaa", "a" * 50 + "!"),
        (r"^(?:a|aa)+$", "aaa", "a" * 100 + "!"),
        ("b", "abc", "acc"),
    ],
)
def test_patterns_are_those_of_pydantic_and_never_take_long(pattern: str, fits: str, does_not: str) -> None:
    class Model(BaseModel):
        text: Annotated[str, Field(pattern=pattern)]

    for text, said in ((fits, []), (does_not, ["does not match"])):
        assert [part.split(" ", 1)[1][: len("does not match")] for part in told({"pattern": pattern}, text)] == said
        assert Model.__pydantic_validator__.isinstance_python({"text": text}) is (not said)


def test_a_pattern_of_another_engine_is_left_to_the_worker() -> None:
    assert told({"type": "string", "pattern": "^(?=a)"}, "b") == []
    assert told({"patternProperties": {"^(?=a)": False}, "additionalProperties": False}, {"b": 1}) == []


def test_patterns_of_keys_are_pydantics_too() -> None:
    letters = {"type": "object", "patternProperties": {r"^\p{L}+$": {"type": "integer"}}, "additionalProperties": False}
    assert told(letters, {"ä": 1}) == []
    assert told(letters, {"ä": "x"}) == ['ä: "x" is no integer']
    assert told(letters, {"ä": 1, "9": 1, "8": 2}) == ['"9", "8" is not among its keys: none']
    slow = {"type": "object", "patternProperties": {"^(a+)+$": True}, "additionalProperties": {"type": "integer"}}
    assert told(slow, {"a" * 50 + "!": "x"}) == [f'{"a" * 50}!: "x" is no integer']
    assert told({"propertyNames": {"pattern": "^(a+)+$"}}, {"aa": 1}) == []


@pytest.mark.parametrize("value", [0.3, 0.7, -0.3, 1e300, 3, 0])
def test_multiples_are_pydantics(value: float) -> None:
    class Model(BaseModel):
        share: Annotated[float, Field(multiple_of=0.1)]

    fits = Model.__pydantic_validator__.isinstance_python({"share": value})
    assert (told({"type": "number", "multipleOf": 0.1}, value) == []) is fits


def test_what_is_no_multiple_is_refused_and_what_no_float_can_be_is_left_to_the_worker() -> None:
    assert told({"type": "number", "multipleOf": 0.1}, 0.25) == ["0.25 is not a multiple of 0.1"]
    assert told({"type": "integer", "multipleOf": 3}, 3 * 10**400) == []
    assert told({"type": "integer", "multipleOf": 3}, 3 * 10**40 + 1) == [f"{3 * 10**40 + 1} is not a multiple of 3"]
    assert told({"type": "number", "multipleOf": 0.1}, 10**400) == []


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([1, True, "1", None, [], {}, [1], {"a": 1}, {"a": True}], []),
        ([1, 2, 1.0], ["its items 0 and 2 are the same"]),
        ([{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}], ["its items 0 and 1 are the same"]),
        ([True, False, True], ["its items 0 and 2 are the same"]),
        ([[], {}, []], ["its items 0 and 2 are the same"]),
    ],
)
def test_items_are_unique_as_in_json(items: list[Any], said: list[str]) -> None:
    assert told({"uniqueItems": True}, items) == said
    assert told({"uniqueItems": False}, items) == []


def test_many_items_are_not_compared_with_each_other() -> None:
    items = [{"number": number, "name": f"item {number}"} for number in range(30_000)]
    assert told({"type": "array", "uniqueItems": True}, items) == []


def test_unions_below_unions_are_judged_once() -> None:
    def member(kind: str) -> dict[str, Any]:
        child = {"anyOf": [{"$ref": "#/$defs/T0"}, {"type": "null"}]}
        return {"type": "object", "properties": {"kind": {"enum": [kind]}, "child": child}, "required": ["kind"]}

    tree = {"$defs": {"T0": {"anyOf": [member("a"), member("b"), member("c")]}}, "$ref": "#/$defs/T0"}
    assert told(tree, nested({"kind": "c"}, 40, lambda part: {"kind": "c", "child": part})) == []
    none = 'fits none of: object with "a", object with "b", object with "c"'
    assert told(tree, nested({"kind": 9}, 40, lambda part: {"kind": "c", "child": part})) == [
        f'{".".join(["child"] * 40)}: {{"kind": 9}} {none}'
    ]


def test_a_value_nested_too_deeply_is_refused() -> None:
    tree = {"$defs": {"T0": {"type": "array", "items": {"$ref": "#/$defs/T0"}}}, "$ref": "#/$defs/T0"}
    deep = nested([], 5_000, lambda part: [part])
    assert told(tree, deep) == ["it is nested too deeply to be checked"]
    with pytest.raises(InputError, match="flow 'shop': the input does not fit: "):
        encode_input(UntypedFlowRef(described(inputSchema=tree)), deep)
    assert told(tree, nested([], 50, lambda part: [part])) == []
