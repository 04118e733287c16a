"""From one builder call to a step, with everything that is wrong with it.

A step is built even when it has problems, with `Any` where its types are unknown: so later steps that depend on it are
still checked, and one mistake is reported once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Optional, get_origin

from flowdsl.errors import Problem
from flowdsl.model.adapters import ValueAdapter, why_not_json
from flowdsl.model.assignable import assignable, is_decided, list_element, same_type
from flowdsl.model.condition_checks import CONDITION_OPTIONS, Subject, impossible_patterns, read_conditions
from flowdsl.model.definition import Definition
from flowdsl.model.handlers import (
    MISSING,
    Parameter,
    Signature,
    UnreadableHandlerError,
    read_signature,
    takes_context,
)
from flowdsl.model.options import step_options
from flowdsl.model.problems import Code, UnknownReference
from flowdsl.model.refs import Handler, Named, Ref, handler_name, same_handler
from flowdsl.model.step import MAX_DEPENDENCIES, RUN, Dep, DepKind, StepSpec, is_valid_slug
from flowdsl.model.typenames import type_name
from flowdsl.types import StepSlug, StepType

Pending = tuple[Problem | UnknownReference, ...]

SLUG_RULE = "A slug has 1 to 128 letters, digits or underscores, begins with no digit, and is not 'run'."


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderCall:
    """One call of `Flow.step`, `.array` or `.map`, as the user wrote it."""

    method: str
    handler: Handler
    deps: tuple[Any, ...]
    options: Mapping[str, Any]
    location: str
    nearby: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One value the handler will be given: what it is, how to call it in a message."""

    dep: Dep
    described: str


def build_step(flow: Definition, call: BuilderCall) -> tuple[StepSpec, Pending]:
    """Understand one builder call; the problems are in the order of the call's parts."""
    builder = _StepBuilder(flow, call)
    return builder.build(), tuple(builder.problems)


class _StepBuilder:
    def __init__(self, flow: Definition, call: BuilderCall) -> None:
        self.flow = flow
        self.call = call
        self.problems: list[Problem | UnknownReference] = []
        self.is_map = call.method == "map"
        self.target: Any = call.handler.handler if isinstance(call.handler, Named) else call.handler
        self.slug = self._slug()

    def build(self) -> StepSpec:
        call = self.call
        self._check_slug()
        signature = self._signature()
        given = self._given()
        self._check_duplicates(given)
        deps, with_context = self._typed(signature, given)
        conditions, mistakes = read_conditions(call.options)
        options, bad_options = step_options(
            {name: value for name, value in call.options.items() if name not in ("slug", *CONDITION_OPTIONS)},
            self.flow.options,
            CONDITION_OPTIONS,
        )
        step = StepSpec(
            flow_slug=self.flow.slug,
            slug=StepSlug(self.slug),
            step_type=StepType.MAP if self.is_map else StepType.SINGLE,
            is_array=call.method == "array",
            handler=self.target,
            ref=call.handler,
            deps=tuple(deps[1:] if self.is_map else deps),
            map_over=given[0].dep if self.is_map else None,
            element_type=deps[0].type if self.is_map else None,
            options=options,
            location=call.location,
            is_async=signature is not None and signature.is_async,
            takes_context=with_context,
            output_type=self._output_type(signature),
            conditions=conditions,
            cascaded_from=self._cascaded_from(given),
            has_unknown_mode=any(mistake.code is Code.BAD_OPTION for mistake in mistakes),
        )
        for bad in bad_options:
            self._problem(Code.BAD_OPTION, f"{bad.what}.", bad.fix)
        for mistake in (*mistakes, *impossible_patterns(conditions, self._subject(step))):
            self._problem(mistake.code, mistake.what, mistake.fix)
        return step

    def _problem(self, code: Code, what: str, fix: str) -> None:
        self.problems.append(
            Problem(
                code=code,
                flow_slug=self.flow.slug,
                step_slug=self.slug,
                location=self.call.location,
                what=what,
                fix=fix,
            )
        )

    def _unknown(self, ref: Any) -> None:
        self.problems.append(
            UnknownReference(
                code=Code.UNKNOWN_DEPENDENCY,
                flow_slug=self.flow.slug,
                step_slug=self.slug,
                location=self.call.location,
                ref=ref,
                known=self.flow.slugs(),
            )
        )

    # ---- the step's name ----

    def _slug(self) -> str:
        given = self.call.options.get("slug")
        if isinstance(self.call.handler, Named):
            return str(self.call.handler.slug)
        return handler_name(self.call.handler) if given is None else str(given)

    def _check_slug(self) -> None:
        given, handler = self.call.options.get("slug"), self.call.handler
        if isinstance(handler, Named) and given is not None and given != handler.slug:
            self._problem(
                Code.BAD_SLUG,
                f"named('{handler.slug}', …) and slug={given!r} give it two names.",
                "Leave out slug=.",
            )
        if not is_valid_slug(self.slug) or not isinstance(given or "", str):
            self._problem(Code.BAD_SLUG, f"'{self.slug}' cannot name a step.", f"{SLUG_RULE} Give another with slug=….")
        same_slug = next((step for step in self.flow.steps if step.slug == self.slug), None)
        same_ref = next((step for step in self.flow.steps if same_handler(step.ref, handler)), None)
        if same_ref is not None and same_ref is not same_slug:
            self._problem(
                Code.DUPLICATE_STEP,
                f"its handler is already step '{same_ref.slug}' ({same_ref.location}).",
                f"Use named('{self.slug}', {handler_name(handler)}), so that others can tell the two apart.",
            )
        elif same_slug is not None:
            other = f"named('{self.slug}_2', {handler_name(self.target)})"
            self._problem(
                Code.DUPLICATE_STEP,
                f"there is a step '{self.slug}' already ({same_slug.location}).",
                f"For the same function a second time use {other}; for another function give slug=….",
            )

    # ---- the handler ----

    def _signature(self) -> Signature | None:
        if isinstance(self.target, Ref):
            kind = "maybe" if self.target.is_maybe else "collect"
            self._problem(
                Code.BAD_HANDLER, f"{kind}(…) is no handler.", f"Pass the function; {kind} is for dependencies."
            )
            return None
        try:
            signature = read_signature(self.target, self.call.nearby)
        except UnreadableHandlerError as error:
            self._problem(Code.BAD_HANDLER, f"its handler cannot be used: {error.what}.", error.fix)
            return None
        for name in signature.keyword_only:
            self._problem(
                Code.KEYWORD_ONLY_PARAMETER,
                f"parameter '{name}' is keyword-only and has no default.",
                "Handlers are called with positional arguments: move it before the '*', or give it a default.",
            )
        return signature

    def _output_type(self, signature: Signature | None) -> Any:
        if signature is None:
            return Any
        output = signature.output
        if output.type is MISSING:
            fix = "Annotate it: def …(…) -> TheOutput, or -> None."
            self._problem(Code.MISSING_ANNOTATION, "the return type is missing.", fix)
            return Any
        if output.unresolved is not None:
            self._unresolved("the return type", output.unresolved)
            return Any
        if self.call.method == "array" and not list_element(output.type)[0]:
            self._problem(
                Code.ARRAY_RETURNS_NO_LIST,
                f"an array step has to return a list, but its handler returns {type_name(output.type)}.",
                "Return a list, or add it with .step(…).",
            )
        reason = why_not_json(output.type)
        if reason is not None:
            self._no_json(f"its output type {type_name(output.type)}", reason)
            return Any
        return output.type

    def _unresolved(self, where: str, name: str) -> None:
        self._problem(
            Code.UNRESOLVED_ANNOTATION,
            f"the annotation of {where} cannot be resolved: {name}.",
            "Import or define the name where the handler is written (not only under TYPE_CHECKING).",
        )

    def _no_json(self, what: str, reason: str) -> None:
        self._problem(
            Code.NO_JSON,
            f"{what} cannot be turned into JSON: {reason}.",
            "Use a pydantic model, a dataclass, a TypedDict or another type pydantic knows.",
        )

    # ---- the dependencies ----

    def _given(self) -> list[Given]:
        call = self.call
        if len(call.deps) > MAX_DEPENDENCIES:
            self._problem(
                Code.TOO_MANY_DEPENDENCIES,
                f"it has {len(call.deps)} dependencies, at most {MAX_DEPENDENCIES} are possible.",
                "Gather some of them in a step before it.",
            )
        if not call.deps:
            return [self._run_input()]
        return [self._resolved(dep, is_mapped_over=self.is_map and index == 0) for index, dep in enumerate(call.deps)]

    def _run_input(self) -> Given:
        return Given(dep=Dep(kind=DepKind.RUN, slug=RUN, type=self.flow.input_type), described="the run's input")

    def _resolved(self, dep: Any, *, is_mapped_over: bool) -> Given:
        ref = dep if isinstance(dep, Ref) else Ref(dep)
        step = self.flow.find(ref.handler)
        if step is None:
            return self._outside(dep, ref)
        given = self._collected(step, ref) if ref.collects else self._single(step, ref, is_mapped_over=is_mapped_over)
        if is_mapped_over:
            self._check_mapped_over(step, ref)
            return given
        if not ref.is_maybe:
            self._check_maybe_forgotten(step, ref)
            return given
        if not step.can_be_skipped and not step.has_unknown_mode:
            self._needless_maybe(ref, f"'{step.slug}' is never skipped")
            return given
        optional = replace(given.dep, type=Optional[given.dep.type], is_maybe=True)  # noqa: UP045 - of any type
        return Given(dep=optional, described=f"maybe({given.described.strip(chr(39))})")

    def _outside(self, dep: Any, ref: Ref[Any]) -> Given:
        """Understand what is no step: the run's input, or a mistake."""
        if self._is_input_type(ref.handler) and not ref.collects:
            if ref.is_maybe:
                self._needless_maybe(ref, "the run's input is always there")
            return self._run_input()
        self._unknown(ref.handler)
        kind = DepKind.COLLECT if ref.collects else DepKind.STEP
        name = handler_name(ref.handler)
        described = handler_name(dep) if isinstance(dep, Ref) else f"'{name}'"
        declared = list[Any] if ref.collects and not ref.is_maybe else Any
        return Given(dep=Dep(kind=kind, slug=name, type=declared), described=described)

    def _single(self, step: StepSpec, ref: Ref[Any], *, is_mapped_over: bool) -> Given:
        declared = step.output_type
        if step.is_map:
            declared = Any
            right = handler_name(replace(ref, collects=True))
            self._problem(
                Code.COLLECT_FORGOTTEN,
                f"'{step.slug}' is a map step, whose results are a list.",
                f"Depend on {right}" + (", to map over its results." if is_mapped_over else "."),
            )
        return Given(dep=Dep(kind=DepKind.STEP, slug=step.slug, type=declared), described=f"'{step.slug}'")

    def _collected(self, step: StepSpec, ref: Ref[Any]) -> Given:
        name = handler_name(ref.handler)
        declared = step.step_output_type
        if not step.is_map:
            declared = Any
            self._problem(
                Code.COLLECT_OF_NO_MAP,
                f"collect({name}) takes the results of a map step, but '{step.slug}' is a step of one task.",
                f"Depend on {name} itself, or add it with .map(…).",
            )
        return Given(dep=Dep(kind=DepKind.COLLECT, slug=step.slug, type=declared), described=f"collect({name})")

    # ---- what may be skipped ----

    def _check_maybe_forgotten(self, step: StepSpec, ref: Ref[Any]) -> None:
        ways = step.conditions.skips_alone
        if not ways or step.has_unknown_mode:
            return  # a step that is only skipped with all its dependents is always there for them
        right = handler_name(replace(ref, is_maybe=True))
        optional = type_name(Optional[step.step_output_type])  # noqa: UP045
        cascade = ", ".join(f"{way}='skip-cascade'" for way in ways)
        self._problem(
            Code.MAYBE_FORGOTTEN,
            f"'{step.slug}' can be skipped ({skip_reasons(step)}), and this step runs without it.",
            f"Depend on {right} and let its parameter take {optional}; "
            f"or give '{step.slug}' {cascade}, so that this step is skipped with it.",
        )

    def _check_mapped_over(self, step: StepSpec, ref: Ref[Any]) -> None:
        if ref.is_maybe:
            self._needless_maybe(ref, f"a map over '{step.slug}' has no tasks when that was skipped")

    def _needless_maybe(self, ref: Ref[Any], reason: str) -> None:
        name = handler_name(ref)
        right = handler_name(replace(ref, is_maybe=False)) if ref.collects else handler_name(ref.handler)
        self._problem(Code.MAYBE_WITHOUT_SKIP, f"{name} is never None: {reason}.", f"Depend on {right} itself.")

    def _cascaded_from(self, given: Sequence[Given]) -> StepSlug | None:
        """Return the nearest step that takes this one along when it is skipped."""
        before = {str(step.slug): step for step in self.flow.steps}
        steps = [before[item.dep.slug] for item in given if item.dep.slug in before]
        found = (step.slug if step.conditions.cascades else step.cascaded_from for step in steps)
        return next((slug for slug in found if slug is not None), None)

    def _subject(self, step: StepSpec) -> Subject:
        """Return what the step's patterns are about; nobody pays for it before a pattern asks."""
        before = {other.slug: other for other in self.flow.steps}
        slugs = step.dependency_slugs
        anything: Callable[[], ValueAdapter] = partial(ValueAdapter, Any)
        types = {
            str(slug): partial(getattr, before[slug], "step_output") if slug in before else anything for slug in slugs
        }
        return Subject(
            is_root=not slugs,
            types={**types, RUN: partial(ValueAdapter, self.flow.input_type)},
            other_steps=set(before) - set(slugs),
        )

    def _is_input_type(self, dep: Any) -> bool:
        declared = self.flow.input_type
        # `list[str]` is a new object each time, so types are compared; other objects may compare in ways of their own.
        return dep is declared or ((isinstance(dep, type) or get_origin(dep) is not None) and same_type(dep, declared))

    def _check_duplicates(self, given: Sequence[Given]) -> None:
        seen: set[str] = set()
        for item in given:
            if item.dep.slug in seen:
                self._problem(
                    Code.DUPLICATE_DEPENDENCY,
                    f"it depends on {item.described} twice.",
                    "Take it once, and use the value twice inside the handler.",
                )
            seen.add(item.dep.slug)

    # ---- parameters against dependencies ----

    def _typed(self, signature: Signature | None, given: list[Given]) -> tuple[list[Dep], bool]:
        """Match parameters and values; return the values' final types and whether a Context follows."""
        if self.is_map:
            given = [self._element(given[0]), *given[1:]]
        if signature is None:
            return [item.dep for item in given], False
        bound, with_context = self._bound(signature, len(given))
        deps, all_fit = [], len(bound) == len(given)
        for parameter, item in zip(bound, given, strict=False):
            fits = self._parameter_fits(parameter, item)
            all_fit = all_fit and fits
            deps.append(_with_known_type(item.dep, parameter))
        deps.extend(item.dep for item in given[len(bound) :])
        if all_fit:
            self._check_swapped(bound, given)
        return deps, with_context

    def _element(self, over: Given) -> Given:
        is_list, element = list_element(over.dep.type)
        if not is_list:
            self._problem(
                Code.MAP_OVER_NO_LIST,
                f"a map needs a list, but {over.described} is {type_name(over.dep.type)}.",
                "Map over a step that returns list[…], or over collect(…) of a map step.",
            )
        return Given(dep=replace(over.dep, type=element), described=f"an element of {over.described}")

    def _bound(self, signature: Signature, count: int) -> tuple[list[Parameter], bool]:
        """Return the parameters that take the values, and tell whether the one after them is a Context."""
        bound, rest = list(signature.parameters[:count]), list(signature.parameters[count:])
        if signature.variadic is not None:
            bound += [signature.variadic] * (count - len(bound))
        with_context = bool(rest) and takes_context(rest[0])
        missing = [p for p in (rest[1:] if with_context else rest) if not p.has_default]
        for parameter in missing:
            if parameter.type is MISSING:
                self._missing(parameter)
        if len(bound) < count or any(p.type is not MISSING for p in missing) or any(map(takes_context, bound)):
            self._wrong_count(signature, count)
            for parameter in bound:
                if parameter.type is MISSING:
                    self._missing(parameter)
            # What is given to which parameter is anyone's guess now: a comparison of types would only mislead.
            return [], with_context
        return bound, with_context

    def _wrong_count(self, signature: Signature, count: int) -> None:
        taken = [p.name for p in signature.parameters if not takes_context(p)]
        given = "1 value" if count == 1 else f"{count} values"
        if self.is_map and count > 1:
            given = f"an element and {count - 1} dependenc{'y' if count == 2 else 'ies'}"
        fix = "Give one dependency per parameter, in the same order; only a Context may come after them."
        if not self.call.deps and not self.is_map:
            fix = f"Without dependencies a handler is given the run's input alone. {fix}"
        self._problem(
            Code.WRONG_PARAMETER_COUNT,
            f"its handler takes {len(taken)} parameter{'s' * (len(taken) != 1)} ({', '.join(taken) or 'none'}), "
            f"but is given {given} ({self._given_names()}).",
            fix,
        )

    def _given_names(self) -> str:
        if not self.call.deps:
            return "an element of the run's input" if self.is_map else "the run's input"
        return ", ".join(type_name(dep) if self._is_input_type(dep) else handler_name(dep) for dep in self.call.deps)

    def _missing(self, parameter: Parameter) -> None:
        self._problem(
            Code.MISSING_ANNOTATION,
            f"parameter '{parameter.name}' has no annotation.",
            f"Annotate it: {parameter.name}: TheType.",
        )

    def _parameter_fits(self, parameter: Parameter, given: Given) -> bool:
        if parameter.type is MISSING:
            self._missing(parameter)
            return False
        if parameter.unresolved is not None:
            self._unresolved(f"parameter '{parameter.name}'", parameter.unresolved)
            return False
        if assignable(given.dep.type, parameter.type):
            return True
        self._problem(
            Code.TYPE_MISMATCH,
            f"parameter '{parameter.name}' takes {type_name(parameter.type)}, "
            f"but {given.described} is {type_name(given.dep.type)}.",
            self._mismatch_fix(parameter, given),
        )
        return False

    def _mismatch_fix(self, parameter: Parameter, given: Given) -> str:
        always_there = [step for step in self.flow.steps if not step.conditions.skips_alone]
        fitting = [step for step in always_there if assignable(step.step_output_type, parameter.type)]
        names = [
            f"collect({handler_name(s.handler)})" if s.is_map else handler_name(s.ref)
            for s in fitting
            if is_decided(s.output_type)
        ]
        fix = f"Change the annotation to {type_name(given.dep.type)}"
        return (
            f"{fix}, or depend on a step that gives {type_name(parameter.type)}: {', '.join(names)}."
            if names
            else f"{fix}."
        )

    def _check_swapped(self, bound: Sequence[Parameter], given: Sequence[Given]) -> None:
        slugs = [item.dep.slug for item in given]
        for parameter, item in zip(bound, given, strict=True):
            if parameter.name == item.dep.slug or parameter.name not in slugs:
                continue
            namesake = given[slugs.index(parameter.name)]
            if assignable(namesake.dep.type, parameter.type):
                self._problem(
                    Code.SWAPPED_PARAMETERS,
                    f"parameter '{parameter.name}' is given {item.described}, not {namesake.described}.",
                    "Dependencies are given in their order: swap them, or rename the parameter.",
                )
                return


def skip_reasons(step: StepSpec) -> str:
    """Say in a few words which options let a step be skipped."""
    own = [f"{way}='skip'" for way in step.conditions.skips_alone]
    own += [f"{way}='skip-cascade'" for way in step.conditions.cascades]
    return ", ".join(own) or f"with '{step.cascaded_from}', on which it depends"


def _with_known_type(dep: Dep, parameter: Parameter) -> Dep:
    """Let the parameter say what a value is where its own type does not (`list[Any]` for `list[Page]`)."""
    declared = parameter.type
    if is_decided(dep.type) or declared is MISSING or not is_decided(declared) or why_not_json(declared) is not None:
        return dep
    return replace(dep, type=declared)
