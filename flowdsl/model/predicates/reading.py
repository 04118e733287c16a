"""From a function given as `when` or `unless` to a predicate: it is called once, with stand-ins for the step's inputs."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowdsl.model.chain import shown_path
from flowdsl.model.conditions import Predicate
from flowdsl.model.predicates.decisions import decision_about
from flowdsl.model.predicates.expressions import ABSENT, RUN_ROOT, Condition, Place, Step, both, free_places, opposite
from flowdsl.model.predicates.inputs import Input
from flowdsl.model.predicates.jsonpath import jsonpath
from flowdsl.model.predicates.kinds import Node
from flowdsl.model.predicates.mistakes import ALWAYS, NEVER, PredicateError, impossible, pointless, untraceable
from flowdsl.model.predicates.source import Source
from flowdsl.model.predicates.standin import Tracing
from flowdsl.model.predicates.tracing import TracedCondition, TracedValue, condition_of
from flowdsl.model.predicates.watching import Watch
from flowdsl.model.predicates.words import words

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Traced:
    """What was traced of one option: its condition as it was written, and where."""

    option: str
    condition: Condition
    location: str

    @property
    def whole(self) -> Condition:
        """What has to be true for the step to run."""
        return opposite(self.condition) if self.option == "unless" else self.condition


def read_predicate(option: str, function: Callable[..., Any], inputs: Sequence[Input], *, is_root: bool) -> Traced:
    """Call a function with stand-ins for the inputs; PredicateError if it makes no condition."""
    names = _parameters(option, function, inputs)

    def can_be_traced(other: Callable[..., Any]) -> bool:
        try:
            predicate_of([read_predicate(option, other, inputs, is_root=is_root)])
        except Exception:  # it is tried out, and may fail in any way
            return False
        return True

    tracing = Tracing(option, Source(function), can_be_traced)
    stand_ins = [_stand_in(tracing, input_, name, is_root=is_root) for input_, name in zip(inputs, names, strict=True)]
    result = _called(tracing, function, stand_ins)
    return Traced(option, _returned(tracing, result), tracing.source.location)


def predicate_of(traced: Sequence[Traced]) -> Predicate:
    """Return the predicate that is true where the step runs; PredicateError if it is the same for all inputs."""
    whole = traced[0].whole
    for other in traced[1:]:
        whole = both(whole, other.whole)
    text = jsonpath(whole)
    if isinstance(text, bool) or len(traced) > 1:
        for one in traced:
            _check_decided(one)
    if isinstance(text, bool):
        raise impossible(f"when and unless can never both be met: {words(whole)}.", "Leave one of them out.")
    return Predicate(jsonpath=text, words=words(whole))


def _check_decided(traced: Traced) -> None:
    verdict = jsonpath(traced.condition)
    if isinstance(verdict, bool):
        what = f"{(ALWAYS if verdict else NEVER)[traced.option]}: {words(traced.condition)} ({traced.location})."
        fix = "Leave it out, or say what to look for." if verdict else "Leave the step out, or say what to look for."
        raise (pointless if verdict else impossible)(what, fix)


def _parameters(option: str, function: Callable[..., Any], inputs: Sequence[Input]) -> list[str]:
    location = Source(function).location
    if inspect.iscoroutinefunction(function):
        raise _coroutine(option, location)
    slugs = [input_.slug for input_ in inputs]
    example = f"{option}=lambda {', '.join(slugs)}: …"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise untraceable(f"the signature of {option}={function!r} cannot be read.", f"Write {example}.") from error
    parameters = list(signature.parameters.values())
    demanded = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if demanded:
        what = f"{option} has the keyword-only parameter '{demanded[0]}' ({location}), but is given values by position."
        raise untraceable(what, f"Write {example}.")
    names = [p.name for p in parameters if p.kind in _POSITIONAL]
    needed = [p.name for p in parameters if p.kind in _POSITIONAL and p.default is p.empty]
    is_variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(needed) > len(slugs) or (len(names) < len(slugs) and not is_variadic):
        taken = f"{len(names)} parameter{'s' * (len(names) != 1)} ({', '.join(names) or 'none'})"
        given = f"{len(slugs)} value{'s' * (len(slugs) != 1)} ({', '.join(slugs)})"
        what = f"{option} takes {taken}, but is given {given} ({location})."
        raise untraceable(what, f"It is given what the handler is given, without a Context: write {example}.")
    return [*names[: len(slugs)], *slugs[len(names) :]]


def _coroutine(option: str, location: str) -> PredicateError:
    what = f"{option} is a coroutine function ({location}), but it is called once, when the flow is defined."
    return untraceable(what, "Write it with def, or as a lambda, and without await.")


def _stand_in(tracing: Tracing, input_: Input, name: str, *, is_root: bool) -> TracedValue:
    node = Node.of(input_.adapter())
    is_nullable = node.kind.is_nullable
    if is_root:
        return TracedValue(tracing, node, Place(RUN_ROOT, (), name, root_may_be_none=is_nullable))
    default: Any = [] if input_.is_empty_when_skipped else ABSENT
    step = Step(input_.slug, may_be_none=input_.is_maybe or is_nullable, default=default)
    return TracedValue(tracing, node, Place(RUN_ROOT, (step,), name))


def _called(tracing: Tracing, function: Callable[..., Any], stand_ins: list[TracedValue]) -> Any:
    tracing.is_running = True
    try:
        with Watch() as watch:
            result = function(*stand_ins)
    except PredicateError:
        raise
    except Exception as error:  # what users write may fail in any way
        what = f"{tracing.option} raises {type(error).__name__}: {error} ({tracing.source.location})."
        fix = "It is called once, with stand-ins for the values, when the flow is defined: let it only compare them."
        raise tracing.mended(untraceable(what, fix)) from error
    finally:
        tracing.is_running = False
    if tracing.first_error is not None:  # which the function kept to itself
        raise tracing.first_error
    _check_decisions(tracing, watch, stand_ins)
    return result


def _check_decisions(tracing: Tracing, watch: Watch, stand_ins: list[TracedValue]) -> None:
    code = tracing.source.code
    if code is not None and code not in watch.seen and stand_ins and not watch.is_on:
        watch.seen[code] = frozenset(code.co_varnames[: code.co_argcount])
    for seen, names in reversed(watch.seen.items()):  # the outermost first
        decision = decision_about(seen, names)
        if decision is not None:
            tracing.refuse_decision(decision, shown_path(seen.co_filename))


def _returned(tracing: Tracing, result: Any) -> Condition:
    option, location = tracing.option, tracing.source.location
    if inspect.iscoroutine(result):
        result.close()
        raise _coroutine(option, location)
    if isinstance(result, bool):
        # `is`, isinstance and constants are decided by Python, before there is any value.
        error = (pointless if result else impossible)(
            f"{(ALWAYS if result else NEVER)[option]}: it returns {result} whatever the inputs are ({location}).",
            "Compare the inputs; write is_none(x) for 'x is None'.",
        )
        raise tracing.mended(error)
    if isinstance(result, TracedCondition):
        condition = condition_of(tracing, result, option)
        kept = next((place for place in free_places(condition) if place.root != RUN_ROOT), None)
        if kept is not None:
            what = f"{option} looks at {kept.shown}, an element of a list, outside of its any_ or all_ ({location})."
            raise untraceable(what, "Compare the element inside of the function that is given to any_ or all_.")
        return condition
    if isinstance(result, TracedValue) and result._pf_kind.is_scalar:  # noqa: SLF001 - both are parts of one thing
        try:
            return condition_of(tracing, result, option)
        except PredicateError as error:
            place = result._pf_shown  # noqa: SLF001 - as above
            what = f"{option} returns {place}, which is {result._pf_kind.name} and no condition ({location})."  # noqa: SLF001 - as above
            raise untraceable(what, f"Compare it: {place} == ….") from error
    what = f"{option} returns {result!r}, which is no condition ({location})."
    raise tracing.mended(untraceable(what, "Return a comparison of the inputs, or several joined by & and |."))


UNKNOWN: Final = Predicate(jsonpath="exists($)", words="unknown")
"""Stands for a predicate that could not be read, so that the step is known to be conditional."""
