"""What a migration does, as data: one operation is one call of an SQL function, and knows how it is undone.

Downgrades are derived from upgrades by `reverse`, never written beside them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from flowdsl.compiler import render
from flowdsl.compiler.versions import FlowVersion
from flowdsl.errors import CompileError
from flowdsl.model.schemas import Schema
from flowdsl.model.shape import OptionValues, StepShape
from flowdsl.types import FlowSlug, StepSlug


class Statement(Protocol):
    """One call of an SQL function."""

    def sql(self) -> str:
        """Return the statement, with its semicolon."""
        ...


class Operation(Statement, Protocol):
    """A statement of an upgrade, which can be undone."""

    def reverse(self) -> tuple[Statement, ...]:
        """Return what undoes it; empty when the reverse of another operation already does."""
        ...


class _Rendered:
    """An operation whose statement is laid out by a template of the same name."""

    __slots__ = ()
    template: ClassVar[str]
    flow_slug: FlowSlug

    def sql(self) -> str:
        """Return the statement, with its semicolon.

        Raises:
            CompileError: a text of it cannot be stored.
        """
        try:
            return render.sql(self.template, op=self).rstrip("\n")
        except CompileError as error:
            raise CompileError(f"{self._where()}: {error.message}", hint=error.hint) from error

    def _where(self) -> str:
        return f"flow '{self.flow_slug}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateFlow(_Rendered):
    """Create a version of a flow, to be filled with steps.

    `options` None leaves the flow's options alone: they belong to the flow and not to a version, so only the first
    version brings them. How far the version reaches back is told only where it reaches further than itself.
    """

    template = "create_flow.sql.j2"
    flow_slug: FlowSlug
    version: int
    fingerprint: str
    output_step: StepSlug | None
    options: OptionValues | None
    input_schema: Schema | None
    output_schema: Schema | None
    serves_from: int
    accepts_from: int

    def reverse(self) -> tuple[Statement, ...]:
        """Drop the version with all of its steps."""
        return (DropFlowVersion(flow_slug=self.flow_slug, version=self.version),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddStep(_Rendered):
    """Add a step to a version of a flow, after the steps it depends on."""

    template = "add_step.sql.j2"
    flow_slug: FlowSlug
    version: int
    step: StepShape

    def reverse(self) -> tuple[Statement, ...]:
        """Do nothing: a step goes with its version, which is reversed after it."""
        return ()

    def _where(self) -> str:
        return f"flow '{self.flow_slug}', step '{self.step.slug}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFlowOptions(_Rendered):
    """Replace all options of a flow, for every version of it."""

    template = "set_flow_options.sql.j2"
    flow_slug: FlowSlug
    old: OptionValues
    new: OptionValues

    def reverse(self) -> tuple[Statement, ...]:
        """Put the old options back."""
        return (SetFlowOptions(flow_slug=self.flow_slug, old=self.new, new=self.old),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStepOptions(_Rendered):
    """Replace all options of a step of one version."""

    template = "set_step_options.sql.j2"
    flow_slug: FlowSlug
    version: int
    step_slug: StepSlug
    old: OptionValues
    new: OptionValues

    def reverse(self) -> tuple[Statement, ...]:
        """Put the old options back."""
        undo = SetStepOptions(
            flow_slug=self.flow_slug, version=self.version, step_slug=self.step_slug, old=self.new, new=self.old
        )
        return (undo,)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireFlow(_Rendered):
    """Let no new runs of a flow start; open ones go on."""

    template = "retire_flow.sql.j2"
    flow_slug: FlowSlug

    def reverse(self) -> tuple[Statement, ...]:
        """Let new runs start again."""
        return (RestoreFlow(flow_slug=self.flow_slug),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFlow(_Rendered):
    """Let new runs of a retired flow start again."""

    template = "restore_flow.sql.j2"
    flow_slug: FlowSlug

    def reverse(self) -> tuple[Statement, ...]:
        """Retire it again."""
        return (RetireFlow(flow_slug=self.flow_slug),)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropFlow(_Rendered):
    """Remove a flow with all of its versions, runs and their data, open runs too.

    `history` are its versions, oldest first, each as it was at last: what undoing it can bring back. Runs it cannot.
    """

    template = "drop_flow.sql.j2"
    flow_slug: FlowSlug
    history: tuple[FlowVersion, ...]
    is_retired: bool

    def reverse(self) -> tuple[Statement, ...]:
        """Define all versions again; the runs stay gone."""
        created = tuple(
            statement
            for position, version in enumerate(self.history)
            for statement in creation(version, self.history[-1].shape.options if position == 0 else None)
        )
        return (*created, RetireFlow(flow_slug=self.flow_slug)) if self.is_retired else created


@dataclass(frozen=True, slots=True, kw_only=True)
class DropFlowVersion(_Rendered):
    """Take a version away, with its steps and finished runs: the undoing of a `CreateFlow`, which has no undoing itself."""

    template = "drop_flow_version.sql.j2"
    flow_slug: FlowSlug
    version: int


def creation(version: FlowVersion, options: OptionValues | None) -> Iterator[Operation]:
    """Yield what creates a version with its steps; `options` are those of the flow, for its first version."""
    shape = version.shape
    yield CreateFlow(
        flow_slug=shape.slug,
        version=version.version,
        fingerprint=version.fingerprint,
        output_step=shape.output_step,
        options=options,
        input_schema=shape.input_schema,
        output_schema=shape.output_schema,
        serves_from=version.serves_from,
        accepts_from=version.accepts_from,
    )
    for step in shape.steps:
        yield AddStep(flow_slug=shape.slug, version=version.version, step=step)
