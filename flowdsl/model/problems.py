"""The mistakes a definition can hold: a stable code for each, and the gathering of all of them.

A problem is recorded where it is met and told at the end of the chain: only then is it known whether an unknown
dependency is a step that is merely defined too late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flowdsl.errors import DefinitionError, Problem
from flowdsl.model.refs import Named, Ref, handler_name, same_handler
from flowdsl.model.step import StepSpec
from flowdsl.suggest import closest


class Code(StrEnum):
    """One code per kind of mistake; codes are never reused, so that a search for one finds one meaning."""

    BAD_SLUG = "PF-E101"
    UNKNOWN_DEPENDENCY = "PF-E102"
    DUPLICATE_STEP = "PF-E103"
    DUPLICATE_DEPENDENCY = "PF-E104"
    TYPE_MISMATCH = "PF-E105"
    WRONG_PARAMETER_COUNT = "PF-E106"
    MAP_OVER_NO_LIST = "PF-E107"
    COLLECT_FORGOTTEN = "PF-E108"
    COLLECT_OF_NO_MAP = "PF-E109"
    MISSING_ANNOTATION = "PF-E110"
    UNRESOLVED_ANNOTATION = "PF-E111"
    BAD_OPTION = "PF-E112"
    ARRAY_RETURNS_NO_LIST = "PF-E113"
    NO_JSON = "PF-E114"
    TOO_MANY_DEPENDENCIES = "PF-E115"
    KEYWORD_ONLY_PARAMETER = "PF-E116"
    SWAPPED_PARAMETERS = "PF-E117"
    UNKNOWN_STEP = "PF-E118"
    BAD_HANDLER = "PF-E119"
    NO_STEPS = "PF-E120"
    NO_PATTERN = "PF-E121"
    UNKNOWN_PATTERN_KEY = "PF-E122"
    IMPOSSIBLE_PATTERN = "PF-E123"
    POINTLESS_MODE = "PF-E124"
    MAYBE_FORGOTTEN = "PF-E125"
    MAYBE_WITHOUT_SKIP = "PF-E126"
    UNUSABLE_MODULE = "PF-E133"
    DUPLICATE_FLOW = "PF-E134"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownReference:
    """A reference to a step that does not exist so far; what to say about it depends on the rest of the chain."""

    code: Code
    flow_slug: str
    step_slug: str | None
    location: str | None
    ref: Any
    known: tuple[str, ...]

    def told(self, steps: Sequence[StepSpec]) -> Problem:
        """Turn it into a problem, with all steps of the finished chain in view."""
        name = handler_name(self.ref)
        kind = "dependency" if self.code is Code.UNKNOWN_DEPENDENCY else "step"
        return Problem(
            code=self.code,
            flow_slug=self.flow_slug,
            step_slug=self.step_slug,
            location=self.location,
            what=f"unknown {kind} '{name}'.",
            fix=self._fix(name, steps),
        )

    def _fix(self, name: str, steps: Sequence[StepSpec]) -> str:
        later = next((step for step in steps if step.is_referred_to_by(self.ref)), None)
        if later is not None and later.slug != self.step_slug:
            return f"Step '{later.slug}' is defined later ({later.location}): move it before this one."
        if later is not None:
            return "A step cannot depend on itself."
        named = next(
            (step for step in steps if isinstance(step.ref, Named) and same_handler(step.handler, self.ref)), None
        )
        if named is not None:
            return f"Did you mean named('{named.slug}', {name})?"
        if isinstance(self.ref, type):
            return (
                f"{name} is a class and not the flow's input type: pass the handler that returns it. {self._defined()}"
            )
        if isinstance(self.ref, Ref):
            return "collect and maybe take a handler; both together are maybe(collect(handler))."
        if isinstance(self.ref, str):
            return f"Pass the function itself, not its name. {self._defined()}"
        match = closest(name, self.known)
        suggestion = f"Did you mean '{match}'? " if match is not None else ""
        return suggestion + self._defined()

    def _defined(self) -> str:
        return f"Steps defined before it: {', '.join(self.known) or 'none'}."


def definition_error(pending: Sequence[Problem | UnknownReference], steps: Sequence[StepSpec]) -> DefinitionError:
    """Return the one error that tells all problems of a flow."""
    return DefinitionError([item if isinstance(item, Problem) else item.told(steps) for item in pending])
