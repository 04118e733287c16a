"""What changed between two shapes of a flow, in the words a reviewer wants, and as data: one detail per change."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from flowdsl.compiler.schema_parts import differences, property_schema
from flowdsl.compiler.words import (
    FATES,
    LEAVES,
    RUN,
    condition_words,
    given_words,
    kind_words,
    option_words,
    sources,
    step_words,
)
from flowdsl.model.schema_words import NOTHING, Difference
from flowdsl.model.shape import FlowShape, OptionValues, StepShape


class Topic(StrEnum):
    """What a detail is about: the heading it stands under."""

    STEPS = "steps"
    CONDITIONS = "conditions"
    TYPES = "types"
    RETURNS = "returns"
    OPTIONS = "options"


class Mark(StrEnum):
    """Whether something is new, gone or different."""

    ADDED = "+"
    REMOVED = "-"
    CHANGED = "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One change: of a step or (None) of the flow, what of it (`subject`), what it was and what it is, and in words.

    `path` is the place in a type, as a JSON path.
    """

    topic: Topic
    mark: Mark = Mark.CHANGED
    step: str | None = None
    subject: str
    path: str | None = None
    old: str | None
    new: str | None
    text: str


def compare(old: FlowShape, new: FlowShape) -> tuple[Detail, ...]:
    """Return all changes from `old` to `new`, by topic."""
    return (
        *_steps(old, new),
        *_conditions(old, new),
        *_types(old, new),
        *_returns(old, new),
        *_options(old, new),
    )


def _pairs(old: FlowShape, new: FlowShape) -> Iterator[tuple[StepShape, StepShape]]:
    before = {step.slug: step for step in old.steps}
    return ((before[step.slug], step) for step in new.steps if step.slug in before)


# ---- steps and edges -------------------------------------------------------------------------------------------------


def _steps(old: FlowShape, new: FlowShape) -> Iterator[Detail]:
    before, after = ({step.slug for step in shape.steps} for shape in (old, new))
    for mark, shape, known in ((Mark.ADDED, new, before), (Mark.REMOVED, old, after)):
        for step in shape.steps:
            if step.slug not in known:
                words = step_words(step) + ("" if _condition(step) == _NONE else f", runs {condition_words(step)}")
                was, is_ = (None, words) if mark is Mark.ADDED else (words, None)
                yield Detail(
                    topic=Topic.STEPS,
                    mark=mark,
                    step=step.slug,
                    subject="step",
                    old=was,
                    new=is_,
                    text=f"{step.slug}: {words}",
                )
    for one, other in _pairs(old, new):
        yield from _wiring(one, other)
    orders = [[step.slug for step in shape.steps if step.slug in before & after] for shape in (old, new)]
    if orders[0] != orders[1]:
        was, is_ = (", ".join(order) for order in orders)
        yield Detail(topic=Topic.STEPS, subject="order", old=was, new=is_, text=f"order: {is_}; was {was}")


def _wiring(old: StepShape, new: StepShape) -> Iterator[Detail]:
    for subject, verb, was, is_ in (
        ("kind", "is ", kind_words(old), kind_words(new)),
        ("takes", "takes ", given_words(old), given_words(new)),
    ):
        if was != is_:
            yield Detail(
                topic=Topic.STEPS,
                step=new.slug,
                subject=subject,
                old=was,
                new=is_,
                text=f"{new.slug}: {verb}{is_}; was {was}",
            )


def _returns(old: FlowShape, new: FlowShape) -> Iterator[Detail]:
    if old.output_step != new.output_step:
        was, is_ = old.output_step or LEAVES, new.output_step or LEAVES
        yield Detail(topic=Topic.RETURNS, subject="returns", old=was, new=is_, text=f"{is_}; was {was}")


# ---- conditions ------------------------------------------------------------------------------------------------------


def _conditions(old: FlowShape, new: FlowShape) -> Iterator[Detail]:
    for before, after in _pairs(old, new):
        if _condition(before) != _condition(after):
            was, is_ = condition_words(before), condition_words(after)
            if was == is_:  # the words of a later flowdsl, or of another version of it, for something else
                was, is_ = (str(step.input_predicate and step.input_predicate.jsonpath) for step in (before, after))
            yield _condition_detail(after, "condition", was, is_, f"runs {is_}; was {was}")
        for subject, situation, mode, previous in (
            ("when_unmet", "its condition is unmet", after.when_unmet, before.when_unmet),
            ("when_exhausted", "no attempts are left", after.when_exhausted, before.when_exhausted),
        ):
            if mode != previous:
                text = f"when {situation}: {FATES[mode]}; was: {FATES[previous]}"
                yield _condition_detail(after, subject, previous, mode, text)


_NONE = (None, None, None)


def _condition(step: StepShape) -> tuple[object, ...]:
    return (step.required_input_pattern, step.forbidden_input_pattern, step.input_predicate)


def _condition_detail(step: StepShape, subject: str, old: str, new: str, text: str) -> Detail:
    return Detail(
        topic=Topic.CONDITIONS, step=step.slug, subject=subject, old=old, new=new, text=f"{step.slug}: {text}"
    )


# ---- types -----------------------------------------------------------------------------------------------------------


def _types(old: FlowShape, new: FlowShape) -> Iterator[Detail]:
    if new.input_schema is not None and old.input_schema is None:
        text = "types are recorded from now on"
        yield Detail(topic=Topic.TYPES, mark=Mark.ADDED, subject="types", old=None, new="recorded", text=text)
        return
    written = {RUN: differences(old.input_schema, new.input_schema)}
    written |= {
        after.slug: differences(before.output_schema, after.output_schema) for before, after in _pairs(old, new)
    }
    yield from _type_details(None, "input", "the run's input", written[RUN])
    for before, after in _pairs(old, new):
        for name in sources(after):
            taken = differences(*(property_schema(step.input_schema, name) for step in (before, after)))
            # That a step takes what the other now returns says nothing more.
            if taken != written.get(name):
                yield from _type_details(after.slug, f"input.{name}", f"{after.slug} takes {name}", taken)
        yield from _type_details(after.slug, "output", f"{after.slug} returns", written[after.slug])
    if old.output_step != new.output_step:
        found = differences(old.output_schema, new.output_schema)
        yield from _type_details(None, "output", "the run's output", found)


def _type_details(step: str | None, subject: str, words: str, found: tuple[Difference, ...]) -> Iterator[Detail]:
    for one in found:
        yield Detail(
            topic=Topic.TYPES,
            step=step,
            subject=subject,
            path=one.path,
            old=one.written,
            new=one.expected,
            text=f"{words} {one.path}: {_change_words(one)}",
        )


def _change_words(found: Difference) -> str:
    if found.written == NOTHING:
        return f"added, {found.expected}"
    return f"removed, was {found.written}" if found.expected == NOTHING else f"{found.expected}, was {found.written}"


# ---- options ---------------------------------------------------------------------------------------------------------


def _options(old: FlowShape, new: FlowShape) -> Iterator[Detail]:
    yield from _option_details(None, old.options, new.options)
    for before, after in _pairs(old, new):
        yield from _option_details(after.slug, before.options, after.options)


def _option_details(step: str | None, old: OptionValues, new: OptionValues) -> Iterator[Detail]:
    for name, value in new.items():
        if value != old.get(name):
            was, is_ = option_words(old.get(name)), option_words(value)
            # A run's deadline is fixed when it starts, unlike what attempts and claims look up.
            whose = " (of runs that start from now on)" if name == "deadline" else ""
            prefix = "" if step is None else f"{step}: "
            text = f"{prefix}{name} {was} -> {is_}{whose}"
            yield Detail(topic=Topic.OPTIONS, step=step, subject=name, old=was, new=is_, text=text)
