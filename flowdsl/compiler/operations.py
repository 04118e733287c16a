"""What a migration does, as data: one operation is one call of an SQL function, and knows how it is undone.

Downgrades are derived from upgrades by `reverse`, never written beside them.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from flowdsl.compiler import render
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

    def sql(self) -> str:
        """Return the statement, with its semicolon."""
        return render.sql(self.template, op=self).rstrip("\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateFlow(_Rendered):
    """Create a version of a flow, to be filled with steps.

    `options` None leaves the flow's options alone: they belong to the flow and not to a version, so only the first
    version brings them.
    """

    template = "create_flow.sql.j2"
    flow_slug: FlowSlug
    version: int
    fingerprint: str
    output_step: StepSlug | None
    options: OptionValues | None

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
class DropFlowVersion(_Rendered):
    """Take a version away, with its steps and finished runs: the undoing of a `CreateFlow`, which has no undoing itself."""

    template = "drop_flow_version.sql.j2"
    flow_slug: FlowSlug
    version: int
