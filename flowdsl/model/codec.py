"""What the worker and the client need of JSON: the values of a flow and its steps, out and in.

Every failure is an InputError that names the flow, the step and the places in the value.
"""

from typing import Any

from flowdsl.errors import InputError, ValueProblem
from flowdsl.model.adapters import InputsAdapter, MisfitError, ValueAdapter
from flowdsl.model.startable import In, Out, ReadableStep, Startable
from flowdsl.model.step import StepSpec


def encode_input(flow: Startable[In, Any], value: In) -> bytes:
    """Return the JSON of a run's input; strict: the value has to be of the flow's input type already."""
    return _encoded(flow.input_adapter, value, flow.slug, None, "input")


def decode_input(flow: Startable[In, Any], data: bytes) -> In:
    """Return the run's input a JSON text holds."""
    value: In = _decoded(flow.input_adapter, data, flow.slug, None, "input")
    return value


def decode_output(flow: Startable[Any, Out], data: bytes) -> Out:
    """Return a completed run's output: that of the step named by `.returns`, else a dict of leaf outputs by slug."""
    if flow.returns_leaves and data == b"null":  # every leaf was skipped
        data = b"{}"
    value: Out = _decoded(flow.output_adapter, data, flow.slug, flow.output_step, "output")
    return value


def encode_output(step: StepSpec, value: object) -> bytes:
    """Return the JSON of what a handler returned; strict: a value of another type is an error, not converted."""
    return _encoded(step.task_output, value, step.flow_slug, step.slug, "output")


def decode_step_output(step: ReadableStep, data: bytes) -> Any:
    """Return the output of a whole step: for a map step the list of its tasks' outputs."""
    return _decoded(step.step_output, data, step.flow_slug, step.slug, "output")


def decode_arguments(step: StepSpec, input: bytes | None, element: bytes | None) -> tuple[Any, ...]:
    """Return the handler's positional arguments, but for a Context.

    `input` is the JSON object of whole dependencies by slug (and `run`), `element` the JSON of a map task's element.
    """
    arguments: tuple[Any, ...] = ()
    if step.is_map:
        arguments = (_decoded(step.element, element, step.flow_slug, step.slug, "element"),)
    if step.deps:
        arguments += _decoded(step.inputs, input, step.flow_slug, step.slug, "input")
    return arguments


# Called for every task of a worker, so nothing here is dearer than a function call and a try.


def _encoded(adapter: ValueAdapter, value: object, flow_slug: str, step_slug: str | None, subject: str) -> bytes:
    try:
        return adapter.encode(value)
    except MisfitError as error:
        raise InputError(flow_slug, step_slug, subject, error.problems) from error


def _decoded(
    adapter: ValueAdapter | InputsAdapter, data: bytes | None, flow_slug: str, step_slug: str | None, subject: str
) -> Any:
    if data is None:
        missing = ValueProblem(location="", message="it is missing")
        raise InputError(flow_slug, step_slug, subject, (missing,))
    try:
        return adapter.decode(data)
    except MisfitError as error:
        raise InputError(flow_slug, step_slug, subject, error.problems) from error
