"""The handlers of all flows a worker serves, each with its codecs, found by flow and step.

Adapters are built when the worker starts, not with the first task: building one takes milliseconds, and a type that
pydantic cannot handle should stop the start, not an attempt.
"""

from collections.abc import Callable, Iterable
from typing import Any

from flowdsl.errors import ConfigError, InputError, ValueProblem
from flowdsl.gateway.rows import ClaimedTask
from flowdsl.model.codec import decode_arguments, encode_output
from flowdsl.model.context import Cancellation, Context
from flowdsl.model.flow import Flow
from flowdsl.model.step import StepSpec
from flowdsl.runtime.places import Elsewhere, Place
from flowdsl.types import FlowSlug, StepSlug

OUTPUT_BYTES_MAX = 2**28 - 1
"""PostgreSQL refuses a jsonb array or object of more; a larger value would cost a round trip to find out."""


class PreparedStep:
    """A step's handler, ready to be called with what a claimed task brings."""

    __slots__ = ("_spec", "_takes_context", "handler", "is_async", "place")

    def __init__(self, spec: StepSpec) -> None:
        self._spec = spec
        self.handler: Callable[..., Any] = spec.handler
        self.is_async: bool = spec.is_async
        self.place: Place | Elsewhere = Place.LOOP if spec.is_async else Place.THREAD
        self._takes_context = spec.takes_context
        spec.task_output  # noqa: B018 - builds the cached adapters
        if spec.is_map:
            spec.element  # noqa: B018
        if spec.deps:
            spec.inputs  # noqa: B018

    def arguments(self, task: ClaimedTask, cancellation: Cancellation) -> tuple[Any, ...]:
        """Decode what the handler is called with: the element of a map task, the whole dependencies, the context.

        Raises:
            InputError: the JSON does not fit the handler's types.
        """
        arguments = decode_arguments(self._spec, task.input, task.element)
        return (*arguments, context_of(task, cancellation)) if self._takes_context else arguments

    def encode(self, value: Any) -> bytes:
        """Encode what the handler returned.

        Raises:
            InputError: it is not what the handler declares, or JSON or the database cannot hold it.
        """
        output = encode_output(self._spec, value)
        if len(output) > OUTPUT_BYTES_MAX:
            size = ValueProblem(
                location="", message=f"{len(output)} bytes of JSON; the database holds {OUTPUT_BYTES_MAX}"
            )
            raise InputError(self._spec.flow_slug, self._spec.slug, "output", (size,))
        return output


class Catalog:
    """Finds the prepared step of a claimed task.

    Raises:
        ConfigError: there is no flow to serve, or two have the same slug.
    """

    def __init__(self, flows: Iterable[Flow[Any, Any]]) -> None:
        self.flows = tuple(flows)
        slugs = [flow.slug for flow in self.flows]
        if not slugs:
            raise ConfigError("a worker needs at least one flow to serve")
        repeated = sorted({slug for slug in slugs if slugs.count(slug) > 1})
        if repeated:
            raise ConfigError(f"a worker cannot serve two flows of the same slug: {', '.join(repeated)}")
        self._steps: dict[tuple[FlowSlug, StepSlug], PreparedStep] = {
            (flow.slug, spec.slug): PreparedStep(spec) for flow in self.flows for spec in flow.steps
        }

    def find(self, task: ClaimedTask) -> PreparedStep:
        """Return the step a task belongs to; raises LookupError."""
        step = self._steps.get((task.flow_slug, task.step_slug))
        if step is None:
            raise LookupError(f"this worker has no handler for step '{task.step_slug}' of flow '{task.flow_slug}'")
        return step

    def step(self, flow_slug: FlowSlug, step_slug: StepSlug) -> PreparedStep:
        """Return a step by its names; raises LookupError."""
        return self._steps[flow_slug, step_slug]

    def fingerprints(self) -> list[tuple[str, str]]:
        """Return (slug, fingerprint of the shape) of each flow."""
        return [(flow.slug, flow.shape().fingerprint) for flow in self.flows]

    def queues(self) -> frozenset[str]:
        """Return the queues the flows' tasks lie in, as far as their definitions tell."""
        return frozenset(
            spec.options.queue or flow.options.queue or flow.slug for flow in self.flows for spec in flow.steps
        )


def context_of(task: ClaimedTask, cancellation: Cancellation) -> Context:
    """Return what a handler may know of its attempt."""
    return Context(
        run_id=task.run_id,
        flow_slug=task.flow_slug,
        flow_version=task.flow_version,
        step_slug=task.step_slug,
        task_index=task.task_index,
        attempt=task.attempt,
        max_attempts=task.max_attempts,
        cancellation=cancellation,
    )
