"""The Alembic tree: finding it, reading its order, and placing a new file in it.

The only module (with `execute`) that knows Alembic. Everything is offline: the tree is files, and no database is asked.
Revision ids come from the file's contents and its parents, so compiling the same flows on the same tree gives the same file.
"""

import contextlib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from types import TracebackType
from typing import Final

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from flowdsl.errors import CompileError, ConfigError
from flowdsl.suggest import did_you_mean

REVISION_ID_LENGTH: Final = 12
DEFAULT_CONFIG: Final = "alembic.ini"
NOT_THE_PROJECT: Final = frozenset({"docs", "examples", "test", "tests"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionFile:
    """One file of the tree: its id, the ids of all revisions it comes after, and where it lies."""

    revision: str
    parents: tuple[str, ...]
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AlembicFiles:
    """The configuration files of an Alembic environment; at least one of them holds its settings."""

    ini: Path | None
    toml: Path | None

    def __str__(self) -> str:
        return str(self.ini or self.toml)


def find_config(directory: Path, setting: str | None = None) -> AlembicFiles | None:
    """Return the Alembic configuration of the project in `directory`, or None when there is none.

    Looked for in this order: the file named by `setting`, `alembic.ini`, `[tool.alembic]` in `pyproject.toml`, one
    `alembic.ini` in a subfolder.

    Raises:
        ConfigError: `setting` names no file, or several subfolders have an `alembic.ini`.
    """
    pyproject = directory / "pyproject.toml"
    toml = pyproject if _has_alembic_table(pyproject) else None
    named = directory / (setting or DEFAULT_CONFIG)
    if named.suffix == ".toml" and named.is_file():
        return AlembicFiles(ini=None, toml=named)
    if named.is_file():
        return AlembicFiles(ini=named, toml=toml)
    if setting not in (None, DEFAULT_CONFIG):
        raise ConfigError(
            f"there is no Alembic configuration {named}",
            hint="Correct `alembic-config` under [tool.pgflow] in pyproject.toml, or the option --alembic-config.",
        )
    if toml is not None:
        return AlembicFiles(ini=None, toml=toml)
    nested = _nested_configs(directory)
    if len(nested) > 1:
        names = ", ".join(path.relative_to(directory).as_posix() for path in nested)
        raise ConfigError(
            f"{directory} has several Alembic environments: {names}",
            hint='Name the one to use: alembic-config = "…" under [tool.pgflow] in pyproject.toml.',
        )
    return AlembicFiles(ini=nested[0], toml=None) if nested else None


def _has_alembic_table(pyproject: Path) -> bool:
    if not pyproject.is_file():
        return False
    try:
        table = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {}).get("alembic", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{pyproject} is not valid TOML: {error}", hint="Mend the file and try again.") from error
    return isinstance(table, dict) and "script_location" in table


def _nested_configs(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.glob(f"*/{DEFAULT_CONFIG}")
        if path.parent.name not in NOT_THE_PROJECT and not path.parent.name.startswith(".")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationTree:
    """An Alembic tree, read once: its files in dependency order, its heads, and the place of the next file."""

    directory: Path
    config: AlembicFiles
    files: tuple[RevisionFile, ...]
    heads: tuple[str, ...]
    _script: ScriptDirectory = field(repr=False, compare=False)

    def head(self, wanted: str | None = None) -> str | None:
        """Return the revision to build on, None in an empty tree.

        `wanted` is what the user asked for: a revision id or the start of one, a branch label, `branch@head`.

        Raises:
            CompileError: the tree has several heads and none is chosen, or `wanted` is not one of them.
        """
        if wanted is not None:
            return self._wanted_head(wanted)
        if len(self.heads) > 1:
            raise CompileError(
                f"the migrations have {len(self.heads)} heads: {self._described(self.heads)}",
                hint="Join them with `alembic merge heads -m merge`, or choose the one to build on with --head REVISION.",
            )
        return self.heads[0] if self.heads else None

    def _wanted_head(self, wanted: str) -> str:
        name = wanted if "@" in wanted or wanted in self.heads else self._label_head(wanted)
        try:
            found = [script.revision for script in self._script.get_revisions(name)]
        except CommandError as error:
            raise CompileError(
                f"--head {wanted}: {error}", hint=f"The heads are: {self._described(self.heads) or 'none'}"
            ) from error
        if len(found) != 1 or found[0] not in self.heads:
            raise CompileError(
                f"--head {wanted} is not a head of the migrations",
                hint=f"{did_you_mean(wanted, self.heads)} The heads are: {self._described(self.heads) or 'none'}".strip(),
            )
        return found[0]

    def _label_head(self, wanted: str) -> str:
        labels = {label for file in self.files for label in self._script.get_revisions(file.revision)[0].branch_labels}
        return f"{wanted}@head" if wanted in labels else wanted

    def _described(self, revisions: Sequence[str]) -> str:
        paths = {file.revision: file.path for file in self.files}
        return ", ".join(f"{revision} ({paths[revision].name})" for revision in revisions)

    def below(self, head: str | None) -> tuple[RevisionFile, ...]:
        """Return `head` and every file it comes after, in dependency order."""
        by_revision = {file.revision: file for file in self.files}
        reached: set[str] = set()
        waiting = [head] if head is not None else []
        while waiting:
            revision = waiting.pop()
            if revision not in reached:
                reached.add(revision)
                waiting += by_revision[revision].parents
        return tuple(file for file in self.files if file.revision in reached)

    def place(self, revision: str, message: str, head: str | None) -> Path:
        """Return the path of a new file, by the environment's `file_template` and `version_locations`.

        Raises:
            CompileError: the id or the file exists, or the tree does not say which location to use.
        """
        taken = next((file for file in self.files if file.revision == revision), None)
        if taken is not None:
            raise CompileError(
                f"revision {revision} exists already: {taken.path}",
                hint="That file holds this very change but is not below the chosen head; merge the heads first.",
            )
        path = self._script._rev_path(  # noqa: SLF001 - the one place that knows how a file is named
            self._location(head),
            revision,
            message,
            self._script._generate_create_date(),  # noqa: SLF001 - file_template may ask for the date
        )
        if path.exists():
            raise CompileError(
                f"the file {path} exists already but is not revision {revision}",
                hint="Give the migration another name with --message, or move that file away.",
            )
        return path

    def _location(self, head: str | None) -> Path:
        locations = [Path(path) for path in self._script._version_locations]  # noqa: SLF001 - no public name for it
        if len(locations) == 1:
            return locations[0]
        # With several locations a file goes where the revision it follows lies.
        for file in self.files:
            if file.revision == head:
                holding = [path for path in locations if file.path.is_relative_to(path.resolve())]
                if holding:
                    return max(holding, key=lambda path: len(path.parts))
        return locations[0]


def open_tree(directory: Path, setting: str | None = None) -> MigrationTree:
    """Read the Alembic tree of the project in `directory`; `setting` is its configured `alembic-config`.

    Raises:
        ConfigError: there is no Alembic environment, or its configuration is wrong.
        CompileError: its revision files cannot be loaded.
    """
    config = find_config(directory, setting)
    if config is None:
        raise ConfigError(f"{directory} has no Alembic environment", hint="Set one up with: pgflow init")
    # Alembic reads relative paths of its configuration from the current directory.
    with _settings_errors(config):
        home = _home(directory, config)
        with contextlib.chdir(home):
            script = ScriptDirectory.from_config(_alembic_config(config))
    with _revision_errors(config), contextlib.chdir(home):
        scripts = [script.get_revisions(revision)[0] for revision in _all_revisions(script)]
        files = _in_order([_file(script, entry) for entry in scripts])
        heads = tuple(sorted(script.get_heads()))
    return MigrationTree(directory=directory, config=config, files=files, heads=heads, _script=script)


def _alembic_config(config: AlembicFiles) -> Config:
    return Config(file_=config.ini, toml_file=config.toml)


def _home(directory: Path, config: AlembicFiles) -> Path:
    """Return the directory from which the configuration's relative paths are meant."""
    with contextlib.chdir(directory):
        location = _alembic_config(config).get_alembic_option("script_location")
    beside = (config.ini or config.toml or directory / "-").parent
    if location and not (directory / location).exists() and (beside / location).exists():
        return beside
    return directory


def _all_revisions(script: ScriptDirectory) -> list[str]:
    return [entry.revision for entry in script.walk_revisions()]


def _file(script: ScriptDirectory, entry: Script) -> RevisionFile:
    names = (*_names(entry.down_revision), *_names(entry.dependencies))
    resolved = {found.revision for name in names for found in script.get_revisions(name)}
    return RevisionFile(revision=entry.revision, parents=tuple(sorted(resolved)), path=Path(entry.path))


def _names(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return revision names as a tuple: Alembic keeps a single one as a string."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def _in_order(files: Sequence[RevisionFile]) -> tuple[RevisionFile, ...]:
    by_revision = {file.revision: file for file in files}
    sorter = TopologicalSorter({file.revision: file.parents for file in files})
    sorter.prepare()
    ordered: list[RevisionFile] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += [by_revision[revision] for revision in ready]
        sorter.done(*ready)
    return tuple(ordered)


@contextlib.contextmanager
def _settings_errors(config: AlembicFiles) -> Iterator[None]:
    try:
        yield
    # Alembic leaves a bad setting to whatever trips over it.
    except Exception as error:
        raise ConfigError(
            f"Alembic cannot use {config}: {' '.join(str(error).split())}", hint="`alembic history` shows the same."
        ) from error


@contextlib.contextmanager
def _revision_errors(config: AlembicFiles) -> Iterator[None]:
    try:
        yield
    except (CommandError, RevisionError) as error:
        raise CompileError(
            f"Alembic cannot read the migrations of {config}: {error}", hint="`alembic history` shows the same."
        ) from error
    except KeyError as error:
        raise CompileError(
            f"the migrations of {config} mention the revision {error}, and there is no file for it",
            hint="Restore the file from version control; `alembic history` shows who mentions it.",
        ) from error
    except SyntaxError as error:
        raise _unloadable(error, f"{error.filename}:{error.lineno}") from error
    # Loading a tree executes its files, which may raise whatever they like.
    except Exception as error:
        raise _unloadable(error, _last_place(error.__traceback__)) from error


def _unloadable(error: Exception, place: str) -> CompileError:
    return CompileError(
        f"the migrations cannot be loaded: {type(error).__name__}: {error} ({place})",
        hint="Mend that file; Alembic itself cannot load it either.",
    )


def _last_place(traceback: TracebackType | None) -> str:
    place = "no place known"
    while traceback is not None:
        place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def revision_id(parent: str | None, contents: Sequence[str]) -> str:
    """Return the id of a revision: it follows from what the file does and what it comes after."""
    text = json.dumps([parent, *contents], ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:REVISION_ID_LENGTH]


def write_revision(path: Path, text: str) -> None:
    """Write a new revision file, never over an existing one.

    Raises:
        CompileError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise CompileError(
            f"cannot write {path}: {error.strerror or error}",
            hint="Check the folder's permissions and free space, then run the command again.",
        ) from error
