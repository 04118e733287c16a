"""What was compiled of a flow and what is in the code become the operations that lead from one to the other.

A changed structure is a new version, since runs end on the version they began with. Changed options are an update in place,
since they may change under a running flow. A flow that is gone is retired, and restored when it is back. Its data is removed
only where that is asked for. Nothing changed is no change at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flowdsl.compiler.comparison import Detail, Topic, compare
from flowdsl.compiler.impact import Impact, ImpactClass, Reason, judge
from flowdsl.compiler.operations import (
    DropFlow,
    Operation,
    RestoreFlow,
    RetireFlow,
    SetFlowOptions,
    SetStepOptions,
    creation,
)
from flowdsl.compiler.report import report
from flowdsl.compiler.versions import FlowVersion
from flowdsl.compiler.words import counted, versions_words
from flowdsl.model.shape import FlowShape
from flowdsl.types import FlowSlug


class ChangeKind(StrEnum):
    """What a change is for the flow."""

    NEW = "new"
    VERSION = "version"
    OPTIONS = "options"
    RESTORED = "restored"
    RETIRED = "retired"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowChange:
    """The change of one flow: its kind, what it leads from and to, what it means, and the operations.

    `new` is None for a flow that is gone. `is_restored` tells that the flow was retired until now.
    """

    kind: ChangeKind
    old: FlowVersion | None
    new: FlowVersion | None
    details: tuple[Detail, ...]
    impact: Impact
    operations: tuple[Operation, ...]
    is_restored: bool = False

    @property
    def current(self) -> FlowVersion:
        """The version that the change leads to, or for a flow that is gone its last one."""
        found = self.new or self.old
        if found is None:
            raise ValueError("a change leads from or to a version")
        return found

    @property
    def slug(self) -> FlowSlug:
        """The flow."""
        return self.current.shape.slug

    @property
    def version(self) -> int:
        """The number of that version."""
        return self.current.version

    @property
    def label(self) -> str:
        """The change in two or three words, for a file name: `hello v2`, `hello options`."""
        return f"{self.slug} {_LABELS[self.kind]}".format(version=self.version)

    @property
    def summary(self) -> str:
        """The change in one line."""
        back = ", no longer retired" if self.is_restored and self.kind is not ChangeKind.RESTORED else ""
        return f"{self.slug}: {_SUMMARIES[self.kind]}{back}".format(
            version=self.version,
            previous=self.version - 1,
            steps=counted(len(self.current.shape.steps), "step"),
            versions=versions_words(1, self.version),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """The change in full, for the revision's docstring."""
        head, *rest = (str(line) for line in report(self))
        is_compiled = self.new is not None
        return (f"{head} (fingerprint {self.current.fingerprint})" if is_compiled else head, *rest)


_LABELS = {
    ChangeKind.NEW: "v{version}",
    ChangeKind.VERSION: "v{version}",
    ChangeKind.OPTIONS: "options",
    ChangeKind.RESTORED: "restored",
    ChangeKind.RETIRED: "retired",
    ChangeKind.DROPPED: "dropped",
}
_SUMMARIES = {
    ChangeKind.NEW: "new flow, {steps}",
    ChangeKind.VERSION: "version {version}, was {previous}",
    ChangeKind.OPTIONS: "options of version {version}",
    ChangeKind.RESTORED: "restored in version {version}, new runs may start again",
    ChangeKind.RETIRED: "retired, no longer among the flows",
    ChangeKind.DROPPED: "dropped with all runs and their data, {versions}",
}


def diff(history: Sequence[FlowVersion], new: FlowShape | None, *, is_retired: bool = False) -> FlowChange | None:
    """Return the change that leads from the compiled versions of a flow, oldest first, to `new`; None when there is none.

    `new` None stands for a flow that is no longer in the code: it is retired. `is_retired` tells that it is already.
    """
    if not history:
        return None if new is None else _created(new)
    if new is None:
        return None if is_retired else _retired(history)
    return _changed(history, new, is_retired=is_retired)


def removal(history: Sequence[FlowVersion], *, is_retired: bool) -> FlowChange:
    """Return the change that removes a flow with all of its versions, runs and data."""
    last = history[-1]
    operation = DropFlow(flow_slug=last.shape.slug, history=tuple(history), is_retired=is_retired)
    reasons = (
        Reason(ImpactClass.BREAKING, "all runs of it are removed, open ones too, with their inputs and outputs"),
        Reason(ImpactClass.BREAKING, "a downgrade brings its definition back and none of the runs"),
    )
    return FlowChange(
        kind=ChangeKind.DROPPED,
        old=last,
        new=None,
        details=(),
        impact=Impact(reasons=reasons, serves_from=last.serves_from, accepts_from=last.accepts_from),
        operations=(operation,),
    )


def _created(new: FlowShape) -> FlowChange:
    version = FlowVersion.of(1, new)
    return FlowChange(
        kind=ChangeKind.NEW,
        old=None,
        new=version,
        details=(),
        impact=judge((), new),
        operations=tuple(creation(version, new.options)),
    )


def _retired(history: Sequence[FlowVersion]) -> FlowChange:
    last = history[-1]
    reasons = (
        Reason(
            ImpactClass.NEEDS_DRAIN,
            "no new runs start; open runs go on: keep workers with its code until they have ended",
        ),
    )
    return FlowChange(
        kind=ChangeKind.RETIRED,
        old=last,
        new=None,
        details=(),
        impact=Impact(reasons=reasons, serves_from=last.serves_from, accepts_from=last.accepts_from),
        operations=(RetireFlow(flow_slug=last.shape.slug),),
    )


def _changed(history: Sequence[FlowVersion], new: FlowShape, *, is_retired: bool) -> FlowChange | None:
    last = history[-1]
    restoring = (RestoreFlow(flow_slug=new.slug),) if is_retired else ()
    details = compare(last.shape, new)
    if last.fingerprint != new.fingerprint:
        impact = judge(history, new)
        version = FlowVersion.of(last.version + 1, new, impact.serves_from, impact.accepts_from)
        kind = ChangeKind.VERSION
        if all(detail.topic is Topic.OPTIONS for detail in details):
            details = (_only_the_fingerprint(last.fingerprint, new.fingerprint), *details)
        operations = (*_flow_options(last.shape, new), *creation(version, None))
    else:
        version = FlowVersion(
            version=last.version,
            fingerprint=last.fingerprint,
            shape=new,
            serves_from=last.serves_from,
            accepts_from=last.accepts_from,
        )
        operations = (*_flow_options(last.shape, new), *_step_options(last, new))
        kind = ChangeKind.OPTIONS if operations and not is_retired else ChangeKind.RESTORED
        reasons = tuple(_reasons_in_place(bool(operations), is_retired))
        impact = Impact(reasons=reasons, serves_from=last.serves_from, accepts_from=last.accepts_from)
    if not operations and not restoring:
        return None
    return FlowChange(
        kind=kind,
        old=last,
        new=version,
        details=details,
        impact=impact,
        operations=(*restoring, *operations),
        is_restored=is_retired,
    )


def _reasons_in_place(has_options: bool, is_retired: bool) -> Iterator[Reason]:
    if is_retired:
        yield Reason(ImpactClass.SAFE, "its code is back, for the runs in flight and for new ones")
    if has_options:
        yield Reason(ImpactClass.SAFE, "runs in flight take the new options from their next attempt on")


def _only_the_fingerprint(old: str, new: str) -> Detail:
    return Detail(topic=Topic.STEPS, subject="fingerprint", old=old, new=new, text=f"fingerprint: {new}; was {old}")


def _flow_options(old: FlowShape, new: FlowShape) -> Iterator[Operation]:
    if old.options != new.options:
        yield SetFlowOptions(flow_slug=new.slug, old=old.options, new=new.options)


def _step_options(last: FlowVersion, new: FlowShape) -> Iterator[Operation]:
    for before, after in zip(last.shape.steps, new.steps, strict=True):
        if before.options != after.options:
            yield SetStepOptions(
                flow_slug=new.slug,
                version=last.version,
                step_slug=after.slug,
                old=before.options,
                new=after.options,
            )
