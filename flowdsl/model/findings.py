"""What was found wrong while a flow was defined, kept until the end of its chain, and told then.

Only at the end it is known whether an unknown dependency is a step that is merely defined too late, and which edits belong
to one call.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, get_origin

from flowdsl.errors import DefinitionError, Problem
from flowdsl.model.chain import Place
from flowdsl.model.mending import Annotation, Argument, CallEdit, Edit, Mended, mended_call, mended_signature
from flowdsl.model.problems import WHY, Code
from flowdsl.model.refs import Named, Ref, handler_name, same_handler
from flowdsl.model.spelling import written_whole
from flowdsl.model.step import StepSpec
from flowdsl.model.typenames import type_name
from flowdsl.suggest import closest

_SHOWN_MAX: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finding:
    """One problem, the call it is in, and the edits that mend it."""

    problem: Problem
    place: Place | None = None
    edits: tuple[Edit, ...] = ()

    @property
    def call_edits(self) -> tuple[CallEdit, ...]:
        """The edits of the call."""
        return tuple(edit for edit in self.edits if not isinstance(edit, Annotation))

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """The edits of the handler's signature."""
        return tuple(edit for edit in self.edits if isinstance(edit, Annotation))

    def told(self, steps: Sequence[StepSpec]) -> "Finding":
        """Return it as it is told at the end of the chain."""
        del steps
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnknownReference:
    """A reference to a step that does not exist so far; what to say about it depends on the rest of the chain.

    `argument` is the place of the reference among the call's arguments, `nearby` are the names known where it stands.
    """

    code: Code
    flow_slug: str
    step_slug: str | None
    location: str | None
    place: Place | None
    argument: int | None
    ref: Any
    known: tuple[str, ...]
    nearby: Mapping[str, Any]
    is_mapped_over: bool

    def told(self, steps: Sequence[StepSpec]) -> Finding:
        """Turn it into a finding, with all steps of the finished chain in view."""
        kind = "dependency" if self.code is Code.UNKNOWN_DEPENDENCY else "step"
        what, fix, slug = self._result(kind) if _is_no_reference(self.ref) else self._reference(kind, steps)
        right = next((step for step in steps if step.slug == slug), None)
        edits = () if right is None or self.argument is None else (Argument(self.argument, self._written(right)),)
        problem = Problem(
            code=self.code,
            flow_slug=self.flow_slug,
            step_slug=self.step_slug,
            location=self.location,
            what=what,
            fix=fix,
            why=WHY[self.code],
        )
        return Finding(problem=problem, place=self.place, edits=edits)

    def _written(self, step: StepSpec) -> str:
        """Return how the step that was meant is asked for here."""
        if self.code is Code.UNKNOWN_STEP:
            return written_whole(step, self.nearby, is_maybe=step.can_be_skipped)
        return written_whole(step, self.nearby, is_maybe=bool(step.conditions.skips_alone) and not self.is_mapped_over)

    def _result(self, kind: str) -> tuple[str, str, str | None]:
        """Tell of something that refers to nothing: a number, the result of a call."""
        if inspect.iscoroutine(self.ref):
            self.ref.close()  # nobody will await it, and Python would complain
            name = self.ref.__name__
            fix = f"Pass the function itself: {name}, without brackets."
            return f"{name}(…) is called here, but a {kind} is the function.", fix, name if name in self.known else None
        if isinstance(self.ref, list | tuple | set | dict):
            names = ", ".join(handler_name(part) for part in self.ref)
            return f"a {type(self.ref).__name__} is no {kind}.", f"Give them one by one: {names}.", None
        shown = repr(self.ref)
        shown = (
            shown
            if len(shown) <= _SHOWN_MAX and " at 0x" not in shown
            else f"a value of type {type(self.ref).__name__}"
        )
        fix = f"Pass the function of a step. Options have names, as in timeout=30. {self._defined()}"
        return f"{shown} is no {kind}.", fix, None

    def _reference(self, kind: str, steps: Sequence[StepSpec]) -> tuple[str, str, str | None]:
        name = type_name(self.ref) if _is_type(self.ref) else handler_name(self.ref)
        fix, right = self._fix(name, steps)
        return f"unknown {kind} '{name}'.", fix, right

    def _fix(self, name: str, steps: Sequence[StepSpec]) -> tuple[str, str | None]:
        later = next((step for step in steps if step.is_referred_to_by(self.ref)), None)
        if later is not None and later.slug != self.step_slug:
            return f"Step '{later.slug}' is defined later ({later.location}): move it before this one.", None
        if later is not None:
            return "A step cannot depend on itself.", None
        named = next((step for step in steps if _is_named_by(step, self.ref)), None)
        if named is not None:
            return f"Did you mean named('{named.slug}', {name})?", named.slug
        if isinstance(self.ref, type):
            fix = (
                f"{name} is a class and not the flow's input type: pass the handler that returns it. {self._defined()}"
            )
            return fix, None
        if isinstance(self.ref, Ref):
            return "collect and maybe take a handler; both together are maybe(collect(handler)).", None
        match = closest(name, self.known)
        if isinstance(self.ref, str):
            return f"Pass the function itself, not its name. {self._defined()}", match
        suggestion = f"Did you mean '{match}'? " if match is not None else ""
        return suggestion + self._defined(), match

    def _defined(self) -> str:
        before = "Steps" if self.code is Code.UNKNOWN_STEP else "Steps defined before it"
        return f"{before}: {', '.join(self.known) or 'none'}."


Pending: TypeAlias = Finding | UnknownReference


def _is_type(ref: Any) -> bool:
    return isinstance(ref, type) or get_origin(ref) is not None


def _is_no_reference(ref: Any) -> bool:
    return not callable(ref) and not isinstance(ref, str) and not _is_type(ref)


def _is_named_by(step: StepSpec, ref: Any) -> bool:
    return isinstance(step.ref, Named) and same_handler(step.handler, ref)


class Findings:
    """Collects what is found wrong with one builder call; `known` returns the slugs of the steps before it."""

    def __init__(
        self,
        *,
        flow_slug: str,
        step_slug: str | None,
        location: str | None,
        place: Place | None,
        known: Callable[[], tuple[str, ...]],
        nearby: Mapping[str, Any],
    ) -> None:
        self.flow_slug = flow_slug
        self.step_slug = step_slug
        self.location = location
        self.place = place
        self.known = known
        self.nearby = nearby
        self.items: list[Pending] = []

    def add(self, code: Code, what: str, fix: str, *edits: Edit, why: str | None = None) -> None:
        """Add a problem, with the edits that mend it."""
        problem = Problem(
            code=code,
            flow_slug=self.flow_slug,
            step_slug=self.step_slug,
            location=self.location,
            what=what,
            fix=fix,
            why=WHY[code] if why is None else why,
        )
        self.items.append(Finding(problem=problem, place=self.place, edits=edits))

    def unknown(self, ref: Any, code: Code, argument: int | None, *, is_mapped_over: bool = False) -> None:
        """Add a reference to no step so far."""
        self.items.append(
            UnknownReference(
                code=code,
                flow_slug=self.flow_slug,
                step_slug=self.step_slug,
                location=self.location,
                place=self.place,
                argument=argument,
                ref=ref,
                known=self.known(),
                nearby=self.nearby,
                is_mapped_over=is_mapped_over,
            )
        )


def told(pending: Sequence[Pending], steps: Sequence[StepSpec]) -> tuple[Problem, ...]:
    """Return the problems as they are told with all steps of the flow in view, each with its mended lines."""
    findings = [item.told(steps) for item in pending]
    return tuple(
        replace(finding.problem, mended="\n".join(text.text for text in mends(finding, findings)) or None)
        for finding in findings
    )


def mends(finding: Finding, findings: Iterable[Finding]) -> list[Mended]:
    """Return the texts that mend a finding, with all others of the same call and the same handlers mended as well."""
    found: list[Mended | None] = []
    if finding.place is not None and finding.call_edits:
        edits = [edit for other in findings if other.place == finding.place for edit in other.call_edits]
        found.append(mended_call(finding.place, edits) or mended_call(finding.place, finding.call_edits))
    if finding.annotations:
        function = finding.annotations[0].function
        annotations = [edit for other in findings for edit in other.annotations if edit.function is function]
        found.append(mended_signature(annotations))
    return [mended for mended in found if mended is not None]


def definition_error(pending: Sequence[Pending], steps: Sequence[StepSpec]) -> DefinitionError:
    """Return the one error that tells all problems of a flow."""
    return DefinitionError(told(pending, steps))
