"""Models written of schemas: what they write the flow reads, and what the flow writes they read."""

import json
import sys
from collections.abc import Iterator
from functools import cache
from itertools import count
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl import Flow
from flowdsl.errors import InputError
from flowdsl.model.codec import (
    decode_input,
    decode_output,
    decode_step_output,
    encode_input,
    encode_output,
)
from flowdsl.references.description import FlowDescription, described_by_database, described_by_flow
from flowdsl.references.dynamic import UntypedFlowRef
from flowdsl.references.file import reference_file

from .model_strategies import handler_of, typed
from .reference_zoo import ZOO

relaxed = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
numbers = count()


def flow_of(declared: Any) -> Any:
    untyped: Any = Flow
    handler = handler_of("handler", [declared], declared)
    return untyped("zoo", declared).step(handler).returns(handler)


def described(flow: Any) -> dict[str, Any]:
    """Return what the database would say of the flow."""
    shape = flow.shape()
    return {
        "slug": shape.slug,
        "version": 1,
        "fingerprint": shape.fingerprint,
        "inputSchema": shape.input_schema.value,
        "outputSchema": shape.output_schema.value,
        "outputStep": shape.output_step,
        "steps": [
            {"slug": step.slug, "dependencies": list(step.deps), "outputSchema": step.output_schema.value}
            for step in shape.steps
        ],
    }


def description(flow: Any, road: str) -> FlowDescription:
    return described_by_flow(flow) if road == "module" else described_by_database(described(flow))


def imported(text: str) -> ModuleType:
    module = ModuleType(f"written_{next(numbers)}")
    sys.modules[module.__name__] = module
    exec(compile(text, module.__name__, "exec"), vars(module))  # noqa: S102 - it is our own
    return module


@cache
def written(kind: str, road: str) -> tuple[Any, Any]:
    """Return a flow from values of that kind to such values, and the reference written of it."""
    flow = flow_of(ZOO[kind][0])
    return flow, imported(reference_file(description(flow, road), ["pgflow", "client", "zoo"]))


@pytest.fixture(scope="module", autouse=True)
def _modules_are_forgotten() -> Iterator[None]:
    yield
    written.cache_clear()
    for name in [name for name in sys.modules if name.startswith("written_")]:
        del sys.modules[name]


def goes_round(flow: Any, module: Any, value: Any) -> None:
    data = encode_input(flow, value)
    seen = decode_input(module.zoo, data)
    again = encode_input(module.zoo, seen)
    assert decode_input(flow, again) == value
    step = flow.steps[0]
    output = encode_output(step, value)
    got = decode_output(module.zoo, output)
    assert decode_step_output(module.Steps.handler, output) == got
    # Written again, for a caller may hand on what it got.
    assert decode_output(flow, module.zoo.output_adapter.encode(got)) == value


@pytest.mark.parametrize("road", ["module", "database"])
@pytest.mark.parametrize("kind", ZOO)
@relaxed
@given(data=st.data())
def test_values_go_from_the_reference_to_the_flow_and_back(kind: str, road: str, data: st.DataObject) -> None:
    flow, module = written(kind, road)
    goes_round(flow, module, data.draw(ZOO[kind][1]))


@pytest.mark.parametrize("road", ["module", "database"])
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(typed, st.data())
def test_values_of_random_types_do_so_too(
    road: str, pair: tuple[Any, st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    declared, values = pair
    flow = flow_of(declared)
    module = imported(reference_file(description(flow, road), ["pgflow", "client", "zoo"]))
    for _ in range(3):
        goes_round(flow, module, data.draw(values))


def without_some(value: Any, schema: Any, definitions: Any, draw: st.DataObject) -> Any:
    """Leave out some keys that may be left out."""
    if isinstance(schema, dict) and "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    if not isinstance(schema, dict) or not isinstance(value, dict) or "properties" not in schema:
        return value
    required = set(schema.get("required", ()))
    return {
        name: without_some(part, schema["properties"].get(name, True), definitions, draw)
        for name, part in value.items()
        if name in required or name not in schema["properties"] or draw.draw(st.booleans())
    }


@pytest.mark.parametrize("road", ["module", "database"])
@pytest.mark.parametrize(
    "kind", ["nested", "keys", "dataclass", "moments", "bounds", "choices", "recursive dict", "clashing names"]
)
@relaxed
@given(data=st.data())
def test_what_a_caller_does_not_give_is_left_to_the_flow(kind: str, road: str, data: st.DataObject) -> None:
    flow, module = written(kind, road)
    full = json.loads(encode_input(flow, data.draw(ZOO[kind][1])))
    schema = flow.shape().input_schema.value
    some = without_some(full, schema, schema.get("$defs", {}), data)
    sent = encode_input(module.zoo, decode_input(module.zoo, json.dumps(some).encode()))
    assert json.loads(sent).keys() == some.keys()
    with_tags = decode_input(flow, json.dumps(some).encode())
    if "now" in some or kind != "moments":  # a default of its own at each reading
        assert decode_input(flow, sent) == with_tags


@pytest.mark.parametrize("kind", ZOO)
@relaxed
@given(data=st.data())
def test_the_stored_schema_takes_what_the_flow_writes(kind: str, data: st.DataObject) -> None:
    flow, _ = written(kind, "database")
    value = data.draw(ZOO[kind][1])
    plain = json.loads(encode_input(flow, value))
    ref = UntypedFlowRef(described(flow))
    assert json.loads(encode_input(ref, plain)) == plain


@pytest.mark.parametrize("road", ["module", "database"])
@pytest.mark.parametrize("kind", ZOO)
def test_the_same_flow_gives_the_same_bytes(kind: str, road: str) -> None:
    flow = flow_of(ZOO[kind][0])
    texts = {reference_file(description(flow, road), ["pgflow", "client", "zoo"]) for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("nested", {"name": 1, "home": {"street": "x"}}),
        ("nested", {"name": "x", "home": {"street": ""}}),
        ("bounds", {"count": 10, "even": 2, "share": 0.5, "word": "a", "few": [1]}),
        ("bounds", {"count": 1, "even": 3, "share": 0.5, "word": "a", "few": [1]}),
        ("bounds", {"count": 1, "even": 2, "share": 0.5, "word": "A", "few": [1]}),
        ("bounds", {"count": 1, "even": 2, "share": 0.5, "word": "a", "few": []}),
        ("bounds", {"count": 1, "even": 2, "share": 0.5, "word": "a", "few": [-1]}),
        ("bounds", {"count": 1, "even": 2, "share": 0.5, "word": "a", "few": [1], "short": "longer"}),
        ("no other keys", {"only": 1, "more": 2}),
        ("literal", "c"),
        ("enum", "green"),
        ("positive number", 0),
        ("discriminated", {"pet": {"kind": "fish"}}),
        ("moments", {"at": "yesterday"}),
    ],
)
@pytest.mark.parametrize("road", ["module", "database"])
def test_what_the_flow_would_refuse_the_reference_refuses_as_well(kind: str, road: str, wrong: Any) -> None:
    flow, module = written(kind, road)
    for reader in (flow, module.zoo):
        with pytest.raises(InputError):
            decode_input(reader, json.dumps(wrong).encode())
    with pytest.raises(InputError):
        encode_input(UntypedFlowRef(described(flow)), wrong)
