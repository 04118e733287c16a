"""Values judged by a schema alone: which are refused, where, and in which words."""

import subprocess
import sys
from typing import Any

import pytest

from flowdsl.errors import InputError
from flowdsl.model.codec import decode_output, encode_input
from flowdsl.references.dynamic import UntypedFlowRef
from flowdsl.references.validation import problems_of, validator_of


def told(schema: Any, value: Any) -> list[str]:
    return [str(problem) for problem in problems_of(validator_of(schema), value)]


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
