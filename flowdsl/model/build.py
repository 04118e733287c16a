"""From one builder call to a step, with everything that is wrong with it.

A step is built even when it has problems, with `Any` where its types are unknown: so later steps that depend on it are
still checked, and one mistake is reported once.
"""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from flowdsl.model.adapters import ValueAdapter, describing_adapter, why_not_json
from flowdsl.model.assignable import assignable, is_decided, list_element
from flowdsl.model.condition_checks import CONDITION_OPTIONS, Subject, impossible_patterns, read_conditions
from flowdsl.model.definition import Definition
from flowdsl.model.dependencies import BuilderCall, Dependencies, Given
from flowdsl.model.findings import Findings, Pending
from flowdsl.model.handlers import MISSING, Signature, UnreadableHandlerError, read_signature
from flowdsl.model.matching import Matching, unresolved
from flowdsl.model.mending import Annotation, Argument, Edit, Method, Option, Renamed
from flowdsl.model.options import BadOption, StepOptions, step_options
from flowdsl.model.predicates.inputs import Input, Inputs
from flowdsl.model.problems import Code
from flowdsl.model.reachable import unreachable
from flowdsl.model.refs import Named, Ref, collect, handler_name, maybe, named
from flowdsl.model.source import definition_of
from flowdsl.model.step import RUN, Dep, DepKind, StepSpec, is_valid_slug
from flowdsl.model.typenames import type_name
from flowdsl.types import StepSlug, StepType

SLUG_RULE = "A slug has 1 to 128 letters, digits or underscores, begins with no digit, and is not 'run'."


def build_step(flow: Definition, call: BuilderCall) -> tuple[StepSpec, tuple[Pending, ...]]:
    """Understand one builder call; the problems are in the order of the call's parts."""
    builder = _StepBuilder(flow, call)
    return builder.build(), tuple(builder.findings.items)


def good_slug(slug: object) -> str | None:
    """Return the slug that comes nearest to a bad one; None when there is nothing to go by.

    >>> good_slug("first try"), good_slug("2nd"), good_slug("<lambda>")
    ('first_try', '_2nd', None)
    """
    if not isinstance(slug, str) or slug.startswith("<"):
        return None
    near = re.sub(r"[^A-Za-z0-9_]+", "_", slug)
    near = f"_{near}" if near[:1].isdigit() else f"{near}_step" if near == RUN else near
    return near if is_valid_slug(near) and near.strip("_") else None


def option_edits(bad: BadOption) -> tuple[Edit, ...]:
    """Return the edit that mends an option, where that is known."""
    if bad.right_name is not None:
        return (Renamed(bad.name, bad.right_name),)
    return () if bad.mended is None else (Option(bad.name, bad.mended),)


class _StepBuilder:
    def __init__(self, flow: Definition, call: BuilderCall) -> None:
        self.flow = flow
        self.call = call
        self.target: Any = call.function
        self.slug = self._slug()
        self.findings = Findings(
            flow_slug=flow.slug,
            step_slug=self.slug,
            location=call.location,
            place=call.place,
            known=flow.slugs,
            nearby=call.nearby,
        )

    def build(self) -> StepSpec:
        call = self.call
        self._check_slug()
        signature = self._signature()
        dependencies = Dependencies(self.flow, call, signature, self.findings)
        given = dependencies.given()
        deps, with_context = self._typed(signature, dependencies, given)
        conditions, mistakes = read_conditions(call.options, self._inputs(given, deps))
        options, bad_options = self._options()
        step = StepSpec(
            flow_slug=self.flow.slug,
            slug=StepSlug(self.slug),
            step_type=StepType.MAP if call.is_map else StepType.SINGLE,
            is_array=call.method == "array",
            handler=self.target,
            ref=call.handler,
            deps=tuple(deps[1:] if call.is_map else deps),
            map_over=given[0].dep if call.is_map else None,
            element_type=deps[0].type if call.is_map else None,
            options=options,
            location=call.location,
            is_async=signature is not None and signature.is_async,
            takes_context=with_context,
            output_type=self._output_type(signature),
            conditions=conditions,
            cascaded_from=dependencies.cascaded_from(given),
            has_unknown_mode=any(mistake.code is Code.BAD_OPTION for mistake in mistakes),
        )
        for bad in bad_options:
            self.findings.add(Code.BAD_OPTION, f"{bad.what}.", bad.fix, *option_edits(bad))
        for what in unreachable(step, self.flow.options.executor):
            fix = "Define it at the top level of a module, or give the step another executor."
            self.findings.add(Code.UNREACHABLE_IN_CHILD, f'{what}, and executor="process".', fix)
        for mistake in (*mistakes, *impossible_patterns(conditions, self._subject(step))):
            mended = mistake.mended
            edits = () if mended is None else (Option(*mended),)
            self.findings.add(mistake.code, mistake.what, mistake.fix, *edits)
        return step

    def _options(self) -> tuple[StepOptions, tuple[BadOption, ...]]:
        given = {n: value for n, value in self.call.options.items() if n not in ("slug", *CONDITION_OPTIONS)}
        return step_options(given, self.flow.options, ("slug", *CONDITION_OPTIONS))

    # ---- the step's name ----

    def _slug(self) -> str:
        given = self.call.options.get("slug")
        if isinstance(self.call.handler, Named):
            return str(self.call.handler.slug)
        return handler_name(self.call.handler) if given is None else str(given)

    def _check_slug(self) -> None:
        given, handler = self.call.options.get("slug"), self.call.handler
        if isinstance(handler, Ref):
            return  # no handler, which is told; its name would be one more thing to complain about
        if isinstance(handler, Named) and given is not None and given != handler.slug:
            what = f"named('{handler.slug}', …) and slug={given!r} give it two names."
            self.findings.add(Code.BAD_SLUG, what, "Leave out slug=.", Option("slug", None))
        if not is_valid_slug(self.slug) or not isinstance(given or "", str):
            what = f"'{self.slug}' cannot name a step."
            self.findings.add(Code.BAD_SLUG, what, f"{SLUG_RULE} Give another with slug=….", *self._other_slug())
        same_slug = next((step for step in self.flow.steps if step.slug == self.slug), None)
        same_ref = self.flow.find_handler(handler)
        if same_ref is not None and same_ref is not same_slug:
            other = self._free_slug(self.slug)
            self.findings.add(
                Code.DUPLICATE_STEP,
                f"its handler is already step '{same_ref.slug}' ({same_ref.location}).",
                f"Use named('{other}', {handler_name(handler)}), so that others can tell the two apart.",
                *(
                    (Argument(0, f'named("{other}", {{}})'), Option("slug", None))
                    if "slug" in self.call.options
                    else ()
                ),
            )
        elif same_slug is not None:
            other = self._free_slug(self.slug)
            edits = (Argument(0, f'named("{other}", {handler_name(self.target)})'), Option("slug", None))
            self.findings.add(
                Code.DUPLICATE_STEP,
                f"there is a step '{self.slug}' already ({same_slug.location}).",
                f"For the same function a second time use named('{other}', {handler_name(self.target)}); "
                "for another function give slug=….",
                *(edits if same_ref is not None else (Option("slug", f'"{other}"'),)),
            )

    def _free_slug(self, slug: str) -> str:
        """Return a slug that a step can have here and no other has, as near as possible to this one."""
        taken = self.flow.slugs()
        near = slug if is_valid_slug(slug) else good_slug(slug) or "another"
        names = (near, *(f"{near}_{number}" for number in range(2, len(taken) + 3)))
        return next(name for name in names if name not in taken)

    def _other_slug(self) -> tuple[Edit, ...]:
        if good_slug(self.slug) is None:
            return ()
        near = self._free_slug(self.slug)
        if isinstance(self.call.handler, Named):
            return (Argument(0, f'named("{near}", {handler_name(self.target)})'),)
        return (Option("slug", f'"{near}"'),)

    # ---- the handler ----

    def _signature(self) -> Signature | None:
        if isinstance(self.target, Ref):
            kind = "maybe" if self.target.is_maybe else "collect"
            fix = f"Pass the function; {kind} is for dependencies."
            self.findings.add(Code.BAD_HANDLER, f"{kind}(…) is no handler.", fix)
            return None
        if any(self.target is own for own in (collect, maybe, named)):
            name = self.target.__name__
            fix = f"Pass the function itself; {name}(…) is written with brackets, around it."
            self.findings.add(Code.BAD_HANDLER, f"{name} is no handler.", fix)
            return None
        try:
            signature = read_signature(self.target, self.call.nearby)
        except UnreadableHandlerError as error:
            name = self.target if isinstance(self.target, str) and callable(self.call.nearby.get(self.target)) else None
            edits = () if name is None else (Argument(0, name),)
            fix = "Pass the function itself, not its name." if isinstance(self.target, str) else error.fix
            self.findings.add(Code.BAD_HANDLER, f"its handler cannot be used: {error.what}.", fix, *edits)
            return None
        if self._is_without_object(signature):
            owner, method = self.target.__qualname__.split(".")[-2:]
            what = f"its handler {method} is a method of {owner}, without an object to call it on."
            self.findings.add(Code.BAD_HANDLER, what, f"Pass it of an object: {owner}(…).{method}.")
            return None
        for name in signature.keyword_only:
            self.findings.add(
                Code.KEYWORD_ONLY_PARAMETER,
                f"parameter '{name}' is keyword-only and has no default.",
                "Move it before the '*', or give it a default.",
            )
        return signature

    def _is_without_object(self, signature: Signature) -> bool:
        first = signature.parameters[0] if signature.parameters else None
        is_self = first is not None and first.name == "self" and first.type is MISSING
        return is_self and "." in getattr(self.target, "__qualname__", "").replace("<locals>.", "")

    def _typed(
        self, signature: Signature | None, dependencies: Dependencies, given: list[Given]
    ) -> tuple[list[Dep], bool]:
        """Match parameters and values; return the values' final types and whether a Context follows."""
        if self.call.is_map:
            first = signature.parameters[0].type if signature is not None and signature.parameters else MISSING
            fits_whole = first is not MISSING and assignable(given[0].dep.type, first)
            given = [dependencies.element(given[0], fits_whole), *given[1:]]
        if signature is None:
            return [item.dep for item in given], False
        return Matching(self.flow, self.call, signature, self.findings).types(given)

    def _output_type(self, signature: Signature | None) -> Any:
        if signature is None:
            return Any
        output = signature.output
        if output.type is MISSING:
            returned, edits = ("None", self._returning_none()) if _returns_nothing(self.target) else ("TheOutput", ())
            fix = f"Annotate it: def …(…) -> {returned}" + (":" if edits else ", or -> None.")
            self.findings.add(Code.MISSING_ANNOTATION, "the return type is missing.", fix, *edits)
            return Any
        if output.unresolved is not None:
            unresolved(self.findings, "the return type", output.unresolved)
            return Any
        if self.call.method == "array" and not list_element(output.type)[0]:
            self.findings.add(
                Code.ARRAY_RETURNS_NO_LIST,
                f"an array step has to return a list, but its handler returns {type_name(output.type)}.",
                "Return a list, or add it with .step(…).",
                Method("step"),
            )
        obstacle = why_not_json(output.type)
        if obstacle is not None:
            what = f"its output type {type_name(output.type)} cannot be turned into JSON: {obstacle.what}."
            self.findings.add(Code.NO_JSON, what, obstacle.fix)
            return Any
        return output.type

    def _returning_none(self) -> tuple[Edit, ...]:
        return (Annotation(self.target, "return", "None"),)

    # ---- conditions ----

    def _inputs(self, given: Sequence[Given], deps: Sequence[Dep]) -> Inputs:
        """Return what a predicate is given: what the handler is, but the whole list for a map's element."""
        taken = [given[0].dep, *deps[1:]] if self.call.is_map else list(deps)
        if self.call.is_map and not is_decided(taken[0].type):
            element: Any = deps[0].type
            taken[0] = replace(taken[0], type=list[element])
        slugs = {dep.slug for dep in taken}
        before: dict[str, Any] = {step.slug: step for step in self.flow.steps if step.slug in slugs}
        inputs = []
        for dep in taken:
            is_run = dep.kind is DepKind.RUN
            if not is_run and dep.slug not in before:
                return Inputs(values=None, is_root=False)
            # A value is written as the type of the step it comes from says, which the parameter need not repeat.
            written = self.flow.input_type if is_run else before[dep.slug].step_output_type
            known = written if is_decided(written) else dep.type
            if known is Any and self.flow.pending:
                return Inputs(values=None, is_root=False)  # most likely it has a mistake of its own
            adapter = partial(describing_adapter, known)
            is_mapped_over = self.call.is_map and dep is taken[0]
            is_skippable = is_mapped_over and not is_run and bool(before[dep.slug].conditions.skips_alone)
            inputs.append(
                Input(slug=dep.slug, adapter=adapter, is_maybe=dep.is_maybe, is_empty_when_skipped=is_skippable)
            )
        return Inputs(values=tuple(inputs), is_root=all(dep.kind is DepKind.RUN for dep in taken))

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


def _says_nothing(statement: ast.stmt) -> bool:
    is_constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_constant or isinstance(statement, ast.Pass | ast.Raise)


def _returns_nothing(function: Any) -> bool:
    """Tell whether a function's source has no `return` of a value, as far as that can be read."""
    found = definition_of(function)
    if found is None:
        return False
    body: Sequence[ast.stmt] = found[1].body
    if all(_says_nothing(statement) for statement in body):
        return False  # a stub
    returns = (node for statement in body for node in ast.walk(statement) if isinstance(node, ast.Return))
    return all(node.value is None for node in returns)
