"""What a step is given: each dependency of a builder call, resolved to the run's input or to a step's output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, get_origin

from flowdsl.model.assignable import assignable, list_element, same_type
from flowdsl.model.chain import Place
from flowdsl.model.definition import Definition
from flowdsl.model.findings import Findings
from flowdsl.model.handlers import MISSING, Parameter, Signature
from flowdsl.model.mending import Annotation, Argument, Inner, Method, Unwrapped
from flowdsl.model.problems import Code
from flowdsl.model.refs import Handler, Named, Ref, handler_name
from flowdsl.model.step import MAX_DEPENDENCIES, RUN, Dep, DepKind, StepSpec
from flowdsl.model.typenames import type_name
from flowdsl.types import StepSlug


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderCall:
    """One call of `Flow.step`, `.array` or `.map`, as the user wrote it; `nearby` are the names known there."""

    method: str
    handler: Handler
    deps: tuple[Any, ...]
    options: Mapping[str, Any]
    location: str
    place: Place | None = None
    nearby: Mapping[str, Any]

    @property
    def is_map(self) -> bool:
        """Whether the step runs once per element."""
        return self.method == "map"

    @property
    def function(self) -> Handler:
        """The handler itself, without the name it may have been given."""
        return self.handler.handler if isinstance(self.handler, Named) else self.handler


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One value the handler will be given: what it is, how to call it in a message."""

    dep: Dep
    described: str


def is_input_type(flow: Definition, dep: Any) -> bool:
    """Tell whether a dependency is the flow's input type, which stands for the run's input."""
    declared = flow.input_type
    # `list[str]` is a new object each time, so types are compared; other objects may compare in ways of their own.
    return dep is declared or ((isinstance(dep, type) or get_origin(dep) is not None) and same_type(dep, declared))


class Dependencies:
    """The dependencies of one builder call, understood one by one."""

    def __init__(self, flow: Definition, call: BuilderCall, signature: Signature | None, findings: Findings) -> None:
        self._flow = flow
        self._call = call
        self._signature = signature
        self._findings = findings

    def given(self) -> list[Given]:
        """Return what the handler is given, the value that is mapped over first; a map's element is not looked for yet."""
        call = self._call
        if len(call.deps) > MAX_DEPENDENCIES:
            what = f"it has {len(call.deps)} dependencies, at most {MAX_DEPENDENCIES} are possible."
            self._findings.add(Code.TOO_MANY_DEPENDENCIES, what, "Gather some of them in a step before it.")
        if not call.deps:
            return [self._run_input()]
        given = [self._resolved(dep, index) for index, dep in enumerate(call.deps, start=1)]
        self._check_duplicates(given)
        return given

    def element(self, over: Given, fits_whole: bool) -> Given:
        """Return an element of what is mapped over."""
        is_list, element = list_element(over.dep.type)
        if not is_list:
            edits = (Method("step"),) if fits_whole else ()
            fix = "Map over a step that returns list[…], or over collect(…) of a map step."
            if fits_whole:
                fix = "The handler takes it whole: add it with .step(…)."
            what = f"a map needs a list, but {over.described} is {type_name(over.dep.type)}."
            self._findings.add(Code.MAP_OVER_NO_LIST, what, fix, *edits)
        return Given(dep=replace(over.dep, type=element), described=f"an element of {over.described}")

    def cascaded_from(self, given: Sequence[Given]) -> StepSlug | None:
        """Return the nearest step that takes this one along when it is skipped."""
        slugs = {item.dep.slug for item in given}
        before = {str(step.slug): step for step in self._flow.steps if step.slug in slugs}
        steps = [before[item.dep.slug] for item in given if item.dep.slug in before]
        found = (step.slug if step.conditions.cascades else step.cascaded_from for step in steps)
        return next((slug for slug in found if slug is not None), None)

    # ---- one of them ----

    def _run_input(self) -> Given:
        return Given(dep=Dep(kind=DepKind.RUN, slug=RUN, type=self._flow.input_type), described="the run's input")

    def _resolved(self, dep: Any, index: int) -> Given:
        ref = dep if isinstance(dep, Ref) else Ref(dep)
        is_mapped_over = self._call.is_map and index == 1
        step = self._flow.find(ref.handler)
        if step is None:
            return self._outside(dep, ref, index)
        given = self._collected(step, ref, index) if ref.collects else self._single(step, ref, index)
        if is_mapped_over:
            if ref.is_maybe:
                self._needless_maybe(ref, f"a map over '{step.slug}' has no tasks when that was skipped", index)
            return given
        if not ref.is_maybe:
            self._check_maybe_forgotten(step, ref, index)
            return given
        if not step.can_be_skipped and not step.has_unknown_mode:
            self._needless_maybe(ref, f"'{step.slug}' is never skipped", index)
            return given
        optional = replace(given.dep, type=Optional[given.dep.type], is_maybe=True)  # noqa: UP045 - of any type
        return Given(dep=optional, described=f"maybe({given.described.strip(chr(39))})")

    def _outside(self, dep: Any, ref: Ref[Any], index: int) -> Given:
        """Understand what is no step: the run's input, or a mistake."""
        if is_input_type(self._flow, ref.handler) and not ref.collects:
            if ref.is_maybe:
                self._needless_maybe(ref, "the run's input is always there", index)
            return self._run_input()
        self._findings.unknown(
            ref.handler, Code.UNKNOWN_DEPENDENCY, index, is_mapped_over=self._call.is_map and index == 1
        )
        kind = DepKind.COLLECT if ref.collects else DepKind.STEP
        name = handler_name(ref.handler)
        described = handler_name(dep) if isinstance(dep, Ref) else f"'{name}'"
        declared = list[Any] if ref.collects and not ref.is_maybe else Any
        return Given(dep=Dep(kind=kind, slug=name, type=declared), described=described)

    def _single(self, step: StepSpec, ref: Ref[Any], index: int) -> Given:
        declared = step.output_type
        if step.is_map:
            declared = Any
            right = handler_name(replace(ref, collects=True))
            purpose = ", to map over its results." if self._call.is_map and index == 1 else "."
            what = f"'{step.slug}' is a map step, whose results are a list."
            edit = Inner(index, "collect({})")
            self._findings.add(Code.COLLECT_FORGOTTEN, what, f"Depend on {right}{purpose}", edit)
        return Given(dep=Dep(kind=DepKind.STEP, slug=step.slug, type=declared), described=f"'{step.slug}'")

    def _collected(self, step: StepSpec, ref: Ref[Any], index: int) -> Given:
        name = handler_name(ref.handler)
        declared = step.step_output_type
        if not step.is_map:
            parameter = self._parameter(index)
            fits = parameter is None or parameter.type is MISSING or assignable(declared, parameter.type)
            edits = (Unwrapped(index, "collect"),) if fits else ()
            declared = Any
            self._findings.add(
                Code.COLLECT_OF_NO_MAP,
                f"collect({name}) takes the results of a map step, but '{step.slug}' is a step of one task.",
                f"Depend on {name} itself, or add it with .map(…).",
                *edits,
            )
        return Given(dep=Dep(kind=DepKind.COLLECT, slug=step.slug, type=declared), described=f"collect({name})")

    def _check_duplicates(self, given: Sequence[Given]) -> None:
        seen: set[str] = set()
        for item in given:
            if item.dep.slug in seen:
                what = f"it depends on {item.described} twice."
                fix = "Take it once, and use the value twice inside the handler."
                self._findings.add(Code.DUPLICATE_DEPENDENCY, what, fix)
            seen.add(item.dep.slug)

    # ---- what may be skipped ----

    def _check_maybe_forgotten(self, step: StepSpec, ref: Ref[Any], index: int) -> None:
        ways = step.conditions.skips_alone
        if not ways or step.has_unknown_mode:
            return  # a step that is only skipped with all its dependents is always there for them
        right = handler_name(replace(ref, is_maybe=True))
        optional = type_name(Optional[step.step_output_type])  # noqa: UP045 - of any type
        cascade = ", ".join(f"{way}='skip-cascade'" for way in ways)
        self._findings.add(
            Code.MAYBE_FORGOTTEN,
            f"'{step.slug}' can be skipped ({skip_reasons(step)}), and this step runs without it.",
            f"Depend on {right} and let its parameter take {optional}; "
            f"or give '{step.slug}' {cascade}, so that this step is skipped with it.",
            Argument(index, "maybe({})"),
            *self._optional_parameter(index),
        )

    def _optional_parameter(self, index: int) -> tuple[Annotation, ...]:
        """Return the edit that lets the parameter of a dependency take None, when it does not."""
        parameter = self._parameter(index)
        if parameter is None or parameter.type is MISSING or assignable(None, parameter.type):
            return ()
        return (Annotation(self._call.function, parameter.name, f"{type_name(parameter.type)} | None"),)

    def _parameter(self, index: int) -> Parameter | None:
        """Return the parameter that takes a dependency, counted from 1; its element, if it is mapped over."""
        parameters = () if self._signature is None else self._signature.parameters[index - 1 : index]
        return next(iter(parameters), None)

    def _needless_maybe(self, ref: Ref[Any], reason: str, index: int) -> None:
        name = handler_name(ref)
        step = self._flow.find(ref.handler)
        collects = ref.collects and (step is None or step.is_map)
        right = handler_name(replace(ref, is_maybe=False)) if collects else handler_name(ref.handler)
        edits = [Unwrapped(index, "maybe")] + ([Unwrapped(index, "collect")] if ref.collects and not collects else [])
        self._findings.add(
            Code.MAYBE_WITHOUT_SKIP, f"{name} is never None: {reason}.", f"Depend on {right} itself.", *edits
        )


def skip_reasons(step: StepSpec) -> str:
    """Say in a few words which options let a step be skipped."""
    own = [f"{way}='skip'" for way in step.conditions.skips_alone]
    own += [f"{way}='skip-cascade'" for way in step.conditions.cascades]
    return ", ".join(own) or f"with '{step.cascaded_from}', on which it depends"
