"""The judgement of changed types against jsonschema and pydantic: what is accepted is valid, and not all is refused."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import from_json

from flowdsl import Flow
from flowdsl.model import compatibility
from flowdsl.model.adapters import JSON_CONFIG, ValueAdapter
from flowdsl.model.canonical import Canonical
from flowdsl.model.compatibility import differences, not_accepted
from flowdsl.model.schema_atoms import alternatives
from flowdsl.model.schemas import Schema

from .model_strategies import SCALARS, Typed, flows, typed
from .schema_pairs import arrays, bodies, canonical, closed, listed, numbers, objects, pairs, texts
from .schema_values import values_of

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def written(schema: Schema) -> st.SearchStrategy[Any]:
    """Values as writers write them."""
    return values_of(closed(schema.value))


def is_valid(value: Any, schema: Schema) -> bool:
    return bool(Draft202012Validator(schema.value).is_valid(value))


@relaxed
@given(pairs, st.data())
def test_what_is_accepted_is_valid(pair: tuple[Schema, Schema], data: st.DataObject) -> None:
    old, new = pair
    found = not_accepted(old, new)
    event(f"accepted: {not found}, equal: {old == new}")
    if not found:
        value = data.draw(written(old))
        assert is_valid(value, new), (old, new, value)


@relaxed
@given(bodies)
def test_each_schema_accepts_itself_and_differs_in_nothing(body: Any) -> None:
    schema = canonical(body)
    # Not the very same text, for that is answered without looking.
    again = Schema.of({"allOf": [schema.value]}) if schema.value is not True else schema
    assert not_accepted(again, schema) == ()
    assert not_accepted(schema, schema) == differences(schema, schema) == ()


@relaxed
@given(pairs)
def test_what_is_not_accepted_is_among_what_differs(pair: tuple[Schema, Schema]) -> None:
    old, new = pair
    if not_accepted(old, new):
        assert differences(old, new)
    assert bool(differences(old, new)) == (old != new)


def test_what_is_refused_as_decided_mostly_has_a_value_that_does_not_fit() -> None:
    # Were all that changed refused, or refused without reason, the properties above would hold as well.
    counts = {"accepted": 0, "refuted": 0, "refused": 0, "undecided": 0}

    @settings(relaxed, max_examples=150, derandomize=True, database=None)
    @given(pairs, st.data())
    def count(pair: tuple[Schema, Schema], data: st.DataObject) -> None:
        old, new = pair
        assume(old != new)
        found = not_accepted(old, new)
        if not found:
            counts["accepted"] += 1
        elif not any(item.is_decided for item in found):
            counts["undecided"] += 1
        else:
            values = data.draw(st.lists(written(old), min_size=8, max_size=20))
            wrong = [value for value in values if not is_valid(value, new)]
            counts["refuted" if wrong else "refused"] += 1

    count()
    assert counts["accepted"] > 15, counts
    assert counts["undecided"] < 15, counts
    assert counts["refuted"] > 3 * counts["refused"], counts


_OBJECT_FITS = compatibility._Judge._object_fits


def _without_required(judge: Any, old: Any, new: Any) -> Any:
    return [item for item in _OBJECT_FITS(judge, old, new) if not item.expected.endswith(", required")]


def of(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Schema, Schema]]:
    """Two schemas of one kind."""
    return st.tuples(kind, kind).map(lambda pair: (canonical(pair[0]), canonical(pair[1])))


FEW = st.sampled_from([{"type": "integer"}, {"type": "string"}, {"enum": ["x", 1]}, {"type": "number"}])
UNIONS = st.lists(FEW, min_size=2, max_size=3).map(lambda members: {"anyOf": members})
_MODULE, _JUDGE = "flowdsl.model.compatibility.", "flowdsl.model.compatibility._Judge."
PLANTED: dict[str, tuple[str, Any, Any]] = {
    "bounds of numbers do not matter": (f"{_MODULE}number_fits", lambda _old, _new: True, numbers()),
    "elements do not matter": (f"{_MODULE}item_at", lambda _atom, _index: True, arrays(FEW)),
    "what is not listed does not matter": (
        f"{_MODULE}keys_of",
        lambda atom: (atom.get("properties", {}), False),
        objects(FEW),
    ),
    "lengths and patterns of texts do not matter": (f"{_JUDGE}_text_fits", lambda _judge, _old, _new: [], texts()),
    "members of a union do not matter": (f"{_JUDGE}_fits_any", lambda _judge, _atom, _members: [], UNIONS),
    "the listed values do not matter": (f"{_JUDGE}_values_fit", lambda _judge, _values, _checks, _new: [], listed),
    "required keys do not matter": (f"{_JUDGE}_object_fits", _without_required, objects(FEW)),
    "one alternative is enough": (f"{_MODULE}alternatives", lambda *given: alternatives(*given)[:1], UNIONS),
    "kinds do not matter": (f"{_MODULE}kinds", lambda _atom: frozenset({"null"}), FEW),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, planted, kind = PLANTED[mistake]
    monkeypatch.setattr(target, planted)

    @settings(relaxed, max_examples=300, database=None, phases=[Phase.generate], derandomize=True)
    @given(of(kind), st.data())
    def judged(pair: tuple[Schema, Schema], data: st.DataObject) -> None:
        old, new = pair
        if not not_accepted(old, new):
            assert all(is_valid(value, new) for value in data.draw(st.lists(written(old), max_size=6)))

    with pytest.raises(AssertionError):
        judged()


# ---- against pydantic -----------------------------------------------------------------------------------------------

FieldOf = tuple[Typed, bool]


@st.composite
def fields(draw: st.DrawFn) -> FieldOf:
    declared, values = draw(typed)
    is_given: bool = draw(st.booleans())
    return ((declared, values) if is_given else (declared | None, st.none() | values)), is_given


def model_of(parts: dict[str, FieldOf], extra: Any) -> type[BaseModel]:
    known: dict[str, Any] = {
        name: (declared, Field() if is_given else Field(default=None))
        for name, ((declared, _), is_given) in parts.items()
    }
    return create_model("Made", __config__=ConfigDict(**JSON_CONFIG, extra=extra), **known)


@st.composite
def model_pairs(draw: st.DrawFn) -> tuple[Any, st.SearchStrategy[Any], Any]:
    """A model, values of it, and a model with other fields."""
    parts: dict[str, FieldOf] = draw(st.dictionaries(st.sampled_from("abcd"), fields(), max_size=3))
    changed = dict(parts)
    for name in draw(st.lists(st.sampled_from("abcd"), max_size=2)):
        if name in changed and draw(st.booleans()):
            del changed[name]
        else:
            changed[name] = draw(fields())
    extras = [draw(st.sampled_from(["ignore", "ignore", "forbid", "allow"])) for _ in range(2)]
    old, new = model_of(parts, extras[0]), model_of(changed, extras[1])
    given_values = st.fixed_dictionaries({name: values for name, ((_, values), _) in parts.items()})
    return old, given_values.map(lambda values: old.model_construct(**values)), new


@st.composite
def type_pairs(draw: st.DrawFn) -> tuple[Any, st.SearchStrategy[Any], Any]:
    old, values = draw(typed)
    return old, values, draw(typed | st.sampled_from(SCALARS))[0]


def read(declared: Any) -> Schema:
    return Canonical.of(ValueAdapter(declared).input_schema()).schema()


def wrote(declared: Any) -> Schema:
    return Canonical.of(ValueAdapter(declared).output_schema()).schema()


@relaxed
@given(model_pairs() | type_pairs(), st.data())
def test_what_is_accepted_pydantic_reads(pair: tuple[Any, st.SearchStrategy[Any], Any], data: st.DataObject) -> None:
    old, values, new = pair
    found = not_accepted(wrote(old), read(new))
    event(f"accepted: {not found}")
    if not found:
        text = ValueAdapter(old).encode(data.draw(values))
        assert Draft202012Validator(read(new).value).is_valid(from_json(text))
        ValueAdapter(new).decode(text)


@relaxed
@given(typed, st.data())
def test_what_is_written_of_a_type_can_be_read_as_that_type(pair: Typed, data: st.DataObject) -> None:
    declared, values = pair
    assert not_accepted(wrote(declared), read(declared)) == ()
    written_value = from_json(ValueAdapter(declared).encode(data.draw(values)))
    for schema in (wrote(declared), read(declared)):
        assert Draft202012Validator(schema.value).is_valid(written_value), schema


@settings(relaxed, max_examples=30)
@given(flows(), st.data())
def test_the_schema_of_a_steps_inputs_and_their_model_take_the_same(flow: Flow[Any, Any], data: st.DataObject) -> None:
    shapes = {step.slug: step.input_schema for step in flow.shape().steps}
    step = data.draw(st.sampled_from(flow.steps))
    schema, model = shapes[step.slug], flow.input_model(step.ref)
    assert schema is not None
    value = data.draw(values_of(schema.value))
    model.model_validate(value)
    needed = [name for name, field in model.model_fields.items() if field.is_required()]
    for name in needed:
        key = model.model_fields[name].alias or name
        without = {other: part for other, part in value.items() if other != key}
        assert not is_valid(without, schema)
        with pytest.raises(ValidationError):
            model.model_validate(without)
