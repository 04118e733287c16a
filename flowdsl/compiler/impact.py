"""What a change of a flow's structure means for its runs in flight and its callers: safe, needs drain, or breaking.

Two questions, each asked of the old versions one by one. Can new code carry out the runs of an old version? It can when every
step of that version is there and is given the same, can read what old code wrote, and writes what old code, or a caller, can
read. Then workers with the new code serve these runs as well, and otherwise workers with the old code have to stay until they
have ended. And do its callers go on? They do when what they send is accepted, and when they can read what they get.

Conditions, skip modes and options do not matter here: each run is judged by the rows of its own version.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from flowdsl.compiler.schema_parts import not_accepted, property_schema, required_properties
from flowdsl.compiler.versions import FlowVersion
from flowdsl.compiler.words import RUN, given, given_words, kind_words, output_steps, sources, versions_words
from flowdsl.model.schema_words import NOTHING, Difference
from flowdsl.model.schemas import Schema
from flowdsl.model.shape import FlowShape, StepShape


class ImpactClass(StrEnum):
    """How careful a change has to be brought out."""

    SAFE = "safe"
    NEEDS_DRAIN = "needs drain"
    BREAKING = "breaking"


_ORDER: Final = tuple(ImpactClass)


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that a change means, and how grave it is."""

    level: ImpactClass
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """All that a change means.

    `serves_from` is the oldest version whose runs workers with the new code carry out, `accepts_from` the oldest one whose
    callers may start the new version and read its output.
    """

    reasons: tuple[Reason, ...]
    serves_from: int
    accepts_from: int

    @property
    def level(self) -> ImpactClass:
        """The gravest of the reasons'."""
        return max((reason.level for reason in self.reasons), key=_ORDER.index, default=ImpactClass.SAFE)


def judge(history: Sequence[FlowVersion], new: FlowShape) -> Impact:
    """Judge the shape that shall be the next version; `history` are the versions of the flow, oldest first.

    All versions that the last one reaches back to are looked at: that new code fits version 2, and that of version 2 fitted
    version 1, does not mean that it fits version 1.
    """
    if not history:
        return Impact(reasons=(Reason(ImpactClass.SAFE, "no run of it exists yet"),), serves_from=1, accepts_from=1)
    last = history[-1]
    served, run_obstacles = _reach(history, last.serves_from, lambda old: _run_obstacles(old, new))
    accepted, caller_obstacles = _reach(history, last.accepts_from, lambda old: _caller_obstacles(old, new))
    return Impact(
        reasons=(
            *caller_obstacles,
            *_advice_on_callers(last, accepted),
            *run_obstacles,
            *_advice_on_runs(last, served),
            *_remarks(last, new),
        ),
        serves_from=served,
        accepts_from=accepted,
    )


def _reach(
    history: Sequence[FlowVersion], lower: int, obstacles_of: Callable[[FlowVersion], Iterator[Reason]]
) -> tuple[int, tuple[Reason, ...]]:
    """Return the oldest version down to which nothing stands in the way, and what stands in the way of the one before."""
    reached = history[-1].version + 1
    for old in reversed(history):
        if old.version < lower or old.version != reached - 1:
            break
        obstacles = tuple(obstacles_of(old))
        if obstacles:
            return reached, obstacles
        reached = old.version
    return reached, ()


# ---- what stands in the way ------------------------------------------------------------------------------------------


def _run_obstacles(old: FlowVersion, new: FlowShape) -> Iterator[Reason]:
    """Yield why new code cannot carry out the runs of an old version."""
    if _is_unknown(old, new):
        yield _drain(
            f"the types of version {old.version} were not recorded: whether new code fits its runs is not known"
        )
    now: dict[str, StepShape] = {step.slug: step for step in new.steps}
    for step in old.shape.steps:
        if step.slug not in now:
            yield _drain(f"step '{step.slug}' is gone, and runs of version {old.version} may still need it")
        else:
            yield from _wiring_obstacles(old, step, now[step.slug])
    yield from _reading_obstacles(old, now)
    yield from _writing_obstacles(old, now)


def _wiring_obstacles(old: FlowVersion, before: StepShape, after: StepShape) -> Iterator[Reason]:
    whose = f"in runs of version {old.version}"
    if before.step_type != after.step_type or before.map_over != after.map_over:
        yield _drain(f"step '{after.slug}' is {kind_words(after)}, {whose} it is {kind_words(before)}")
    if given(before) != given(after):
        yield _drain(f"step '{after.slug}' takes {given_words(after)}, {whose} it takes {given_words(before)}")


def _reading_obstacles(old: FlowVersion, now: dict[str, StepShape]) -> Iterator[Reason]:
    """What old code (or an old caller) wrote, the new code has to read."""
    before: dict[str, StepShape] = {step.slug: step for step in old.shape.steps}
    for step in old.shape.steps:
        reader = now.get(step.slug)
        if reader is None or given(step) != given(reader) or step.map_over != reader.map_over:
            continue
        needed = required_properties(reader.input_schema) - required_properties(step.input_schema)
        for name in sources(step):
            written = old.shape.input_schema if name == RUN else before[name].output_schema
            subject = f"step '{step.slug}' cannot read {_read(name)} runs of version {old.version}"
            if name in needed and step.input_schema is not None:
                yield _drain(f"{subject}: it may have been skipped there")
            expected = property_schema(reader.input_schema, name)
            # Who reads as before reads what there was before.
            if expected != property_schema(step.input_schema, name):
                yield from _misfits(subject, written, expected)


def _writing_obstacles(old: FlowVersion, now: dict[str, StepShape]) -> Iterator[Reason]:
    """What new code writes, the old code (or an old caller) has to read."""
    outputs = output_steps(old.shape)
    readers: dict[str, list[StepShape]] = {}
    for step in old.shape.steps:
        for dep in step.deps:
            readers.setdefault(dep, []).append(step)
    for step in old.shape.steps:
        writer = now.get(step.slug)
        # Who writes as before is read as before.
        if writer is None or writer.output_schema == step.output_schema:
            continue
        for reader in readers.get(step.slug, []):
            subject = f"step '{reader.slug}' of version {old.version} cannot read what '{step.slug}' returns now"
            yield from _misfits(subject, writer.output_schema, property_schema(reader.input_schema, step.slug))
        if step.slug in outputs:
            subject = f"runs of version {old.version} would return another type, for '{step.slug}' does"
            yield from _misfits(subject, writer.output_schema, step.readable_as)


def _caller_obstacles(old: FlowVersion, new: FlowShape) -> Iterator[Reason]:
    """Yield why callers of an old version cannot start the new one, or cannot read what it returns."""
    if _is_unknown(old, new):
        unknown = f"the types of version {old.version} were not recorded: whether its callers fit is not known"
        yield Reason(ImpactClass.BREAKING, unknown)
    sent = f"callers of version {old.version} send an input that is no longer accepted"
    yield from _misfits(sent, old.shape.input_schema, new.input_schema, ImpactClass.BREAKING)
    read = f"callers of version {old.version} cannot read the run's output"
    if new.output_schema != old.shape.output_schema:
        yield from _misfits(read, new.output_schema, old.shape.readable_as, ImpactClass.BREAKING)


def _is_unknown(old: FlowVersion, new: FlowShape) -> bool:
    return old.shape.input_schema is None and new.input_schema is not None


def _misfits(
    subject: str, written: Schema | None, expected: Schema | None, level: ImpactClass = ImpactClass.NEEDS_DRAIN
) -> Iterator[Reason]:
    found = not_accepted(written, expected)
    if found:
        yield Reason(level, f"{subject}: {'; '.join(map(_difference, found))}")


def _difference(found: Difference) -> str:
    if found.written == NOTHING:
        return f"{found.path} is missing ({found.expected})"
    return f"{found.path} is {found.written} where {found.expected} is expected"


def _drain(text: str) -> Reason:
    return Reason(ImpactClass.NEEDS_DRAIN, text)


# ---- what follows ----------------------------------------------------------------------------------------------------


def _advice_on_callers(last: FlowVersion, accepted: int) -> Iterator[Reason]:
    if accepted > last.accepts_from:
        whose = versions_words(last.accepts_from, min(accepted - 1, last.version))
        yield Reason(ImpactClass.BREAKING, f"callers with the fingerprint of {whose} are refused: replace them")


def _advice_on_runs(last: FlowVersion, served: int) -> Iterator[Reason]:
    if served > last.serves_from:
        whose = versions_words(last.serves_from, min(served - 1, last.version))
        yield _drain(f"keep workers with the code of version {last.version} until the runs of {whose} have ended")
    if served <= last.version:
        whose = versions_words(served, last.version)
        yield Reason(ImpactClass.SAFE, f"workers with this code carry out the runs of {whose} too")


def _remarks(last: FlowVersion, new: FlowShape) -> Iterator[Reason]:
    known = {step.slug for step in last.shape.steps}
    if added := [step.slug for step in new.steps if step.slug not in known]:
        yield Reason(ImpactClass.SAFE, f"runs in flight go on without what is added ({', '.join(added)})")
    before = {step.slug: step.conditions() for step in last.shape.steps}
    if [step.slug for step in new.steps if before.get(step.slug, step.conditions()) != step.conditions()]:
        yield Reason(ImpactClass.SAFE, "runs in flight are judged by the conditions they began with")
    yield from _remarks_on_step_outputs(last, new)


def _remarks_on_step_outputs(last: FlowVersion, new: FlowShape) -> Iterator[Reason]:
    """What a step returns is no promise to callers, as the run's output is; but some may read it."""
    now = {step.slug: step for step in new.steps}
    for step in last.shape.steps:
        after = now.get(step.slug)
        if after is None:
            yield Reason(ImpactClass.SAFE, f"callers that read the output of step '{step.slug}' find none in new runs")
        elif step.slug != last.shape.output_step:
            subject = f"callers that read the output of step '{step.slug}' by its old type cannot"
            if after.output_schema != step.output_schema:
                yield from _misfits(subject, after.output_schema, step.readable_as, ImpactClass.SAFE)


def _read(name: str) -> str:
    return "the input of" if name == RUN else f"what '{name}' returned in"
