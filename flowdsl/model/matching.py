"""The parameters of a handler against the values it will be given: how many, of which types, in which order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from flowdsl.model.adapters import why_not_json
from flowdsl.model.assignable import assignable, is_decided, list_element
from flowdsl.model.definition import Definition
from flowdsl.model.dependencies import BuilderCall, Given, is_input_type
from flowdsl.model.findings import Findings
from flowdsl.model.handlers import MISSING, Parameter, Signature, takes_context
from flowdsl.model.mending import Annotation, Argument, Dependencies, Edit, Method, Swapped, Unwrapped
from flowdsl.model.problems import Code
from flowdsl.model.refs import handler_name
from flowdsl.model.spelling import written_whole
from flowdsl.model.step import Dep, DepKind
from flowdsl.model.typenames import type_name


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something a step could depend on here: how it is written, what it is called, what it gives."""

    text: str
    slug: str
    type: Any


class Matching:
    """Matches the parameters of one handler with what its step is given."""

    def __init__(self, flow: Definition, call: BuilderCall, signature: Signature, findings: Findings) -> None:
        self._flow = flow
        self._call = call
        self._signature = signature
        self._findings = findings

    def types(self, given: Sequence[Given]) -> tuple[list[Dep], bool]:
        """Return the values with their final types, and whether a Context follows them."""
        bound, with_context = self._bound(len(given))
        deps, all_fit = [], len(bound) == len(given)
        self._swapped: set[int] = set()
        for index, (parameter, item) in enumerate(zip(bound, given, strict=False), start=1):
            fits = self._fits(parameter, item, index, given)
            all_fit = all_fit and fits
            deps.append(_with_known_type(item.dep, parameter))
        deps.extend(item.dep for item in given[len(bound) :])
        if all_fit:
            self._check_swapped(bound, given)
        return deps, with_context

    # ---- how many ----

    def _bound(self, count: int) -> tuple[list[Parameter], bool]:
        """Return the parameters that take the values, and tell whether the one after them is a Context."""
        signature = self._signature
        bound, rest = list(signature.parameters[:count]), list(signature.parameters[count:])
        if signature.variadic is not None:
            bound += [signature.variadic] * (count - len(bound))
        with_context = bool(rest) and takes_context(rest[0])
        missing = [p for p in (rest[1:] if with_context else rest) if not p.has_default]
        for parameter in missing:
            if parameter.type is MISSING:
                self._missing(parameter)
        if len(bound) < count or any(p.type is not MISSING for p in missing) or any(map(takes_context, bound)):
            self._wrong_count(count)
            for parameter in bound:
                if parameter.type is MISSING:
                    self._missing(parameter)
            # What is given to which parameter is anyone's guess now: a comparison of types would only mislead.
            return [], with_context
        return bound, with_context

    def _wrong_count(self, count: int) -> None:
        call = self._call
        taken = [p.name for p in self._signature.parameters if not takes_context(p)]
        given = "1 value" if count == 1 else f"{count} values"
        if call.is_map and count > 1:
            given = f"an element and {count - 1} dependenc{'y' if count == 2 else 'ies'}"
        fix = "Give one dependency per parameter, in the same order; only a Context may come after them."
        if not call.deps and not call.is_map:
            fix = f"Without dependencies a handler is given the run's input alone. {fix}"
        self._findings.add(
            Code.WRONG_PARAMETER_COUNT,
            f"its handler takes {len(taken)} parameter{'s' * (len(taken) != 1)} ({', '.join(taken) or 'none'}), "
            f"but is given {given} ({self._given_names()}).",
            fix,
            *self._guessed(),
        )

    def _given_names(self) -> str:
        call = self._call
        if not call.deps:
            return "an element of the run's input" if call.is_map else "the run's input"
        return ", ".join(type_name(dep) if is_input_type(self._flow, dep) else handler_name(dep) for dep in call.deps)

    def _guessed(self) -> tuple[Edit, ...]:
        """Return the dependencies the parameters seem to want: by name and type, or as the only ones of their type."""
        wanted = [p for p in self._signature.parameters if not takes_context(p) and not p.has_default]
        found = [self._candidate(p, is_element=self._call.is_map and p is wanted[0]) for p in wanted]
        texts = tuple(candidate.text for candidate in found if candidate is not None)
        return (Dependencies(texts),) if texts and len(set(texts)) == len(wanted) else ()

    # ---- of which types ----

    def _missing(self, parameter: Parameter, given: Given | None = None) -> None:
        known = given is not None and is_decided(given.dep.type)
        declared = type_name(given.dep.type) if given is not None and known else "TheType"
        edits = (Annotation(self._call.function, parameter.name, declared),) if known else ()
        what = f"parameter '{parameter.name}' has no annotation."
        self._findings.add(Code.MISSING_ANNOTATION, what, f"Annotate it: {parameter.name}: {declared}.", *edits)

    def _fits(self, parameter: Parameter, given: Given, index: int, all_given: Sequence[Given]) -> bool:
        if parameter.type is MISSING:
            self._missing(parameter, given)
            return False
        if parameter.unresolved is not None:
            unresolved(self._findings, f"parameter '{parameter.name}'", parameter.unresolved)
            return False
        if assignable(given.dep.type, parameter.type):
            return True
        if index in self._swapped:
            return False  # told with the one it is to change places with
        fix, edits = self._mismatch_fix(parameter, given, index, all_given)
        self._findings.add(
            Code.TYPE_MISMATCH,
            f"parameter '{parameter.name}' takes {type_name(parameter.type)}, "
            f"but {given.described} is {type_name(given.dep.type)}.",
            fix,
            *edits,
        )
        return False

    def _mismatch_fix(
        self, parameter: Parameter, given: Given, index: int, all_given: Sequence[Given]
    ) -> tuple[str, tuple[Edit, ...]]:
        function, declared, wanted = self._call.function, type_name(given.dep.type), type_name(parameter.type)
        swapped = self._swap(index, all_given)
        if swapped is not None:
            self._swapped.add(swapped.other)
            other = self._signature.parameters[swapped.other - 1].name
            fix = f"Dependencies are given in their order: swap those of '{parameter.name}' and '{other}'."
            both = (swapped.one, swapped.other)
            needless = (Unwrapped(place, "collect") for place in both if self._is_no_map(all_given[place - 1]))
            return fix, (*needless, swapped)
        others = [c for c in self._candidates(parameter.type) if c.slug != given.dep.slug and is_decided(c.type)]
        names = ", ".join(candidate.text for candidate in others)
        fix = f"Change the annotation to {declared}"
        fix = f"{fix}, or depend on a step that gives {wanted}: {names}." if names else f"{fix}."
        is_list, element = list_element(given.dep.type)
        if is_list and index == 1 and self._call.method == "step" and assignable(element, parameter.type):
            return f"To run it once per element, add it with .map(…). {fix}", (Method("map"),)
        unused = [candidate for candidate in others if candidate.slug not in {item.dep.slug for item in all_given}]
        if len(unused) == 1 and not (self._call.is_map and index == 1):
            right = unused[0].text
            return fix, (Argument(index, right) if self._call.deps else Dependencies((right,)),)
        return fix, (Annotation(function, parameter.name, declared),)

    def _swap(self, index: int, given: Sequence[Given]) -> Swapped | None:
        """Return the edit that lets two dependencies change places, if then both fit."""
        bound = self._signature.parameters
        first = 1 if self._call.is_map else 0
        for other in range(max(index, first), min(len(given), len(bound))):
            here, there = bound[index - 1].type, bound[other].type
            if MISSING in (here, there) or index - 1 < first:
                continue
            if assignable(self._type(given[other]), here) and assignable(self._type(given[index - 1]), there):
                return Swapped(index, other + 1)
        return None

    def _is_no_map(self, given: Given) -> bool:
        """Tell whether what is collected, by mistake, is the output of a step that is no map."""
        step = self._flow.find_slug(given.dep.slug) if given.dep.kind is DepKind.COLLECT else None
        return step is not None and not step.is_map

    def _type(self, given: Given) -> Any:
        """Return the type of a value once its needless collect is gone."""
        step = self._flow.find_slug(given.dep.slug)
        if step is None or not self._is_no_map(given):
            return given.dep.type
        declared = step.step_output_type
        return Optional[declared] if given.dep.is_maybe else declared  # noqa: UP045 - of any type

    def _candidates(self, wanted: Any) -> list[Candidate]:
        """Return what there is so far that gives the wanted type."""
        found = [
            Candidate(written_whole(step, self._call.nearby, is_maybe=False), str(step.slug), step.step_output_type)
            for step in self._flow.steps
            if not step.conditions.skips_alone
        ]
        return [candidate for candidate in found if assignable(candidate.type, wanted)]

    def _candidate(self, parameter: Parameter, *, is_element: bool) -> Candidate | None:
        wanted = parameter.type
        if wanted is MISSING or parameter.unresolved is not None:
            return None
        list_of: Any = list
        declared = list_of[wanted] if is_element else wanted
        found = self._candidates(declared)
        if assignable(self._flow.input_type, declared):
            found.append(Candidate(type_name(self._flow.input_type), "run", self._flow.input_type))
        if len(found) > 1:
            found = [candidate for candidate in found if candidate.slug == parameter.name]
        return found[0] if len(found) == 1 and is_decided(wanted) else None

    # ---- in which order ----

    def _check_swapped(self, bound: Sequence[Parameter], given: Sequence[Given]) -> None:
        slugs = [item.dep.slug for item in given]
        for index, (parameter, item) in enumerate(zip(bound, given, strict=True)):
            if parameter.name == item.dep.slug or parameter.name not in slugs:
                continue
            other = slugs.index(parameter.name)
            namesake = given[other]
            if assignable(namesake.dep.type, parameter.type):
                self._findings.add(
                    Code.SWAPPED_PARAMETERS,
                    f"parameter '{parameter.name}' is given {item.described}, not {namesake.described}.",
                    "Dependencies are given in their order: swap them, or rename the parameter.",
                    Swapped(index + 1, other + 1),
                )
                return


def unresolved(findings: Findings, where: str, name: str) -> None:
    """Tell of an annotation whose names cannot be found."""
    findings.add(
        Code.UNRESOLVED_ANNOTATION,
        f"the annotation of {where} cannot be resolved: {name}.",
        "Import or define the name where the handler is written (not only under TYPE_CHECKING).",
    )


def _with_known_type(dep: Dep, parameter: Parameter) -> Dep:
    """Let the parameter say what a value is where its own type does not (`list[Any]` for `list[Page]`)."""
    declared = parameter.type
    if is_decided(dep.type) or declared is MISSING or not is_decided(declared) or why_not_json(declared) is not None:
        return dep
    return replace(dep, type=declared)
