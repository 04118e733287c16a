"""Where a new revision goes: what it follows, what it needs besides, which branch it begins, which database it is for.

The baseline is that of the whole tree, so a flow of another branch is known and not "new". Only a change has to stand in
the right place: after the last revision that changed the same flow, and after the core.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowdsl.compiler.baseline import Baseline, CoreRevision
from flowdsl.compiler.migration import Header
from flowdsl.compiler.revision import BASE, MigrationTree
from flowdsl.errors import CompileError, ConfigError
from flowdsl.suggest import did_you_mean

# What Alembic gives a meaning to in the name of a revision.
ILLEGAL: Final = frozenset("@-+:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The place of a new revision in the tree; `parent` None is a base, `database` None the only one there is."""

    parent: str | None
    branch_label: str | None = None
    depends_on: str | None = None
    version_path: Path | None = None
    database: str | None = None

    @property
    def header(self) -> Header:
        """What the revision's file says of it."""
        return Header(branch_label=self.branch_label, depends_on=self.depends_on, database=self.database)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked for, each as Alembic's `revision` command takes it."""

    head: str | None = None
    branch_label: str | None = None
    splice: bool = False
    version_path: Path | None = None

    @property
    def is_any(self) -> bool:
        """Whether anything was asked for."""
        return self != Wish()


def find_position(tree: MigrationTree, baseline: Baseline, slugs: Iterable[str], wish: Wish | None = None) -> Position:
    """Return the position of the revision that changes these flows.

    Raises:
        CompileError: the tree has several heads and none is chosen, the chosen one does not come after the last change of
            one of the flows, or the branch label is taken.
    """
    wish = wish or Wish()
    parent = tree.head(wish.head, splice=wish.splice)
    _check_label(tree, wish.branch_label)
    below = {file.revision for file in tree.below(parent)}
    for slug in slugs:
        _check_order(tree, baseline, slug, below, wish)
    core = baseline.core
    return Position(
        parent=parent,
        branch_label=wish.branch_label,
        # On a branch of its own the core has to come first all the same.
        depends_on=None if core is None or core.file.revision in below else core.file.revision,
        version_path=wish.version_path,
        database=None if core is None else core.database,
    )


def database_of(tree: MigrationTree, core: CoreRevision | None, wanted: str | None) -> str | None:
    """Return which of the tree's databases has the flows; None where the tree has only one.

    Raises:
        ConfigError: it is not known, not one of them, or the core is in another.
    """
    if core is not None and wanted not in (None, core.database):
        where = "the only database there is" if core.database is None else f"the database '{core.database}'"
        raise ConfigError(f"the migrations install the SQL core in {where}, not in '{wanted}' ({core.file.path})")
    database = wanted if core is None else core.database
    if not tree.databases and database is None:
        return None
    names = ", ".join(tree.databases) or "none"
    if database is None:
        raise ConfigError(
            f"each migration of {tree.config} runs in several databases: {names}",
            hint="Say which one has the flows: --database NAME. A core that was installed without it fits no such tree.",
        )
    if database not in tree.databases:
        raise ConfigError(
            f"{tree.config} has no database '{database}'",
            hint=f"{did_you_mean(database, tree.databases)} Those under `databases` are: {names}.".strip(),
        )
    return database


def _check_label(tree: MigrationTree, label: str | None) -> None:
    if label is None:
        return
    if not label or ILLEGAL & set(label):
        raise CompileError(
            f"--branch-label {label!r} cannot name a branch",
            hint="Alembic takes no @, -, + or : in it; write for example billing_flows.",
        )
    taken = tree.labels.get(label)
    known = {file.revision for file in tree.files}
    if taken is not None or label in known:
        raise CompileError(
            f"--branch-label {label} is taken by {tree.described([taken or label])}",
            hint=f"Build on that branch with --head {label}@head, or choose another name.",
        )


def _check_order(tree: MigrationTree, baseline: Baseline, slug: str, below: set[str], wish: Wish) -> None:
    last = baseline.touched.get(slug)
    if last is None or last.revision in below:
        return
    after = [head for head in tree.heads if last in tree.below(head)]
    chosen = "a new base" if wish.head == BASE else f"--head {wish.head}"
    raise CompileError(
        f"flow '{slug}' was compiled last in {last.path}, which is not before {chosen}",
        hint=f"Build on {tree.described(after)}, or merge the branches first with `alembic merge heads -m merge`.",
    )
