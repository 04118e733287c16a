"""`pgflow init`: everything a project needs before its first `pgflow compile`, each piece only if it is missing.

Running it again changes nothing, and nothing of the user's is ever overwritten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from flowdsl.compiler.baseline import read_baseline
from flowdsl.compiler.migration import Revision, core_revision
from flowdsl.compiler.project import (
    PYPROJECT,
    first_flows_module,
    pgflow_table,
    read_pyproject,
    with_settings,
)
from flowdsl.compiler.render import python
from flowdsl.compiler.revision import (
    DEFAULT_CONFIG,
    AlembicFiles,
    MigrationTree,
    find_config,
    open_tree,
    write_revision,
)
from flowdsl.compiler.source import Source
from flowdsl.compiler.upgrade import core_upgrade
from flowdsl.core.manifest import SCHEMA_VERSION
from flowdsl.errors import ConfigError

# In a project without Alembic a folder `migrations` may be somebody else's (Django has one), so there is a second choice.
FOLDERS: Final = ("migrations", "alembic_migrations")


FIRST_FLOW: Final = "a first flow to edit"

FOREIGN_ENVIRONMENT = "your Alembic environment: tell pgflow the same database, by database-url or DATABASE_URL"


class Deed(StrEnum):
    """What became of a file."""

    CREATED = "created"
    EXTENDED = "extended"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDeed:
    """One file that `pgflow init` looked after, and a word about what it is for."""

    deed: Deed
    path: Path
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """What `pgflow init` did, file by file, and the modules that hold the project's flows."""

    directory: Path
    files: tuple[FileDeed, ...]
    flows: tuple[str, ...]
    config: AlembicFiles
    has_first_flow: bool

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return any(file.deed is not Deed.KEPT for file in self.files)


def initialise(directory: Path, *, setting: str | None = None, head: str | None = None) -> Scaffold:
    """Make `directory` a project that flows can be compiled in.

    Args:
        directory: the project's folder; made if it is missing.
        setting: the Alembic configuration to use, relative to `directory`; None: the configured one, or the one found.
        head: the revision after which the core's revision is placed, for a tree with several heads.

    Raises:
        ConfigError: a file of the project is in the way, or cannot be read or written.
        CompileError: the Alembic tree cannot be used.
    """
    directory = directory.absolute()
    pyproject = read_pyproject(directory)
    table = pgflow_table(pyproject)
    configured = setting or _text(table, "alembic-config")
    _make(directory)
    config = find_config(directory, configured)
    deeds: list[FileDeed] = []
    if config is None:
        deeds += _new_environment(directory)
        config = AlembicFiles(ini=directory / DEFAULT_CONFIG, toml=None)
    else:
        # Not ours when there is no table of ours yet: then it has a database of its own, which we do not read.
        purpose = FOREIGN_ENVIRONMENT if table is None else "Alembic environment"
        deeds.append(FileDeed(deed=Deed.KEPT, path=config.ini or config.toml or directory, purpose=purpose))
    settings: dict[str, str | list[str]] = {}
    flows = _flow_modules(table)
    if table is None or "flows" not in table:
        module = first_flows_module(directory, pyproject)
        flows = (module.name,)
        settings["flows"] = [module.name]
        deeds.append(_written(module.path, python("project/flows.py.j2"), FIRST_FLOW))
    if _relative(directory, config) not in (DEFAULT_CONFIG, PYPROJECT, _text(table, "alembic-config")):
        settings["alembic-config"] = _relative(directory, config)
    deeds.append(_settings(directory / PYPROJECT, settings))
    deeds += _core(directory, _relative(directory, config), head)
    wrote_first = any(deed.deed is Deed.CREATED and deed.purpose == FIRST_FLOW for deed in deeds)
    return Scaffold(directory=directory, files=tuple(deeds), flows=flows, config=config, has_first_flow=wrote_first)


def _new_environment(directory: Path) -> list[FileDeed]:
    folder = next((name for name in FOLDERS if _is_free(directory / name)), None)
    if folder is None:
        raise ConfigError(
            f"{directory} has no Alembic environment, and the folders {' and '.join(FOLDERS)} are taken",
            hint="Set Alembic up yourself with `alembic init FOLDER`, then run `pgflow init` again.",
        )
    home = directory / folder
    _make(home / "versions")
    return [
        _written(
            directory / DEFAULT_CONFIG, python("project/alembic.ini.j2", folder=Source(folder)), "Alembic's settings"
        ),
        _written(home / "env.py", python("project/env.py.j2"), "tells Alembic which database to use"),
        _written(home / "script.py.mako", python("project/script.py.mako.j2"), "template of your own revisions"),
    ]


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder / "env.py").is_file() or (folder.is_dir() and not any(folder.iterdir()))


def _settings(path: Path, settings: Mapping[str, str | list[str]]) -> FileDeed:
    purpose = "[tool.pgflow]"
    if not settings:
        return FileDeed(deed=Deed.KEPT, path=path, purpose=purpose)
    existed = path.exists()
    # Not as text: that would change its line ends.
    text = path.read_bytes().decode("utf-8") if existed else ""
    _write(path, with_settings(path, text, settings))
    return FileDeed(deed=Deed.EXTENDED if existed else Deed.CREATED, path=path, purpose=purpose)


def _core(directory: Path, setting: str, head: str | None) -> list[FileDeed]:
    tree = open_tree(directory, setting)
    existing = read_baseline(tree.files).core
    if existing is None:
        return [_revision(tree, core_revision(tree.head(head)), f"the SQL core, schema version {SCHEMA_VERSION}")]
    purpose = f"the SQL core, schema version {existing.schema_version}"
    kept = FileDeed(deed=Deed.KEPT, path=existing.file.path, purpose=purpose)
    if existing.schema_version == SCHEMA_VERSION:
        return [kept]
    revision = core_upgrade(existing, tree.head(head))
    return [kept, _revision(tree, revision, f"upgrades the SQL core to schema version {SCHEMA_VERSION}")]


def _revision(tree: MigrationTree, revision: Revision, purpose: str) -> FileDeed:
    path = tree.place(revision.revision, revision.message, revision.parent)
    write_revision(path, revision.text)
    return FileDeed(deed=Deed.CREATED, path=path, purpose=purpose)


def _relative(directory: Path, config: AlembicFiles) -> str:
    path = config.ini or config.toml or directory / DEFAULT_CONFIG
    return path.relative_to(directory).as_posix() if path.is_relative_to(directory) else str(path)


def _flow_modules(table: Mapping[str, Any] | None) -> tuple[str, ...]:
    flows = None if table is None else table.get("flows")
    return tuple(flow for flow in flows if isinstance(flow, str)) if isinstance(flows, list) else ()


def _text(table: Mapping[str, Any] | None, key: str) -> str | None:
    value = None if table is None else table.get(key)
    return value if isinstance(value, str) else None


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {directory}: {error.strerror or error}") from error


def _written(path: Path, text: str, purpose: str) -> FileDeed:
    if path.exists():
        return FileDeed(deed=Deed.KEPT, path=path, purpose=purpose)
    _write(path, text)
    return FileDeed(deed=Deed.CREATED, path=path, purpose=purpose)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
