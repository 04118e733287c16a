"""`pgflow compile`: flows and an Alembic tree become a plan, and a plan becomes one revision, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowdsl.compiler.baseline import Baseline, read_baseline
from flowdsl.compiler.diff import FlowChange, diff
from flowdsl.compiler.migration import Revision, flow_revision, upgrade_statements
from flowdsl.compiler.quoting import remark
from flowdsl.compiler.revision import MigrationTree, find_config, open_tree, write_revision
from flowdsl.compiler.upgrade import core_missing, require_present
from flowdsl.errors import CompileError
from flowdsl.model.shape import FlowShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What has to be compiled: the changes in the order of the flows, and where they would go.

    `gone` are the flows that were compiled once and are not among the given ones. `tree` is None for a project without
    Alembic, which can only print its SQL.
    """

    changes: tuple[FlowChange, ...]
    gone: tuple[str, ...]
    tree: MigrationTree | None
    head: str | None

    def sql(self) -> str:
        """Return the upgrade as plain SQL, in one transaction; empty when there is nothing to do."""
        if not self.changes:
            return ""
        notes = (str(remark(line)) for change in self.changes for line in change.notes)
        return "\n".join([*notes, "begin;", *upgrade_statements(self.changes), "commit;", ""])

    def write(self, message: str | None = None) -> "Written":
        """Write the one revision that makes the changes.

        Raises:
            CompileError: its file exists, or cannot be written.
        """
        if self.tree is None or not self.changes:
            raise CompileError("there is nothing to write")
        revision = flow_revision(self.head, self.changes, message=message)
        path = self.tree.place(revision.revision, revision.message, self.head)
        write_revision(path, revision.text)
        return Written(revision=revision, path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A revision and the file it was written to."""

    revision: Revision
    path: Path


def plan(
    shapes: Sequence[FlowShape],
    directory: Path,
    *,
    setting: str | None = None,
    head: str | None = None,
    for_sql: bool = False,
) -> Plan:
    """Compare flows with what the project's migrations compiled last.

    Args:
        shapes: the flows as they are in the code.
        directory: the project's folder.
        setting: its Alembic configuration, relative to `directory`; None: the one that is found.
        head: the revision to build on, for a tree with several heads.
        for_sql: only the SQL is wanted, so a project without Alembic (nothing compiled yet) will do.

    Raises:
        ConfigError: there is no Alembic environment, or its configuration is wrong.
        CompileError: the tree has several heads, lacks the core's revision or has an older core's, or cannot be read.
    """
    if for_sql and head is None and find_config(directory, setting) is None:
        return _plan(shapes, Baseline(flows={}), None, None)
    tree = open_tree(directory, setting)
    parent = tree.head(head)
    baseline = read_baseline(tree.below(parent))
    if baseline.core is None and not for_sql:
        raise core_missing(tree)
    found = _plan(shapes, baseline, tree, parent)
    # Options and conditions of later cores would be unknown to it, and so would this package's workers be.
    if baseline.core is not None and found.changes:
        require_present(baseline.core)
    return found


def _plan(shapes: Sequence[FlowShape], baseline: Baseline, tree: MigrationTree | None, head: str | None) -> Plan:
    changes = (_change(shape, baseline) for shape in shapes)
    slugs = {shape.slug for shape in shapes}
    return Plan(
        changes=tuple(change for change in changes if change is not None),
        gone=tuple(sorted(slug for slug in baseline.flows if slug not in slugs)),
        tree=tree,
        head=head,
    )


def _change(shape: FlowShape, baseline: Baseline) -> FlowChange | None:
    compiled = baseline.flows.get(shape.slug)
    if compiled is None:
        return diff(None, shape)
    return diff(compiled.shape, shape, version=compiled.version, fingerprint=compiled.fingerprint)
