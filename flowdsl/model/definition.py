"""What a Flow knows: its parts so far, and the problems met on the way."""

from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from flowdsl.errors import DefinitionError, Problem
from flowdsl.model.findings import Pending, definition_error, told
from flowdsl.model.options import FlowOptions
from flowdsl.model.refs import same_handler
from flowdsl.model.step import StepSpec
from flowdsl.types import FlowSlug, StepSlug


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """An immutable stage of a flow's definition; `pending` problems are raised when the chain of calls ends.

    `output_is_maybe` tells that the run's output is None when the output step was skipped.
    """

    slug: FlowSlug
    input_type: Any
    options: FlowOptions
    location: str
    steps: tuple[StepSpec, ...] = ()
    output_step: StepSlug | None = None
    output_is_maybe: bool = False
    pending: tuple[Pending, ...] = ()

    def with_step(self, step: StepSpec, problems: tuple[Pending, ...]) -> "Definition":
        """Return the next stage, with one more step."""
        return replace(self, steps=(*self.steps, step), pending=self.pending + problems)

    def with_output(
        self, slug: StepSlug | None, problems: tuple[Pending, ...], *, is_maybe: bool = False
    ) -> "Definition":
        """Return the next stage, with the step whose output is the run's."""
        return replace(self, output_step=slug, output_is_maybe=is_maybe, pending=self.pending + problems)

    def find_handler(self, handler: object) -> StepSpec | None:
        """Return the first step that was added as this handler, by itself or as `named` in the same way."""
        if isinstance(handler, FunctionType):
            return self.find(handler)
        return next((step for step in self.steps if same_handler(step.ref, handler)), None)

    def find(self, ref: object) -> StepSpec | None:
        """Return the step a handler or `named` handler stands for, the first if there are several."""
        # Of plain functions identity decides, and a flow of a thousand steps asks for half a million comparisons.
        if isinstance(ref, FunctionType):
            return next((step for step in self.steps if step.ref is ref), None)
        return next((step for step in self.steps if step.is_referred_to_by(ref)), None)

    def find_slug(self, slug: str) -> StepSpec | None:
        """Return the step of that name."""
        return next((step for step in self.steps if step.slug == slug), None)

    def slugs(self) -> tuple[str, ...]:
        """Return the steps' slugs in the order of their definition."""
        return tuple(step.slug for step in self.steps)

    def problems(self) -> tuple[Problem, ...]:
        """Return the pending problems as they are told with all steps in view."""
        return told(self.pending, self.steps)

    def error(self) -> DefinitionError:
        """Return the error that tells all pending problems."""
        return definition_error(self.pending, self.steps)
