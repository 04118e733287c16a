"""Flow: functions chained into a graph, checked while it is written.

A flow is immutable; each method returns the next one. Its methods `step`, `array` and `map` are typed in `overloads`,
understood in `build`, and what comes of them is kept as one `Definition`.
"""

from collections import ChainMap
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import cached_property
from types import FrameType
from typing import Any, Generic, Optional, TypeVar, cast, overload

from pydantic import BaseModel

from flowdsl.errors import DefinitionError, Problem
from flowdsl.model.adapters import ValueAdapter, typed_dict, why_not_json
from flowdsl.model.build import SLUG_RULE, BuilderCall, Pending, build_step, skip_reasons
from flowdsl.model.chain import calling_frame, chain_goes_on, location_of
from flowdsl.model.definition import Definition
from flowdsl.model.input_model import input_model_of
from flowdsl.model.options import Duration, FlowOptions, flow_options
from flowdsl.model.overloads import In, Out, StepMethods
from flowdsl.model.problems import Code, UnknownReference, definition_error
from flowdsl.model.refs import Handler, Ref, handler_name
from flowdsl.model.shape import FlowShape
from flowdsl.model.shaping import shape_of
from flowdsl.model.startable import Startable
from flowdsl.model.step import StepSpec, is_valid_slug
from flowdsl.model.typenames import type_name
from flowdsl.suggest import closest
from flowdsl.types import FlowSlug, StepSlug

R = TypeVar("R")


class Flow(StepMethods[In, Out], Startable[In, Out], Generic[In, Out]):
    """A flow from an input of type `In` to an output of type `Out`.

    Args:
        slug: the flow's name: letters, digits and underscores, no digit first, at most 128, not `run`.
        input: the type of a run's input: anything pydantic can turn into JSON and back.
        max_attempts: how often a task is tried before it fails, at least 1.
        base_delay: attempt n + 1 waits `base_delay` * 2^n seconds after attempt n failed, plus up to a tenth.
        max_delay: seconds the delay between attempts grows to at most.
        timeout: seconds one attempt may take, at least 1.
        queue: the queue its tasks go to; None for the one named like the flow.
        priority: tasks of a higher priority are claimed first.
        deadline: seconds from a run's start to its end, after which it fails; None for no limit.

    Durations may be a `timedelta` of whole seconds. All from `max_attempts` to `priority` are defaults for the steps.

    Raises:
        DefinitionError: with every problem of the chain of calls, at its end.
    """

    def __init__(
        self,
        slug: str,
        input: type[In],
        *,
        max_attempts: int = 3,
        base_delay: Duration = 5,
        max_delay: Duration = 3600,
        timeout: Duration = 60,
        queue: str | None = None,
        priority: int = 0,
        deadline: Duration | None = None,
    ) -> None:
        frame = calling_frame()
        given = {
            "max_attempts": max_attempts,
            "base_delay": base_delay,
            "max_delay": max_delay,
            "timeout": timeout,
            "queue": queue,
            "priority": priority,
            "deadline": deadline,
        }
        options, bad_options = flow_options(given)
        location = location_of(frame)
        definition = Definition(slug=FlowSlug(str(slug)), input_type=input, options=options, location=location)
        problems = [*_flow_problems(definition), *((Code.BAD_OPTION, f"{bad.what}.", bad.fix) for bad in bad_options)]
        pending = tuple(
            Problem(code=code, flow_slug=definition.slug, location=location, what=what, fix=fix)
            for code, what, fix in problems
        )
        self._definition = definition.with_output(None, pending)
        self._raise_at_end_of_chain(frame)

    def __repr__(self) -> str:
        definition = self._definition
        return f"<Flow {definition.slug}({type_name(definition.input_type)}): {', '.join(definition.slugs()) or 'no steps'}>"

    # ---- building ----

    @overload
    def returns(self, handler: Callable[..., Coroutine[Any, Any, R]], /) -> "Flow[In, R]": ...
    @overload
    def returns(self, handler: Callable[..., R], /) -> "Flow[In, R]": ...
    def returns(self, handler: Handler, /) -> "Flow[In, Any]":
        """Let the run's output be the output of that step: `collect(f)` for a map step, `maybe(f)` if it can be skipped.

        Without it, a run's output is a dict of the outputs of its leaf steps by slug.
        """
        frame = calling_frame()
        location = location_of(frame)
        step, problems = self._read(handler, location)
        is_maybe = isinstance(handler, Ref) and handler.is_maybe
        if step is None:
            return self._next(self._definition.with_output(None, problems), frame)
        problems = (*problems, *self._maybe_problems(step, handler, location))
        return self._next(self._definition.with_output(step.slug, problems, is_maybe=is_maybe), frame)

    def _added(self, method: str, handler: Handler, deps: tuple[Any, ...], options: dict[str, Any]) -> Any:
        frame = calling_frame()
        call = BuilderCall(
            method=method,
            handler=handler,
            deps=deps,
            options=options,
            location=location_of(frame),
            nearby={} if frame is None else ChainMap(frame.f_locals, frame.f_globals),
        )
        step, problems = build_step(self._definition, call)
        return self._next(self._definition.with_step(step, problems), frame)

    def _next(self, definition: Definition, frame: FrameType | None) -> "Flow[In, Any]":
        flow = cast("Flow[In, Any]", object.__new__(type(self)))
        flow._definition = definition  # noqa: SLF001 - another flow of this very class
        flow._raise_at_end_of_chain(frame)  # noqa: SLF001
        return flow

    def _raise_at_end_of_chain(self, frame: FrameType | None) -> None:
        if self._definition.pending and not chain_goes_on(frame):
            raise self._definition.error()

    @property
    def _sound(self) -> Definition:
        """The definition, for any use but building: with problems there is none."""
        if self._definition.pending:
            raise self._definition.error()
        return self._definition

    # ---- reading ----

    @property
    def slug(self) -> FlowSlug:
        """The flow's name."""
        return self._definition.slug

    @property
    def input_type(self) -> type[In]:
        """The type of a run's input."""
        return cast("type[In]", self._definition.input_type)

    @property
    def options(self) -> FlowOptions:
        """The options that hold for all steps that do not say otherwise."""
        return self._definition.options

    @property
    def location(self) -> str:
        """Where the flow is defined, as `file.py:41`."""
        return self._definition.location

    @property
    def steps(self) -> tuple[StepSpec, ...]:
        """The steps in the order of their definition, which is a topological order."""
        return self._sound.steps

    @property
    def output_step(self) -> StepSlug | None:
        """The step whose output is the run's, None when the run's output is that of all leaf steps."""
        return self._definition.output_step

    def shape(self) -> FlowShape:
        """Return the flow as pure data, to compile, store and compare."""
        return self._shape

    @cached_property
    def _shape(self) -> FlowShape:
        definition = self._sound
        if not definition.steps:
            fix = "Add one with .step(handler)."
            raise DefinitionError([self._problem(Code.NO_STEPS, "it has no steps.", fix, definition.location)])
        return shape_of(definition)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its shape."""
        return self._shape.fingerprint

    @property
    def returns_leaves(self) -> bool:
        """Whether the run's output is a dict of the outputs of its leaf steps, by slug."""
        return self.output_step is None

    @property
    def when_outdated(self) -> None:
        """Nothing to add to what the database says: a flow is compiled."""
        return

    def step_for(self, handler: Handler) -> StepSpec:
        """Return the step of a handler, `named`, `collect` or `maybe` included; DefinitionError if there is none."""
        ref = handler.handler if isinstance(handler, Ref) else handler
        step = self._sound.find(ref)
        if step is None:
            raise definition_error([self._unknown(ref, location_of(calling_frame()))], self._definition.steps)
        return step

    def step_by_slug(self, slug: str) -> StepSpec:
        """Return the step of that slug; DefinitionError if there is none."""
        step = next((step for step in self._sound.steps if step.slug == slug), None)
        if step is None:
            known = self._definition.slugs()
            match = closest(slug, known)
            fix = f"Did you mean '{match}'? Steps: " if match is not None else "Steps: "
            problem = self._problem(Code.UNKNOWN_STEP, f"unknown step '{slug}'.", f"{fix}{', '.join(known)}.", None)
            raise DefinitionError([problem])
        return step

    def step_read_by(self, handler: Handler) -> StepSpec:
        """Return the step whose output a typed lookup means; a map step has to be asked for as `collect(handler)`.

        `maybe(handler)` is the same step, for callers who give None back when it was skipped.
        """
        step, problems = self._read(handler, location_of(calling_frame()))
        if step is None or problems:
            raise definition_error(problems, self._sound.steps)
        return step

    def input_model(self, handler: Handler) -> type[BaseModel]:
        """Return the pydantic model of what a step is given whole: a field per dependency, and `run`."""
        return input_model_of(self.step_for(handler))

    def output_type(self, handler: Handler) -> Any:
        """Return the type of one call's output, of all results for `collect(handler)`, and for `maybe` that or None."""
        step = self.step_for(handler)
        if not isinstance(handler, Ref):
            return step.output_type
        declared = step.step_output_type if handler.collects else step.output_type
        return Optional[declared] if handler.is_maybe else declared  # noqa: UP045 - of any type

    @cached_property
    def input_adapter(self) -> ValueAdapter:
        """Between a run's input and JSON."""
        return ValueAdapter(self._sound.input_type)

    @cached_property
    def output_adapter(self) -> ValueAdapter:
        """Between a run's output and JSON."""
        if self.output_step is not None:
            step = self.step_by_slug(self.output_step)
            if self._definition.output_is_maybe:
                return ValueAdapter(Optional[step.step_output_type])  # noqa: UP045 - of any type
            return step.step_output
        waited_for = {slug for step in self.steps for slug in step.dependency_slugs}
        leaves: dict[str, Any] = {
            step.slug: step.step_output_type for step in self.steps if step.slug not in waited_for
        }
        return ValueAdapter(typed_dict("Outputs", leaves, total=False))

    def _read(self, handler: Handler, location: str) -> tuple[StepSpec | None, Pending]:
        """Find the step whose output is asked for, and what is wrong with the way it is asked for."""
        ref = handler.handler if isinstance(handler, Ref) else handler
        step = self._definition.find(ref)
        if step is None:
            return None, (self._unknown(ref, location),)
        asked = handler if isinstance(handler, Ref) else Ref(handler)
        if step.is_map and not asked.collects:
            right = handler_name(replace(asked, collects=True))
            what, fix = f"'{step.slug}' is a map step, whose results are a list.", f"Ask for {right}."
            return step, (self._problem(Code.COLLECT_FORGOTTEN, what, fix, location),)
        if asked.collects and not step.is_map:
            name = handler_name(ref)
            what, fix = f"'{step.slug}' is no map step, so there is nothing to collect.", f"Ask for {name} itself."
            return step, (self._problem(Code.COLLECT_OF_NO_MAP, what, fix, location),)
        return step, ()

    def _maybe_problems(self, step: StepSpec, handler: Handler, location: str) -> Pending:
        asked = handler if isinstance(handler, Ref) else Ref(handler)
        if step.has_unknown_mode:
            return ()
        if asked.is_maybe and not step.can_be_skipped:
            right = handler_name(replace(asked, is_maybe=False)) if asked.collects else handler_name(asked.handler)
            what = f"{handler_name(asked)} is never None: '{step.slug}' is never skipped."
            return (self._problem(Code.MAYBE_WITHOUT_SKIP, what, f"Return {right} itself.", location),)
        if not asked.is_maybe and step.can_be_skipped:
            right, optional = handler_name(replace(asked, is_maybe=True)), type_name(Optional[step.step_output_type])  # noqa: UP045
            what = f"'{step.slug}' can be skipped ({skip_reasons(step)}), and then the run has no output."
            fix = f"Return {right}: the run's output is {optional} then."
            return (self._problem(Code.MAYBE_FORGOTTEN, what, fix, location),)
        return ()

    def _unknown(self, ref: Any, location: str) -> UnknownReference:
        return UnknownReference(
            code=Code.UNKNOWN_STEP,
            flow_slug=self.slug,
            step_slug=None,
            location=location,
            ref=ref,
            known=self._definition.slugs(),
        )

    def _problem(self, code: Code, what: str, fix: str, location: str | None) -> Problem:
        return Problem(code=code, flow_slug=self.slug, location=location, what=what, fix=fix)


def _flow_problems(definition: Definition) -> list[tuple[Code, str, str]]:
    problems = []
    if not is_valid_slug(definition.slug):
        problems.append((Code.BAD_SLUG, f"'{definition.slug}' cannot name a flow.", SLUG_RULE))
    reason = why_not_json(definition.input_type)
    if reason is not None:
        what = f"its input type {type_name(definition.input_type)} cannot be turned into JSON: {reason}."
        problems.append((Code.NO_JSON, what, "Use a type pydantic knows: a model, a dataclass, list[str], …"))
    return problems
