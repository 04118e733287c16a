"""A handler that can be called somewhere else: JSON goes in, JSON or the record of a failure comes back.

Decoding, checking and encoding happen over there, beside the handler. So nothing but bytes crosses the border, the worker's
event loop does none of that work, and an exception that cannot be pickled never has to be: it is described where it was raised.
"""

import asyncio
import pickle
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from flowdsl.errors import ConfigError, InputError
from flowdsl.gateway.rows import AttemptFailure
from flowdsl.model.codec import decode_arguments
from flowdsl.model.conditions import Conditions
from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.options import StepOptions
from flowdsl.model.step import StepSpec
from flowdsl.model.typenames import type_name
from flowdsl.runtime.failures import failure_of, input_failure, message_of
from flowdsl.runtime.steps import PreparedStep

Outcome: TypeAlias = bytes | AttemptFailure
"""What came of an attempt: the JSON of the output, or how it failed."""

# A process of a cluster may serve many workers, one after another.
_KEPT_MAX: Final = 1_000


class RemoteCall:
    """One step's handler between JSON and JSON: `call(input, element, context)`.

    It pickles by reference, as the handler and the types of what it takes and returns, under a token: where it is unpickled
    a second time, it is the same object with the same codecs, which take milliseconds to build.
    """

    def __init__(self, spec: StepSpec, token: str | None = None) -> None:
        self.__name__ = str(spec.slug)
        self.spec = spec
        self.token = token or uuid.uuid4().hex
        self._prepared: PreparedStep | None = None

    def __call__(self, input: bytes | None, element: bytes | None, context: Context) -> Outcome:
        """Run the handler, an async one in an event loop of its own; raises nothing."""
        return self.perform(input, element, context, _in_own_loop)

    def perform(
        self, input: bytes | None, element: bytes | None, context: Context, awaited: Callable[[Awaitable[Any]], Any]
    ) -> Outcome:
        """Run the handler; `awaited` waits for what an async one returns."""
        try:
            step = self.prepared
            arguments = decode_arguments(self.spec, input, element)
        except BaseException as error:  # validators are the users' code as well
            return input_failure(error) if isinstance(error, InputError) else failure_of(error)
        try:
            value = step.handler(*arguments, context) if self.spec.takes_context else step.handler(*arguments)
            if isinstance(value, Awaitable):
                value = awaited(value)
            return step.encode(value)
        except BaseException as error:
            return failure_of(error)

    @property
    def prepared(self) -> PreparedStep:
        """The step with its codecs, which are built when they are first asked for."""
        if self._prepared is None:
            self._prepared = PreparedStep(self.spec)
        return self._prepared

    def __reduce__(self) -> tuple[Any, ...]:
        spec = self.spec
        return _restored, (
            self.token, spec.handler, spec.flow_slug, spec.slug, spec.step_type, spec.deps, spec.element_type,
            spec.output_type, spec.is_async, spec.takes_context,
        )  # fmt: skip


_restored_calls: dict[str, RemoteCall] = {}


def _restored(
    token: str, handler: Any, flow_slug: Any, slug: Any, step_type: Any, deps: Any, element_type: Any, output_type: Any,
    is_async: bool, takes_context: bool,
) -> RemoteCall:  # fmt: skip
    call = _restored_calls.get(token)
    if call is not None:
        return call
    spec = StepSpec(
        flow_slug=flow_slug,
        slug=slug,
        step_type=step_type,
        is_array=False,
        handler=handler,
        ref=handler,
        deps=deps,
        map_over=None,
        options=StepOptions(),
        location="",
        is_async=is_async,
        takes_context=takes_context,
        output_type=output_type,
        element_type=element_type,
        conditions=Conditions(),
        cascaded_from=None,
    )
    while len(_restored_calls) >= _KEPT_MAX:
        _restored_calls.pop(next(iter(_restored_calls)), None)
    return _restored_calls.setdefault(token, RemoteCall(spec, token))


def _in_own_loop(value: Awaitable[Any]) -> Any:
    return asyncio.run(awaiting(value))


async def awaiting(value: Awaitable[Any]) -> Any:
    """Wait for any awaitable in a coroutine, which is all that some callers can run."""
    return await value


def remote_calls(flows: Sequence[Flow[Any, Any]]) -> list[RemoteCall]:
    """Return the calls of all steps of flows, to try on the other side whether they can be unpickled."""
    return [RemoteCall(spec) for flow in flows for spec in flow.steps]


def check_picklable(calls: Sequence[RemoteCall]) -> None:
    """Make sure that handlers can be found by another process, by their module and name.

    Raises:
        ConfigError: naming every step that cannot go there, why, and what would help.
    """
    problems = [problem for call in calls for problem in _obstacles(call)]
    if problems:
        raise ConfigError(
            "these handlers cannot run in another process:\n" + "\n".join(f"  {problem}" for problem in problems),
            hint="A process finds functions and classes by their module and name: define them at the top level of a module"
            " that can be imported, or give the step another executor.",
        )


def _obstacles(call: RemoteCall) -> list[str]:
    if _why_not(call) is None:
        return []
    spec = call.spec
    where = f"flow '{spec.flow_slug}', step '{spec.slug}' ({spec.location})"
    parts: list[tuple[str, Any]] = [("its handler", spec.handler)]
    if spec.is_map:
        parts.append((f"the type of its element, {type_name(spec.element_type)},", spec.element_type))
    parts += [(f"the type of its input '{dep.slug}', {type_name(dep.type)},", dep.type) for dep in spec.deps]
    parts.append((f"its output type {type_name(spec.output_type)}", spec.output_type))
    found = [f"{where}: {what} cannot be pickled: {why}" for what, part in parts if (why := _why_not(part)) is not None]
    return found or [f"{where}: it cannot be pickled: {_why_not(call)}"]


def _why_not(value: Any) -> str | None:
    try:
        pickle.dumps(value)
    except Exception as error:  # an object may do anything when it is pickled
        return message_of(error)
    return None
