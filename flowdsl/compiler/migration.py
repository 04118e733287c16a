"""The text of a revision: what it does, how it is undone, and the record of it that the next compile reads.

Nothing in the text depends on the clock, the machine or the order of a dict, and the id follows from the rest, so the same
input gives the same bytes.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final

from flowdsl.compiler import render
from flowdsl.compiler.checksum import KEY, checksum, code_of
from flowdsl.compiler.diff import ChangeKind, FlowChange
from flowdsl.compiler.jsontext import json_text
from flowdsl.compiler.records import core_record, flow_record
from flowdsl.compiler.revision import revision_id
from flowdsl.compiler.statements import split_statements
from flowdsl.core.manifest import SCHEMA_VERSION, install_sql, uninstall_sql, upgrade_sql
from flowdsl.types import JsonValue

DISTRIBUTION: Final = "flowdsl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision that is ready to be written: its id, what it follows, its message and its whole text."""

    revision: str
    parent: str | None
    message: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What the template lays out."""

    title: str
    revision: str
    parent: str | None
    branch_label: str | None
    depends_on: str | None
    database: str | None
    notes: tuple[str, ...]
    generator: str
    compiled: Mapping[str, JsonValue]
    upgrade: tuple[str, ...]
    downgrade: tuple[str, ...]
    upgrade_summary: str
    downgrade_summary: str

    @property
    def revises(self) -> str:
        return self.parent or "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a revision says about its place, besides what it follows.

    `branch_label` names the branch that begins with it, `depends_on` is a revision of another branch that has to run
    before it, and `database` is the only one of several that it is for.
    """

    branch_label: str | None = None
    depends_on: str | None = None
    database: str | None = None


PLAIN_HEADER: Final = Header()


def core_revision(parent: str | None, *, header: Header = PLAIN_HEADER, generator: str | None = None) -> Revision:
    """Return the revision that installs the SQL core; it holds the SQL itself and needs no later version of us."""
    return _revision(
        parent=parent,
        header=header,
        message=f"pgflow: SQL core {SCHEMA_VERSION}",
        notes=(
            f"Installs the SQL core of flowdsl, schema version {SCHEMA_VERSION}, in the schema `pgflow`.",
            "The downgrade removes it with all flows and runs; it refuses while runs are open.",
        ),
        compiled=core_record(SCHEMA_VERSION, database=header.database),
        upgrade=split_statements(install_sql()),
        downgrade=split_statements(uninstall_sql()),
        upgrade_summary="Install the SQL core.",
        downgrade_summary="Remove the SQL core with all flows and runs.",
        generator=generator,
    )


def core_upgrade_revision(
    parent: str | None, from_version: int, *, header: Header = PLAIN_HEADER, generator: str | None = None
) -> Revision:
    """Return the revision that brings the SQL core from `from_version` to this version; self-contained like the install."""
    return _revision(
        parent=parent,
        header=header,
        message=f"pgflow: SQL core {from_version} to {SCHEMA_VERSION}",
        notes=(
            f"Upgrades the SQL core of flowdsl in the schema `pgflow` from schema version {from_version} to {SCHEMA_VERSION}.",
            "Runs and workers go on; for a moment calls wait. Running it again changes nothing.",
            "The downgrade leaves the newer core in place: it does all that the older one did, and going back would lose data.",
            "Workers and clients of the older flowdsl that are running go on; new ones need this version.",
        ),
        compiled=core_record(SCHEMA_VERSION, database=header.database),
        upgrade=split_statements(upgrade_sql(from_version)),
        downgrade=(),
        upgrade_summary="Upgrade the SQL core.",
        downgrade_summary="Leave the SQL core as it is.",
        generator=generator,
    )


def flow_revision(
    parent: str | None,
    changes: Sequence[FlowChange],
    *,
    message: str | None = None,
    header: Header = PLAIN_HEADER,
    generator: str | None = None,
) -> Revision:
    """Return the revision that makes these changes; `message` replaces the one made of them."""
    return _revision(
        parent=parent,
        header=header,
        message=message or "pgflow: " + ", ".join(change.label for change in changes),
        notes=tuple(line for change in changes for line in change.notes),
        compiled=record(changes),
        upgrade=upgrade_statements(changes),
        downgrade=downgrade_statements(changes),
        upgrade_summary="Compile the flows.",
        downgrade_summary=_downgrade_summary(changes),
        generator=generator,
    )


def _downgrade_summary(changes: Sequence[FlowChange]) -> str:
    summary = "Take back what the upgrade compiled, with finished runs of it; refused while runs of it are open."
    dropped = ", ".join(change.slug for change in changes if change.kind is ChangeKind.DROPPED)
    return f"{summary} The runs of {dropped} stay gone." if dropped else summary


def record(changes: Sequence[FlowChange]) -> dict[str, JsonValue]:
    """Return what the next compile has to know of the changes."""
    return flow_record(
        [change.new for change in changes if change.new is not None],
        retired=[change.slug for change in changes if change.kind is ChangeKind.RETIRED],
        restored=[change.slug for change in changes if change.is_restored],
        dropped=[change.slug for change in changes if change.kind is ChangeKind.DROPPED],
    )


def upgrade_statements(changes: Sequence[FlowChange]) -> tuple[str, ...]:
    """Return the SQL statements that make the changes, in order."""
    return tuple(operation.sql() for change in changes for operation in change.operations)


def downgrade_statements(changes: Sequence[FlowChange]) -> tuple[str, ...]:
    """Return the SQL statements that take the changes back, in the opposite order."""
    operations = [operation for change in changes for operation in change.operations]
    return tuple(undo.sql() for operation in reversed(operations) for undo in operation.reverse())


def _revision(
    *,
    parent: str | None,
    header: Header = PLAIN_HEADER,
    message: str,
    notes: tuple[str, ...],
    compiled: dict[str, JsonValue],
    upgrade: tuple[str, ...],
    downgrade: tuple[str, ...],
    upgrade_summary: str,
    downgrade_summary: str,
    generator: str | None,
) -> Revision:
    title = (message.strip().splitlines() or [""])[0].strip() or "pgflow"
    placed = (
        [] if header == PLAIN_HEADER else [header.branch_label or "", header.depends_on or "", header.database or ""]
    )
    revision = revision_id(parent, [title, json_text(compiled), *upgrade, "", *downgrade, *placed])
    page = _Page(
        title=title,
        revision=revision,
        parent=parent,
        branch_label=header.branch_label,
        depends_on=header.depends_on,
        database=header.database,
        notes=notes,
        generator=generator or f"{DISTRIBUTION} {version(DISTRIBUTION)}",
        compiled=compiled,
        upgrade=upgrade,
        downgrade=downgrade,
        upgrade_summary=upgrade_summary,
        downgrade_summary=downgrade_summary,
    )
    # The code does not depend on the constants, which are long.
    bare = render.python("migration.py.j2", page=replace(page, notes=(), upgrade=(), downgrade=(), compiled={}))
    sealed = {**compiled, KEY: checksum(upgrade, downgrade, compiled, code_of(ast.parse(bare)))}
    text = render.python("migration.py.j2", page=replace(page, compiled=sealed))
    return Revision(revision=revision, parent=parent, message=title, text=text)
