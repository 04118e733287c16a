"""What a step is, once its handler, dependencies and options are understood."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from flowdsl.model.adapters import InputsAdapter, ValueAdapter
from flowdsl.model.conditions import Conditions
from flowdsl.model.options import StepOptions
from flowdsl.model.refs import Named, same_handler
from flowdsl.types import FlowSlug, StepSlug, StepType

RUN: Final = "run"
"""The name of the run's input among a step's inputs, which is why no step may be called so."""

MAX_DEPENDENCIES: Final = 10
_SLUG: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def is_valid_slug(slug: object) -> bool:
    """Tell whether something can name a flow or a step: 1-128 letters, digits, underscores, no digit first, not `run`.

    >>> is_valid_slug("fetch_2"), is_valid_slug("2nd"), is_valid_slug("run")
    (True, False, False)
    """
    return isinstance(slug, str) and slug != RUN and _SLUG.fullmatch(slug) is not None


class DepKind(StrEnum):
    """Where a dependency's value comes from."""

    RUN = "run"
    STEP = "step"
    COLLECT = "collect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dep:
    """One dependency: the run's input (slug `run`), a step's output, or all results of a map step.

    `type` is what the handler is given: the dependency's own type, or the parameter's where the former says nothing.
    `is_maybe` tells that it is None when the step was skipped.
    """

    kind: DepKind
    slug: str
    type: Any
    is_maybe: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class StepSpec:
    """One step of a flow.

    `deps` are the dependencies given whole, in the order of the handler's parameters; for a map step the element comes
    before them and is an element of `map_over`. `output_type` is the output of one task: a map step's own output is a
    list of it. `ref` is what other steps call this one by: the handler, or what `named` returned. `cascaded_from` is the
    nearest step that may take this one along when it is skipped. `has_unknown_mode` tells that a mode was none, so that
    nobody can say whether the step may be skipped.
    """

    flow_slug: FlowSlug
    slug: StepSlug
    step_type: StepType
    is_array: bool
    handler: Callable[..., Any]
    ref: Callable[..., Any]
    deps: tuple[Dep, ...]
    map_over: Dep | None
    options: StepOptions
    location: str
    is_async: bool
    takes_context: bool
    output_type: Any
    element_type: Any = None
    conditions: Conditions
    cascaded_from: StepSlug | None
    has_unknown_mode: bool = False

    def __repr__(self) -> str:
        return f"<StepSpec {self.flow_slug}.{self.slug} at {self.location}>"

    @property
    def is_map(self) -> bool:
        """Whether the step has one task per element of a list."""
        return self.step_type is StepType.MAP

    @property
    def step_output_type(self) -> Any:
        """The output of the whole step: a list of task outputs for a map step."""
        output: Any = self.output_type
        return list[output] if self.is_map else output

    @property
    def dependency_slugs(self) -> tuple[StepSlug, ...]:
        """The steps this one waits for, without duplicates: the one mapped over first, then in parameter order."""
        deps = self.deps if self.map_over is None else (self.map_over, *self.deps)
        return tuple(dict.fromkeys(StepSlug(dep.slug) for dep in deps if dep.kind is not DepKind.RUN))

    @property
    def uses_run_input(self) -> bool:
        """Whether the handler is given the whole of the run's input."""
        return any(dep.kind is DepKind.RUN for dep in self.deps)

    @property
    def can_be_skipped(self) -> bool:
        """Whether a run can complete without this step, in whatever way it came to be skipped."""
        return bool(self.conditions.skips_alone or self.conditions.cascades or self.cascaded_from)

    def is_referred_to_by(self, ref: object) -> bool:
        """Tell whether a handler or `named` handler stands for this step."""
        if isinstance(ref, Named):
            return ref.slug == self.slug and same_handler(ref.handler, self.handler)
        return same_handler(self.ref, ref)

    # Building a pydantic adapter costs milliseconds: once per step, and for the inputs only where handlers run.
    @cached_property
    def task_output(self) -> ValueAdapter:
        """Between one task's output and JSON."""
        return ValueAdapter(self.output_type)

    @cached_property
    def step_output(self) -> ValueAdapter:
        """Between the whole step's output and JSON."""
        return ValueAdapter(self.step_output_type)

    @cached_property
    def element(self) -> ValueAdapter:
        """Between a map task's element and JSON."""
        return ValueAdapter(self.element_type)

    @cached_property
    def inputs(self) -> InputsAdapter:
        """From the JSON object of whole dependencies to the handler's arguments."""
        return InputsAdapter(
            {dep.slug: dep.type for dep in self.deps}, optional={dep.slug for dep in self.deps if dep.is_maybe}
        )
