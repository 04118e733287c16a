"""`pgflow core upgrade`: the migrations install an older SQL core than this package brings, so one revision upgrades it.

Which core they install is read from the migration files themselves; no database is asked.
"""

from dataclasses import dataclass
from pathlib import Path

from flowdsl.compiler.baseline import CoreRevision, read_baseline
from flowdsl.compiler.migration import Revision, core_upgrade_revision
from flowdsl.compiler.position import Position, Wish, find_position
from flowdsl.compiler.revision import MigrationTree, open_tree, write_revision
from flowdsl.core.manifest import SCHEMA_VERSION
from flowdsl.errors import CompileError


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreUpgrade:
    """What brings the core of a project's migrations to the packaged version; `revision` is None when nothing is to do."""

    installed: int
    revision: Revision | None
    tree: MigrationTree
    version_path: Path | None = None

    def write(self) -> Path | None:
        """Write the revision, if there is one, and return its path.

        Raises:
            CompileError: its file exists, or cannot be written.
        """
        if self.revision is None:
            return None
        path = self.tree.place(
            self.revision.revision, self.revision.message, self.revision.parent, version_path=self.version_path
        )
        write_revision(path, self.revision.text)
        return path


def plan_core_upgrade(
    directory: Path, *, setting: str | None = None, section: str | None = None, wish: Wish | None = None
) -> CoreUpgrade:
    """Compare the core that the project's migrations install with the packaged one.

    Args:
        directory: the project's folder.
        setting: its Alembic configuration, relative to `directory`; None: the one that is found.
        section: the section of its ini file, when that holds several environments.
        wish: where the revision shall go, for a tree with several heads.

    Raises:
        ConfigError: there is no Alembic environment, or its configuration is wrong.
        CompileError: the tree cannot be used, lacks the core's revision, or its core is newer than this package.
    """
    tree = open_tree(directory, setting, section)
    baseline = read_baseline(tree.files)
    core = baseline.core
    if core is None:
        raise core_missing(tree)
    if core.schema_version == SCHEMA_VERSION:
        return CoreUpgrade(installed=core.schema_version, revision=None, tree=tree)
    position = find_position(tree, baseline, (), wish)
    return CoreUpgrade(
        installed=core.schema_version,
        revision=core_upgrade(core, position),
        tree=tree,
        version_path=position.version_path,
    )


def core_upgrade(core: CoreRevision, position: Position) -> Revision:
    """Return the revision that upgrades from `core`.

    Raises:
        CompileError: it is newer than this package.
    """
    if core.schema_version > SCHEMA_VERSION:
        raise _newer(core)
    return core_upgrade_revision(position.parent, core.schema_version, header=position.header)


def require_present(core: CoreRevision) -> None:
    """Make sure that the migrations install the core that this package speaks to.

    Raises:
        CompileError: it is an older or a newer one.
    """
    if core.schema_version > SCHEMA_VERSION:
        raise _newer(core)
    if core.schema_version < SCHEMA_VERSION:
        raise CompileError(
            f"the migrations install the SQL core in version {core.schema_version}, this package needs {SCHEMA_VERSION}",
            hint="Write its upgrade first with: pgflow core upgrade",
        )


def core_missing(tree: MigrationTree) -> CompileError:
    """Return the error of a tree without a core."""
    return CompileError(
        f"the migrations of {tree.config} lack the revision that installs the SQL core",
        hint="Write it with: pgflow init",
    )


def _newer(core: CoreRevision) -> CompileError:
    return CompileError(
        f"the migrations install the SQL core in version {core.schema_version} ({core.file.path}), "
        f"this package brings version {SCHEMA_VERSION}",
        hint="Upgrade this installation of flowdsl.",
    )
