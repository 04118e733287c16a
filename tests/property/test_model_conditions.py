"""No pattern that could match is refused: whatever a value of a type contains, its schema lets through."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl import Flow
from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.conditions import Pattern
from flowdsl.model.containment import misfits
from flowdsl.model.input_model import input_model_of

from .model_strategies import flows, texts, typed_values

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def part_of(value: Any) -> st.SearchStrategy[Any]:
    """Draw something the JSON value contains, as PostgreSQL's `@>` means it."""
    if isinstance(value, dict):
        kept = st.lists(st.sampled_from(sorted(value)), unique=True) if value else st.just([])
        return kept.flatmap(lambda keys: st.fixed_dictionaries({key: part_of(value[key]) for key in keys}))
    if isinstance(value, list):
        if not value:
            return st.just([])
        return st.lists(st.sampled_from(value).flatmap(part_of), max_size=4)
    return st.just(value)


@relaxed
@given(typed_values, st.data())
def test_what_a_written_value_contains_is_never_refused(pair: tuple[Any, Any], data: st.DataObject) -> None:
    declared, value = pair
    adapter = ValueAdapter(declared)
    written = json.loads(adapter.encode(value))
    pattern = data.draw(part_of(written))
    assert misfits(pattern, adapter.written_schema()) == []


@relaxed
@given(typed_values, typed_values)
def test_what_is_said_about_a_misfit_can_always_be_said(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    schema = ValueAdapter(one[0]).written_schema()
    for misfit in misfits(json.loads(ValueAdapter(other[0]).encode(other[1])), schema):
        assert misfit.what
        for mended in misfit.mended:
            left = [item.what for item in misfits(mended, schema) if item.path == misfit.path]
            assert misfit.what not in left


@relaxed
@given(st.dictionaries(texts, st.integers() | st.none() | st.lists(texts, max_size=2), max_size=4))
def test_a_pattern_is_the_same_in_whatever_order_it_was_written(value: dict[str, Any]) -> None:
    pattern = Pattern.of(value)
    assert pattern == Pattern.of(dict(reversed(value.items())))
    assert pattern.value == value


@relaxed
@given(flows())
def test_an_input_may_be_absent_exactly_where_the_step_before_may_be_skipped_alone(flow: Flow[Any, Any]) -> None:
    alone = {step.slug for step in flow.steps if step.conditions.skips_alone}
    for step in flow.steps:
        required = {
            field.alias or name for name, field in input_model_of(step).model_fields.items() if field.is_required()
        }
        assert {dep.slug for dep in step.deps} - required == {dep.slug for dep in step.deps if dep.slug in alone}
