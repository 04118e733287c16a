import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from flowdsl import Flow, collect
from flowdsl.errors import InputError
from flowdsl.model.assignable import assignable
from flowdsl.model.codec import (
    decode_arguments,
    decode_input,
    decode_output,
    decode_step_output,
    encode_input,
    encode_output,
)
from flowdsl.model.step import StepSpec

from .model_strategies import LIST, handler_of, typed, typed_values

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def step_of(declared: Any) -> StepSpec:
    flow: Any = Flow("coding", str)
    step: StepSpec = flow.step(handler_of("handler", [str], declared)).steps[0]
    return step


@relaxed
@given(typed_values)
def test_every_output_comes_back_as_it_was(pair: tuple[Any, Any]) -> None:
    declared, value = pair
    step = step_of(declared)
    data = encode_output(step, value)
    json.loads(data)
    back = decode_step_output(step, data)
    assert back == value
    assert type(back) is type(value)
    assert encode_output(step, back) == data


@relaxed
@given(typed_values)
def test_every_input_comes_back_as_it_was(pair: tuple[Any, Any]) -> None:
    declared, value = pair
    untyped: Any = Flow
    flow = untyped("coding", declared).step(handler_of("handler", [declared], declared))
    data = encode_input(flow, value)
    assert decode_input(flow, data) == value
    assert decode_arguments(flow.steps[0], b'{"run":%s}' % data, None) == (value,)
    assert decode_output(flow, b'{"handler":%s}' % data) == {"handler": value}


@relaxed
@given(typed, st.data())
def test_the_outputs_of_a_map_make_its_list(pair: tuple[Any, st.SearchStrategy[Any]], data: st.DataObject) -> None:
    declared, values = pair
    each, last = handler_of("each", [str], declared), handler_of("last", [LIST[declared]], int)
    untyped: Any = Flow("coding", list[str])
    flow = untyped.map(each).step(last, collect(each)).returns(collect(each))
    outputs = data.draw(st.lists(values, max_size=3))
    joined = b"[%s]" % b",".join(encode_output(flow.step_for(each), output) for output in outputs)
    assert decode_step_output(flow.step_for(each), joined) == outputs
    assert decode_arguments(flow.step_for(last), b'{"each":%s}' % joined, None) == (outputs,)
    assert decode_output(flow, joined) == outputs


@relaxed
@given(typed_values, typed)
def test_a_value_of_another_type_is_refused_or_comes_back_as_pydantic_sees_it(
    pair: tuple[Any, Any], other: tuple[Any, st.SearchStrategy[Any]]
) -> None:
    step = step_of(other[0])
    try:
        data = encode_output(step, pair[1])
    except InputError:
        return
    valid: Any = TypeAdapter(other[0]).validate_python(pair[1])
    assert decode_step_output(step, data) == valid


@relaxed
@given(typed_values, typed)
def test_a_value_fits_each_type_its_own_type_is_assignable_to(
    pair: tuple[Any, Any], other: tuple[Any, st.SearchStrategy[Any]]
) -> None:
    # The one exception: a datetime is a date to Python, but as a date it would lose its time, so it is refused.
    if assignable(pair[0], other[0]) and "datetime.datetime" not in str(pair[0]):
        encode_output(step_of(other[0]), pair[1])


@relaxed
@given(typed, typed)
def test_every_type_is_assignable_to_itself_and_to_unions_with_it(
    one: tuple[Any, st.SearchStrategy[Any]], other: tuple[Any, st.SearchStrategy[Any]]
) -> None:
    assert assignable(one[0], one[0])
    assert assignable(one[0], one[0] | other[0])
    assert assignable(one[0], Any)
    assert assignable(one[0], object)
    assert assignable(Any, one[0])
    if assignable(one[0] | other[0], one[0]):
        assert assignable(other[0], one[0])
