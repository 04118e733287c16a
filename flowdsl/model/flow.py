"""Flow: functions chained into a graph, checked while it is written.

A flow is immutable; each method returns the next one. Its methods `step`, `array` and `map` are typed in `overloads`,
understood in `build`, and what comes of them is kept as one `Definition`.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import cached_property
from types import FrameType
from typing import Any, Generic, Optional, TypeVar, cast, overload

from pydantic import BaseModel

from flowdsl.errors import DefinitionError, Problem
from flowdsl.model.adapters import ValueAdapter, typed_dict
from flowdsl.model.arguments import begun, check_handler_given, check_lone_handler, told_when_wrong
from flowdsl.model.build import build_step
from flowdsl.model.catching import is_caught
from flowdsl.model.cautions import dropped, warnings_of
from flowdsl.model.chain import calling_frame, chain_goes_on, is_dropped, location_of, nearby, place_of
from flowdsl.model.definition import Definition
from flowdsl.model.dependencies import BuilderCall
from flowdsl.model.findings import Findings, definition_error
from flowdsl.model.gathering import open_gathering
from flowdsl.model.input_model import input_model_of
from flowdsl.model.options import Duration, ExecutorChoice, FlowOptions
from flowdsl.model.outputs import asked_for, check_returned, read_output
from flowdsl.model.overloads import In, Out, StepMethods
from flowdsl.model.problems import WHY, Code
from flowdsl.model.refs import NO_HANDLER, Handler, Ref
from flowdsl.model.shape import FlowShape
from flowdsl.model.shaping import shape_of
from flowdsl.model.startable import Startable
from flowdsl.model.step import StepSpec
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
        executor: where the handlers run: "async" (in the worker's event loop), "thread", "process", or a
            `concurrent.futures.Executor`; None leaves it to the worker. It is no part of the flow's shape.

    Durations may be a `timedelta` of whole seconds. All but `deadline` are defaults for the steps.

    Raises:
        DefinitionError: with every problem of the chain of calls, at its end.
    """

    @told_when_wrong
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
        executor: ExecutorChoice | None = None,
    ) -> None:
        options = {
            "max_attempts": max_attempts,
            "base_delay": base_delay,
            "max_delay": max_delay,
            "timeout": timeout,
            "queue": queue,
            "priority": priority,
            "deadline": deadline,
            "executor": executor,
        }
        self._begin((slug, input), options)

    def _begin(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        frame = calling_frame()
        self._definition = begun(args, options, frame)
        self._raise_at_end_of_chain(frame)

    def __repr__(self) -> str:
        definition = self._definition
        return f"<Flow {definition.slug}({type_name(definition.input_type)}): {', '.join(definition.slugs()) or 'no steps'}>"

    # ---- building ----

    @overload
    def returns(self, handler: Callable[..., Coroutine[Any, Any, R]], /) -> "Flow[In, R]": ...
    @overload
    def returns(self, handler: Callable[..., R], /) -> "Flow[In, R]": ...
    def returns(self, handler: Handler = NO_HANDLER, /, *more: Any, **options: Any) -> "Flow[In, Any]":
        """Let the run's output be the output of that step: `collect(f)` for a map step, `maybe(f)` if it can be skipped.

        Without it, a run's output is a dict of the outputs of its leaf steps by slug.
        """
        frame, definition = calling_frame(), self._definition
        findings = self._findings(frame, "returns")
        check_lone_handler(".returns", handler, more, options, findings)
        step = None if handler is NO_HANDLER else read_output(definition, handler, findings)
        if step is None:
            return self._next(definition.with_output(None, tuple(findings.items)), frame)
        check_returned(definition, step, handler, findings)
        is_maybe = asked_for(handler).is_maybe
        return self._next(definition.with_output(step.slug, tuple(findings.items), is_maybe=is_maybe), frame)

    def _added(self, method: str, handler: Handler, deps: tuple[Any, ...], options: dict[str, Any]) -> Any:
        frame = calling_frame()
        if handler is NO_HANDLER:
            findings = self._findings(frame, method)
            check_handler_given(f".{method}", options, findings)
            return self._next(replace(self._definition, pending=(*self._definition.pending, *findings.items)), frame)
        call = BuilderCall(
            method=method,
            handler=handler,
            deps=deps,
            options=options,
            location=location_of(frame),
            place=place_of(frame, method),
            nearby=nearby(frame),
        )
        step, problems = build_step(self._definition, call)
        return self._next(self._definition.with_step(step, problems), frame)

    def _findings(self, frame: FrameType | None, method: str) -> Findings:
        return Findings(
            flow_slug=self.slug,
            step_slug=None,
            location=location_of(frame),
            place=place_of(frame, method),
            known=self._definition.slugs,
            nearby=nearby(frame),
        )

    def _next(self, definition: Definition, frame: FrameType | None) -> "Flow[In, Any]":
        flow = cast("Flow[In, Any]", object.__new__(type(self)))
        flow._definition = definition  # noqa: SLF001 - another flow of this very class
        flow._raise_at_end_of_chain(frame)  # noqa: SLF001
        return flow

    def _raise_at_end_of_chain(self, frame: FrameType | None) -> None:
        definition, gathered = self._definition, open_gathering()
        if gathered is not None and is_dropped(frame):
            gathered.warnings.append(dropped(definition, location_of(frame)))
        if not definition.pending or chain_goes_on(frame):
            return
        if gathered is None:
            raise definition.error()
        if is_caught(frame, DefinitionError):
            gathered.caught += definition.problems()
            raise definition.error()
        gathered.add(definition.pending, definition.problems())

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
            raise DefinitionError([self._no_steps()])
        return shape_of(definition)

    def problems(self) -> tuple[Problem, ...]:
        """Return what keeps the flow from being used; none, unless it was defined while problems were gathered."""
        if self._definition.pending:
            return self._definition.problems()
        return () if self._definition.steps else (self._no_steps(),)

    def warnings(self) -> tuple[Problem, ...]:
        """Return what may not be as its author thinks, of a flow that works."""
        return warnings_of(self._sound)

    def _no_steps(self) -> Problem:
        fix = "Add one with .step(handler)."
        return self._problem(Code.NO_STEPS, "it has no steps.", fix, self._definition.location)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of its shape."""
        # Asked for with every start; looking it up by its shape means to hash the whole of it.
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
            findings = self._findings(calling_frame(), "step_for")
            findings.unknown(ref, Code.UNKNOWN_STEP, None)
            raise definition_error(findings.items, self._definition.steps)
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
        findings = self._findings(calling_frame(), "step_read_by")
        step = read_output(self._sound, handler, findings)
        if step is None or findings.items:
            raise definition_error(findings.items, self._definition.steps)
        return step

    def input_model(self, handler: Handler) -> type[BaseModel]:
        """Return the pydantic model of what a step is given whole: a field per dependency, and `run`."""
        return input_model_of(self.step_for(handler))

    @overload
    def output_type(self, handler: Callable[..., Coroutine[Any, Any, R]]) -> type[R]: ...
    @overload
    def output_type(self, handler: Callable[..., R]) -> type[R]: ...
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

    def _problem(self, code: Code, what: str, fix: str, location: str | None) -> Problem:
        return Problem(code=code, flow_slug=self.slug, location=location, what=what, fix=fix, why=WHY[code])
