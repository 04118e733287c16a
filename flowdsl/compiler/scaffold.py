"""`pgflow init`: everything a project needs before its first `pgflow compile`, each piece only if it is missing.

Running it again changes nothing, and nothing of the user's is ever overwritten.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from flowdsl.compiler.baseline import read_baseline
from flowdsl.compiler.migration import Revision, core_revision
from flowdsl.compiler.position import Position, Wish, database_of, find_position
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
    DEFAULT_SECTION,
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

# What an existing env.py needs, and the one that is written here has.
ENV_LINES: Final = (
    "# Flows become part of `alembic revision --autogenerate` and `alembic check`.",
    "import flowdsl.compiler.autogenerate  # noqa: F401",
)
ENV_IMPORT: Final = "flowdsl.compiler.autogenerate"

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
    """What `pgflow init` did, file by file, and the modules that hold the project's flows.

    `env_lines` are what the user may add to `env_file`, empty when it is there.
    """

    directory: Path
    files: tuple[FileDeed, ...]
    flows: tuple[str, ...]
    config: AlembicFiles
    has_first_flow: bool
    env_file: Path
    env_lines: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return any(file.deed is not Deed.KEPT for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which of a project's Alembic environments to use, and where in it; None: the configured one, or the one found.

    Attributes:
        setting: the Alembic configuration, relative to the project's folder.
        section: the section of its ini file, when that holds several environments.
        wish: where the core's revision shall go, for a tree with several heads.
        database: the database that shall have the flows, when each migration runs in several.
    """

    setting: str | None = None
    section: str | None = None
    wish: Wish = field(default_factory=Wish)
    database: str | None = None


def initialise(directory: Path, choice: Choice | None = None) -> Scaffold:
    """Make `directory` a project that flows can be compiled in.

    Args:
        directory: the project's folder; made if it is missing.
        choice: what to use of an existing Alembic environment.

    Raises:
        ConfigError: a file of the project is in the way, or cannot be read or written.
        CompileError: the Alembic tree cannot be used.
    """
    directory = directory.absolute()
    choice = choice or Choice()
    pyproject = read_pyproject(directory)
    table = pgflow_table(pyproject)
    configured = choice.setting or _text(table, "alembic-config")
    section = choice.section or _text(table, "alembic-name")
    _make(directory)
    config = find_config(directory, configured, section)
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
    if config.section not in (DEFAULT_SECTION, _text(table, "alembic-name")):
        settings["alembic-name"] = config.section
    deeds.append(_settings(directory / PYPROJECT, settings))
    tree = open_tree(directory, _relative(directory, config), section)
    deeds += _core(tree, choice)
    wrote_first = any(deed.deed is Deed.CREATED and deed.purpose == FIRST_FLOW for deed in deeds)
    return Scaffold(
        directory=directory,
        files=tuple(deeds),
        flows=flows,
        config=config,
        has_first_flow=wrote_first,
        env_file=tree.env_file,
        env_lines=() if _mentions(tree.env_file, ENV_IMPORT) else ENV_LINES,
    )


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


def _mentions(path: Path, text: str) -> bool:
    try:
        return text in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


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


def _core(tree: MigrationTree, choice: Choice) -> list[FileDeed]:
    baseline = read_baseline(tree.files)
    existing = baseline.core
    database = database_of(tree, existing, choice.database)
    if existing is None:
        position = replace(find_position(tree, baseline, (), choice.wish), database=database)
        revision = core_revision(position.parent, header=position.header)
        return [_revision(tree, revision, position, f"the SQL core, schema version {SCHEMA_VERSION}")]
    purpose = f"the SQL core, schema version {existing.schema_version}"
    kept = FileDeed(deed=Deed.KEPT, path=existing.file.path, purpose=purpose)
    if existing.schema_version == SCHEMA_VERSION:
        return [kept]
    position = find_position(tree, baseline, (), choice.wish)
    revision = core_upgrade(existing, position)
    return [kept, _revision(tree, revision, position, f"upgrades the SQL core to schema version {SCHEMA_VERSION}")]


def _revision(tree: MigrationTree, revision: Revision, position: Position, purpose: str) -> FileDeed:
    path = tree.place(revision.revision, revision.message, revision.parent, version_path=position.version_path)
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
