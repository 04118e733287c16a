"""`pgflow compile`: flows and an Alembic tree become a plan, and a plan becomes one revision, or none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowdsl.compiler.baseline import Baseline, read_baseline
from flowdsl.compiler.diff import FlowChange, diff, removal
from flowdsl.compiler.migration import Revision, flow_revision, upgrade_statements
from flowdsl.compiler.position import Wish, database_of, find_position
from flowdsl.compiler.quoting import remark
from flowdsl.compiler.revision import MigrationTree, find_config, open_tree, write_revision
from flowdsl.compiler.upgrade import core_missing, require_present
from flowdsl.core.manifest import SCHEMA_VERSION
from flowdsl.errors import CompileError
from flowdsl.model.shape import FlowShape
from flowdsl.suggest import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What has to be compiled, in the order of the flows, and the tree it is compiled for.

    `tree` is None for a project without Alembic, which can only print its SQL.
    """

    changes: tuple[FlowChange, ...]
    baseline: Baseline = field(default_factory=Baseline)
    tree: MigrationTree | None = None

    @property
    def edited(self) -> tuple[Path, ...]:
        """Generated files that no longer do what was generated."""
        return tuple(file.path for file in self.baseline.edited)

    @property
    def needs_core_upgrade(self) -> bool:
        """Whether the migrations install an older SQL core than this package needs."""
        core = self.baseline.core
        return core is not None and core.schema_version < SCHEMA_VERSION

    def require_core(self) -> None:
        """Make sure that the core of the migrations can take the changes.

        Raises:
            CompileError: it is of another version.
        """
        # Options and conditions of later cores would be unknown to it, and so would this package's workers be.
        if self.baseline.core is not None and self.changes:
            require_present(self.baseline.core)

    def require_no_newer_core(self) -> None:
        """Make sure that this package knows the core of the migrations.

        Raises:
            CompileError: it is of a later version.
        """
        if self.baseline.core is not None and not self.needs_core_upgrade:
            require_present(self.baseline.core)

    def sql(self) -> str:
        """Return the upgrade as plain SQL, in one transaction; empty when there is nothing to do.

        Raises:
            CompileError: the core of the migrations is of another version.
        """
        self.require_core()
        if not self.changes:
            return ""
        notes = (str(remark(line)) for change in self.changes for line in change.notes)
        return "\n".join([*notes, "begin;", *upgrade_statements(self.changes), "commit;", ""])

    def write(self, message: str | None = None, wish: Wish | None = None) -> "Written":
        """Write the one revision that makes the changes; `wish` says where in the tree.

        Raises:
            CompileError: it has no place in the tree, the core is of another version, its file exists, or cannot be written.
        """
        self.require_core()
        if self.tree is None or not self.changes:
            raise CompileError("there is nothing to write")
        position = find_position(self.tree, self.baseline, [change.slug for change in self.changes], wish)
        revision = flow_revision(position.parent, self.changes, message=message, header=position.header)
        path = self.tree.place(revision.revision, revision.message, position.parent, version_path=position.version_path)
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
    section: str | None = None,
    complete: bool = False,
    drop: Sequence[str] = (),
    for_sql: bool = False,
) -> Plan:
    """Compare flows with what the project's migrations compiled last.

    Args:
        shapes: the flows as they are in the code.
        directory: the project's folder.
        setting: its Alembic configuration, relative to `directory`; None: the one that is found.
        section: the section of its ini file, when that holds several environments.
        complete: the shapes are all flows of the project, so one that is not among them is gone.
        drop: flows that are gone and shall be removed with all of their data.
        for_sql: only the SQL is wanted, so a project without Alembic (nothing compiled yet) will do.

    Raises:
        ConfigError: there is no Alembic environment, or its configuration is wrong.
        CompiledTwice: two branches of the tree compiled the same flow.
        CompileError: the tree lacks the core's revision or cannot be read, or a flow cannot be dropped.
    """
    if for_sql and find_config(directory, setting) is None:
        return Plan(changes=changes(shapes, Baseline(), complete=complete, drop=drop))
    tree = open_tree(directory, setting, section)
    baseline = read_baseline(tree.files)
    if baseline.core is None and not for_sql:
        raise core_missing(tree)
    if baseline.core is not None:
        database_of(tree, baseline.core, None)
    found = changes(shapes, baseline, complete=complete, drop=drop)
    return Plan(changes=found, baseline=baseline, tree=tree)


def changes(
    shapes: Sequence[FlowShape], baseline: Baseline, *, complete: bool = False, drop: Sequence[str] = ()
) -> tuple[FlowChange, ...]:
    """Return what leads from the baseline to the flows as they are in the code; the arguments are those of `plan`.

    Raises:
        CompileError: a flow cannot be dropped.
    """
    known: set[str] = {shape.slug for shape in shapes}
    for slug in drop:
        _check_drop(slug, known, baseline, complete=complete)
    gone = sorted(slug for slug in baseline.flows if slug not in known)
    return tuple(
        change
        for change in (*_present(shapes, baseline), *_gone(gone, baseline, complete=complete, dropped=frozenset(drop)))
        if change is not None
    )


def _present(shapes: Sequence[FlowShape], baseline: Baseline) -> Iterator[FlowChange | None]:
    for shape in shapes:
        yield diff(baseline.history.get(shape.slug, ()), shape, is_retired=shape.slug in baseline.retired)


def _gone(
    slugs: Sequence[str], baseline: Baseline, *, complete: bool, dropped: frozenset[str]
) -> Iterator[FlowChange | None]:
    for slug in slugs:
        is_retired = slug in baseline.retired
        if slug in dropped:
            yield removal(baseline.history[slug], is_retired=is_retired)
        elif complete:
            yield diff(baseline.history[slug], None, is_retired=is_retired)


def _check_drop(slug: str, known: set[str], baseline: Baseline, *, complete: bool) -> None:
    if slug in known:
        raise CompileError(
            f"--drop {slug}: the flow is still in the code", hint="Take it out of the code first, then drop it."
        )
    if slug not in baseline.flows:
        names = ", ".join(sorted(set(baseline.flows) - known)) or "none"
        raise CompileError(
            f"--drop {slug}: the migrations know no flow of that name",
            hint=f"{did_you_mean(slug, baseline.flows)} Flows that are gone from the code: {names}.".strip(),
        )
    if not complete and slug not in baseline.retired:
        raise CompileError(
            f"--drop {slug}: whether the flow is gone from the code is not known, for only some modules were named",
            hint="Name none: `flows` of [tool.pgflow] in pyproject.toml lists them all.",
        )
