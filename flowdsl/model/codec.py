"""What the worker and the client need of JSON: the values of a flow and its steps, out and in.

Every failure is an InputError that names the flow, the step and the places in the value.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from flowdsl.errors import InputError, ValueProblem
from flowdsl.model.adapters import MisfitError
from flowdsl.model.flow import Flow
from flowdsl.model.step import StepSpec

In = TypeVar("In")
Out = TypeVar("Out")


def encode_input(flow: Flow[In, Any], value: In) -> bytes:
    """Return the JSON of a run's input; strict: the value has to be of the flow's input type already."""
    with _told(flow.slug, None, "input"):
        return flow.input_adapter.encode(value)


def decode_input(flow: Flow[In, Any], data: bytes) -> In:
    """Return the run's input a JSON text holds."""
    with _told(flow.slug, None, "input"):
        value: In = flow.input_adapter.decode(data)
        return value


def decode_output(flow: Flow[Any, Out], data: bytes) -> Out:
    """Return a completed run's output: that of the step named by `.returns`, else a dict of leaf outputs by slug."""
    if flow.output_step is None and data == b"null":  # every leaf was skipped
        data = b"{}"
    with _told(flow.slug, flow.output_step, "output"):
        value: Out = flow.output_adapter.decode(data)
        return value


def encode_output(step: StepSpec, value: object) -> bytes:
    """Return the JSON of what a handler returned; strict: a value of another type is an error, not converted."""
    with _told(step.flow_slug, step.slug, "output"):
        return step.task_output.encode(value)


def decode_step_output(step: StepSpec, data: bytes) -> Any:
    """Return the output of a whole step: for a map step the list of its tasks' outputs."""
    with _told(step.flow_slug, step.slug, "output"):
        return step.step_output.decode(data)


def decode_arguments(step: StepSpec, input: bytes | None, element: bytes | None) -> tuple[Any, ...]:
    """Return the handler's positional arguments, but for a Context.

    `input` is the JSON object of whole dependencies by slug (and `run`), `element` the JSON of a map task's element.
    """
    arguments: tuple[Any, ...] = ()
    if step.is_map:
        with _told(step.flow_slug, step.slug, "element"):
            arguments = (step.element.decode(_present(element)),)
    if step.deps:
        with _told(step.flow_slug, step.slug, "input"):
            arguments += step.inputs.decode(_present(input))
    return arguments


def _present(data: bytes | None) -> bytes:
    if data is None:
        raise MisfitError((ValueProblem(location="", message="it is missing"),))
    return data


@contextmanager
def _told(flow_slug: str, step_slug: str | None, subject: str) -> Iterator[None]:
    try:
        yield
    except MisfitError as error:
        raise InputError(flow_slug, step_slug, subject, error.problems) from error
