"""Two shapes of a flow, the compiled one and the one in the code, become the operations that lead from one to the other.

A changed structure is a new version, since runs end on the version they began with. Changed options are an update in place,
since they may change under a running flow. Nothing changed is no change at all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from flowdsl.compiler.operations import AddStep, CreateFlow, Operation, SetFlowOptions, SetStepOptions
from flowdsl.model.conditions import SkipMode
from flowdsl.model.shape import FlowShape, OptionValue, OptionValues, StepShape


class ChangeKind(StrEnum):
    """What a change is for the flow."""

    NEW = "new"
    VERSION = "version"
    OPTIONS = "options"


class Impact(StrEnum):
    """What a change means for runs in flight."""

    SAFE = "safe"
    NEEDS_DRAIN = "needs drain"


REASONS: Mapping[ChangeKind, tuple[Impact, str]] = {
    ChangeKind.NEW: (Impact.SAFE, "no run of it exists yet"),
    ChangeKind.OPTIONS: (Impact.SAFE, "runs in flight take the new options from their next attempt on"),
    ChangeKind.VERSION: (
        Impact.NEEDS_DRAIN,
        "runs in flight end on version {previous}: keep workers with that code until they have",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowChange:
    """The change of one flow: its kind, the version it leads to, the details in words, and the operations."""

    kind: ChangeKind
    version: int
    old: FlowShape | None
    new: FlowShape
    details: tuple[str, ...]
    operations: tuple[Operation, ...]

    @property
    def impact(self) -> Impact:
        """What the change means for runs in flight."""
        return REASONS[self.kind][0]

    @property
    def reason(self) -> str:
        """Why the impact is what it is."""
        return REASONS[self.kind][1].format(previous=self.version - 1)

    @property
    def label(self) -> str:
        """The change in two or three words, for a file name: `hello v2`, `hello options`."""
        return f"{self.new.slug} options" if self.kind is ChangeKind.OPTIONS else f"{self.new.slug} v{self.version}"

    @property
    def summary(self) -> str:
        """The change in one line."""
        if self.kind is ChangeKind.NEW:
            return f"{self.new.slug}: new flow, {_count(len(self.new.steps), 'step')}"
        if self.kind is ChangeKind.VERSION:
            return f"{self.new.slug}: version {self.version}"
        return f"{self.new.slug}: options of version {self.version}"

    @property
    def notes(self) -> tuple[str, ...]:
        """The change in full, for the revision's docstring."""
        return (
            f"{self.summary} (fingerprint {self.new.fingerprint})",
            *(f"  {detail}" for detail in self.details),
            f"  {self.impact}: {self.reason}",
        )


def diff(
    old: FlowShape | None, new: FlowShape, *, version: int = 0, fingerprint: str | None = None
) -> FlowChange | None:
    """Return the change that leads from `old` to `new`; None when there is none.

    `version` and `fingerprint` are those that `old` was compiled with (default: its own fingerprint).
    """
    if old is None:
        operations = _creation(new, version + 1, with_options=True)
        return FlowChange(
            kind=ChangeKind.NEW, version=version + 1, old=None, new=new, details=(), operations=tuple(operations)
        )
    compiled = fingerprint or old.fingerprint
    if compiled != new.fingerprint:
        details = (*_structure_details(old, new), *_option_details(old, new))
        details = details or (f"fingerprint {compiled} -> {new.fingerprint}",)
        operations = (*_flow_options(old, new), *_creation(new, version + 1, with_options=False))
        return FlowChange(
            kind=ChangeKind.VERSION, version=version + 1, old=old, new=new, details=details, operations=operations
        )
    operations = (*_flow_options(old, new), *_step_options(old, new, version))
    if not operations:
        return None
    return FlowChange(
        kind=ChangeKind.OPTIONS,
        version=version,
        old=old,
        new=new,
        details=tuple(_option_details(old, new)),
        operations=operations,
    )


def _creation(shape: FlowShape, version: int, *, with_options: bool) -> tuple[Operation, ...]:
    create = CreateFlow(
        flow_slug=shape.slug,
        version=version,
        fingerprint=shape.fingerprint,
        output_step=shape.output_step,
        options=shape.options if with_options else None,
    )
    return (create, *(AddStep(flow_slug=shape.slug, version=version, step=step) for step in shape.steps))


def _flow_options(old: FlowShape, new: FlowShape) -> Iterator[Operation]:
    if old.options != new.options:
        yield SetFlowOptions(flow_slug=new.slug, old=old.options, new=new.options)


def _step_options(old: FlowShape, new: FlowShape, version: int) -> Iterator[Operation]:
    for before, after in zip(old.steps, new.steps, strict=True):
        if before.options != after.options:
            yield SetStepOptions(
                flow_slug=new.slug, version=version, step_slug=after.slug, old=before.options, new=after.options
            )


def _structure_details(old: FlowShape, new: FlowShape) -> Iterator[str]:
    before = {step.slug: step for step in old.steps}
    after = {step.slug: step for step in new.steps}
    if added := [slug for slug in after if slug not in before]:
        yield f"added: {', '.join(added)}"
    if removed := [slug for slug in before if slug not in after]:
        yield f"removed: {', '.join(removed)}"
    for slug, step in after.items():
        if slug in before:
            yield from _step_details(before[slug], step)
    common_before, common_after = (
        [slug for slug in one if slug in other] for one, other in ((before, after), (after, before))
    )
    if common_before != common_after:
        yield f"order: {', '.join(after)}"
    if old.output_step != new.output_step:
        yield f"returns {new.output_step or 'the leaf steps'}, was {old.output_step or 'the leaf steps'}"


def _step_details(old: StepShape, new: StepShape) -> Iterator[str]:
    if old.wiring() != new.wiring():
        yield f"changed: {new.slug} is {_described(new)}, was {_described(old)}"
    if _condition(old) != _condition(new):
        yield f"changed: {new.slug} runs {_condition(new)}, was {_condition(old)}"
    if old.when_unmet != new.when_unmet:
        yield f"changed: if the condition of {new.slug} is unmet: {_FATES[new.when_unmet]}, was: {_FATES[old.when_unmet]}"
    if old.when_exhausted != new.when_exhausted:
        yield (
            f"changed: if {new.slug} has no attempts left: {_FATES[new.when_exhausted]}, "
            f"was: {_FATES[old.when_exhausted]}"
        )


_FATES: Mapping[SkipMode, str] = {
    "skip": "skip it",
    "skip-cascade": "skip it and all that depend on it",
    "fail": "fail the run",
}


def _condition(step: StepShape) -> str:
    patterns = {"when": step.required_input_pattern, "unless": step.forbidden_input_pattern}
    return " ".join(f"{word} {pattern}" for word, pattern in patterns.items() if pattern is not None) or "always"


def _described(step: StepShape) -> str:
    over = "" if step.map_over is None else f" over {step.map_over}"
    inputs = [*(["run"] if step.uses_run_input else []), *step.deps]
    return f"{step.step_type.value}{over}({', '.join(inputs)})"


def _option_details(old: FlowShape, new: FlowShape) -> Iterator[str]:
    yield from _option_changes("", old.options, new.options)
    before = {step.slug: step.options for step in old.steps}
    for step in new.steps:
        if step.slug in before:
            yield from _option_changes(f"{step.slug}: ", before[step.slug], step.options)


def _option_changes(prefix: str, old: OptionValues, new: OptionValues) -> Iterator[str]:
    for name, value in new.items():
        if value != old.get(name):
            # A run's deadline is fixed when it starts, unlike what attempts and claims look up.
            whose = " (of runs that start from now on)" if name == "deadline" else ""
            yield f"{prefix}{name} {_value(old.get(name))} -> {_value(value)}{whose}"


def _value(value: OptionValue) -> str:
    if value is None:
        return "default"
    return "[" + ", ".join(value) + "]" if isinstance(value, tuple) else repr(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
