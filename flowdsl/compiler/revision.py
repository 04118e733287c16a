"""The Alembic tree: finding it, reading its order, and placing a new file in it.

The only module (with `execute`) that knows Alembic. Everything is offline: the tree is files, and no database is asked.
Revision ids come from the file's contents and its parents, so compiling the same flows on the same tree gives the same file.
"""

import contextlib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
BASE: Final = "base"
DEFAULT_CONFIG: Final = "alembic.ini"
DEFAULT_SECTION: Final = "alembic"
NOT_THE_PROJECT: Final = frozenset({"docs", "examples", "test", "tests"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionFile:
    """One file of the tree: its id, the ids of all revisions it comes after, and where it lies."""

    revision: str
    parents: tuple[str, ...]
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AlembicFiles:
    """The configuration files of an Alembic environment; at least one of them holds its settings.

    `section` is that of the ini file, as in `alembic --name SECTION`: one file may hold several environments.
    """

    ini: Path | None
    toml: Path | None
    section: str = DEFAULT_SECTION

    def __str__(self) -> str:
        where = str(self.ini or self.toml)
        return where if self.section == DEFAULT_SECTION else f"{where}, section [{self.section}]"


def find_config(directory: Path, setting: str | None = None, section: str | None = None) -> AlembicFiles | None:
    """Return the Alembic configuration of the project in `directory`, or None when there is none.

    Looked for in this order: the file named by `setting`, `alembic.ini`, `[tool.alembic]` in `pyproject.toml`, one
    `alembic.ini` in a subfolder.

    Raises:
        ConfigError: `setting` names no file, or several subfolders have an `alembic.ini`.
    """
    found = _find_files(directory, setting)
    return found if found is None or section is None else replace(found, section=section)


def _find_files(directory: Path, setting: str | None) -> AlembicFiles | None:
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
    """An Alembic tree, read once: its files in dependency order, its heads, and the place of the next file.

    `databases` are the names of an environment that migrates several with each file (`alembic init -t multidb`).
    """

    directory: Path
    config: AlembicFiles
    files: tuple[RevisionFile, ...]
    heads: tuple[str, ...]
    databases: tuple[str, ...] = ()
    _script: ScriptDirectory = field(repr=False, compare=False)

    def head(self, wanted: str | None = None, *, splice: bool = False) -> str | None:
        """Return the revision to build on; None in an empty tree, or for a new base.

        `wanted` is what the user asked for: a revision id or the start of one, a branch label, `branch@head`, or `base`
        for a revision that follows none. With `splice` it need not be a head: a new branch begins there.

        Raises:
            CompileError: the tree has several heads and none is chosen, or `wanted` is not one of them.
        """
        if wanted is not None:
            return None if wanted == BASE else self._wanted_head(wanted, splice=splice)
        if len(self.heads) > 1:
            raise CompileError(
                f"the migrations have {len(self.heads)} heads: {self.described(self.heads)}",
                hint="Join them with `alembic merge heads -m merge`, or choose the one to build on with --head REVISION.",
            )
        return self.heads[0] if self.heads else None

    def _wanted_head(self, wanted: str, *, splice: bool) -> str:
        name = wanted if "@" in wanted or wanted in self.heads else self._label_head(wanted)
        heads = self.described(self.heads) or "none"
        try:
            found = [script.revision for script in self._script.get_revisions(name)]
        except CommandError as error:
            raise CompileError(f"--head {wanted}: {error}", hint=f"The heads are: {heads}") from error
        if len(found) == 1 and (splice or found[0] in self.heads):
            return found[0]
        suggestion = did_you_mean(wanted, self.heads)
        branch = "To begin a branch at a revision that is no head add --splice." if len(found) == 1 else ""
        raise CompileError(
            f"--head {wanted} is not a head of the migrations",
            hint=" ".join(part for part in (suggestion, f"The heads are: {heads}.", branch) if part),
        )

    @property
    def env_file(self) -> Path:
        """The env.py of the environment."""
        return Path(self._script.env_py_location)

    @property
    def labels(self) -> Mapping[str, str]:
        """The branch labels, each with the revision that brings it."""
        scripts = (self._script.get_revisions(file.revision)[0] for file in self.files)
        return {label: script.revision for script in scripts for label in script._orig_branch_labels}  # noqa: SLF001 - the public name holds those of the whole branch

    def _label_head(self, wanted: str) -> str:
        return f"{wanted}@head" if wanted in self.labels else wanted

    def described(self, revisions: Sequence[str]) -> str:
        """Return the revisions with the names of their files, for a message."""
        paths = {file.revision: file.path for file in self.files}
        return ", ".join(f"{revision} ({paths[revision].name})" for revision in revisions)

    def below(self, *heads: str | None) -> tuple[RevisionFile, ...]:
        """Return these revisions and every file that one of them comes after, in dependency order."""
        by_revision = {file.revision: file for file in self.files}
        reached: set[str] = set()
        waiting = [head for head in heads if head is not None]
        while waiting:
            revision = waiting.pop()
            if revision not in reached:
                reached.add(revision)
                waiting += by_revision[revision].parents
        return tuple(file for file in self.files if file.revision in reached)

    def place(self, revision: str, message: str, head: str | None, *, version_path: Path | None = None) -> Path:
        """Return the path of a new file, by the environment's `file_template` and `version_locations`.

        It goes to the location `version_path` when there are several, by default to that of the `head` it follows.

        Raises:
            CompileError: the id or the file exists, or `version_path` is none of the locations.
        """
        taken = next((file for file in self.files if file.revision == revision), None)
        if taken is not None:
            raise CompileError(
                f"revision {revision} exists already: {taken.path}",
                hint="That file holds this very change but is not below the chosen head; merge the heads first.",
            )
        path = self._script._rev_path(  # noqa: SLF001 - the one place that knows how a file is named
            self._location(head, version_path),
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

    def _location(self, head: str | None, version_path: Path | None) -> Path:
        locations = [Path(path) for path in self._script._version_locations]  # noqa: SLF001 - no public name for it
        if version_path is not None:
            asked = [path for path in locations if path.resolve() == version_path.resolve()]
            if not asked:
                raise CompileError(
                    f"{version_path} is none of the version locations of {self.config}",
                    hint=f"They are: {', '.join(map(str, locations))}",
                )
            return asked[0]
        # With several locations a file goes where the revision it follows lies.
        for file in self.files if len(locations) > 1 else ():
            if file.revision == head:
                holding = [path for path in locations if file.path.is_relative_to(path.resolve())]
                if holding:
                    return max(holding, key=lambda path: len(path.parts))
        return locations[0]


def open_tree(directory: Path, setting: str | None = None, section: str | None = None) -> MigrationTree:
    """Read the Alembic tree of the project in `directory`.

    `setting` is its configured `alembic-config`, `section` the one of several environments in an ini file.

    Raises:
        ConfigError: there is no Alembic environment, or its configuration is wrong.
        CompileError: its revision files cannot be loaded.
    """
    config = find_config(directory, setting, section)
    if config is None:
        raise ConfigError(f"{directory} has no Alembic environment", hint="Set one up with: pgflow init")
    _require_section(config)
    # Alembic reads relative paths of its configuration from the current directory.
    with _settings_errors(config):
        home = _home(directory, config)
        with contextlib.chdir(home):
            settings = _alembic_config(config)
            script = ScriptDirectory.from_config(settings)
            databases = database_names(settings)
    with contextlib.chdir(home):
        return read_tree(script, directory, config, databases)


def read_tree(
    script: ScriptDirectory, directory: Path, config: AlembicFiles, databases: tuple[str, ...] = ()
) -> MigrationTree:
    """Read the tree of a script directory that Alembic has opened already.

    Raises:
        CompileError: its revision files cannot be loaded.
    """
    with _revision_errors(config):
        scripts = [script.get_revisions(revision)[0] for revision in _all_revisions(script)]
        files = _in_order([_file(script, entry) for entry in scripts])
        heads = tuple(sorted(script.get_heads()))
    return MigrationTree(
        directory=directory, config=config, files=files, heads=heads, databases=databases, _script=script
    )


def database_names(settings: Config) -> tuple[str, ...]:
    """Return the databases that an environment of `alembic init -t multidb` lists; empty for any other."""
    names = settings.get_main_option("databases") or ""
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _require_section(config: AlembicFiles) -> None:
    if config.section == DEFAULT_SECTION:
        return
    with _settings_errors(config):
        found = _alembic_config(config).file_config.sections() if config.ini else []
    if config.section not in found:
        raise ConfigError(
            f"{config.ini or config.toml} has no section [{config.section}]",
            hint=f"{did_you_mean(config.section, found)} Its sections are: {', '.join(found) or 'none'}.".strip(),
        )


def _alembic_config(config: AlembicFiles) -> Config:
    return Config(file_=config.ini, toml_file=config.toml, ini_section=config.section)


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
            hint="Restore the file from version control, or, when it was deleted on purpose, let each file that mentions it follow "
            "what it followed; `alembic history` shows who mentions it.",
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
