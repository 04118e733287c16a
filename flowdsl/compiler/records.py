"""The record in a migration: what its constant `PGFLOW` says, written for the next compile and read without running the file."""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowdsl.compiler.checksum import KEY, checksum, code_of
from flowdsl.compiler.versions import FlowVersion
from flowdsl.errors import CompileError
from flowdsl.model.shape import FlowShape
from flowdsl.types import JsonValue

CONSTANT: Final = "PGFLOW"
FORMAT: Final = 2
# What the first release wrote knows nothing of retired flows, of a version's reach back and of checksums; the rest is the same.
FIRST_FORMAT: Final = 1
READABLE: Final = (FIRST_FORMAT, FORMAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one constant says; dropping comes before everything else in it."""

    core: int | None = None
    database: str | None = None
    flows: tuple[FlowVersion, ...] = ()
    retired: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def slugs(self) -> tuple[str, ...]:
        """The flows it speaks of, each once."""
        compiled = (entry.shape.slug for entry in self.flows)
        return tuple(dict.fromkeys((*compiled, *self.retired, *self.restored, *self.dropped)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """The records of a file in the order of its lines, and whether the file was edited after it was generated."""

    records: tuple[Record, ...] = ()
    edited: bool = False


def core_record(schema_version: int, *, database: str | None = None) -> dict[str, JsonValue]:
    """Return what a core revision writes into PGFLOW; `database` names it in an environment of several."""
    of_one = {} if database is None else {"database": database}
    return {"format": FORMAT, "core": schema_version, **of_one}


def flow_record(
    versions: Sequence[FlowVersion] = (),
    *,
    retired: Sequence[str] = (),
    restored: Sequence[str] = (),
    dropped: Sequence[str] = (),
) -> dict[str, JsonValue]:
    """Return what a revision writes into PGFLOW about flows: the versions it creates or changes, and what else it does."""
    parts: dict[str, list[JsonValue]] = {
        "flows": [_entry(version) for version in versions],
        "retired": list(retired),
        "restored": list(restored),
        "dropped": list(dropped),
    }
    return {"format": FORMAT, **{name: part for name, part in parts.items() if part}}


def _entry(version: FlowVersion) -> dict[str, JsonValue]:
    return {
        "version": version.version,
        "fingerprint": version.fingerprint,
        "shape": version.shape.to_json(),
        "serves_from": version.serves_from,
        "accepts_from": version.accepts_from,
    }


def read_file(path: Path) -> RecordedFile:
    """Read the records of a migration file, which is parsed but never executed.

    Raises:
        CompileError: the file is not readable or not Python, or a record in it is damaged or of a later flowdsl.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CompileError(f"cannot read the migration {path}: {error}") from error
    # Most files of a tree are the user's own, and parsing them all would be slow.
    if CONSTANT not in text:
        return RecordedFile()
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CompileError(f"the migration {path} is not valid Python: {error}") from error
    values = sorted(_constants(module), key=lambda value: value.lineno)
    data = [_data(path, value) for value in values]
    return RecordedFile(
        records=tuple(_record(path, value, found) for value, found in zip(values, data, strict=True)),
        # Several records in one file: somebody squashed a history, so it was never generated as it stands.
        edited=len(data) == 1 and _is_edited(module, data[0]),
    )


def _constants(module: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(module):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        if value is not None and any(isinstance(target, ast.Name) and target.id == CONSTANT for target in targets):
            yield value


def _data(path: Path, value: ast.expr) -> Any:
    # A hand-edited constant can be wrong in every way that Python and JSON know.
    try:
        data = json.loads(ast.literal_eval(value))
        written_in = data["format"]
    except Exception as error:
        raise _damaged(path, value, error) from error
    if written_in not in READABLE:
        raise CompileError(
            f"the migration {path} has {CONSTANT} in format {written_in}, this flowdsl reads up to format {FORMAT}",
            hint="Upgrade flowdsl: the migration was written by a later version.",
        )
    return data


def _record(path: Path, value: ast.expr, data: Any) -> Record:
    try:
        core = data.get("core")
        database = data.get("database")
        return Record(
            core=None if core is None else _number(core),
            database=None if database is None else str(database),
            flows=tuple(_version(entry) for entry in data.get("flows", ())),
            retired=_slugs(data, "retired"),
            restored=_slugs(data, "restored"),
            dropped=_slugs(data, "dropped"),
        )
    except Exception as error:
        raise _damaged(path, value, error) from error


def _version(entry: Mapping[str, Any]) -> FlowVersion:
    version = _number(entry["version"])
    return FlowVersion(
        version=version,
        fingerprint=str(entry["fingerprint"]),
        shape=FlowShape.from_json(entry["shape"]),
        serves_from=_number(entry.get("serves_from", version)),
        accepts_from=_number(entry.get("accepts_from", version)),
    )


def _slugs(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    slugs = data.get(key, [])
    if not isinstance(slugs, list) or not all(isinstance(slug, str) for slug in slugs):
        raise TypeError(f"'{key}' is no list of flows")
    return tuple(slugs)


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no version")
    return value


def _damaged(path: Path, value: ast.expr, error: Exception) -> CompileError:
    return CompileError(
        f"the constant {CONSTANT} of the migration {path} (line {value.lineno}) cannot be read: "
        f"{type(error).__name__}: {error}",
        hint="It is not meant to be edited: restore the file from version control.",
    )


def _is_edited(module: ast.Module, record: Mapping[str, Any]) -> bool:
    # The first release wrote none, and `alembic revision --autogenerate` can write its record into a function only.
    if KEY not in record:
        return record["format"] != FIRST_FORMAT and any(_names(statement, CONSTANT) for statement in module.body)
    try:
        upgrade, downgrade = (_statements(module, name) for name in ("UPGRADE", "DOWNGRADE"))
        expected = checksum(upgrade, downgrade, record, code_of(module))
    # Whatever was made of the constants, it is not what was generated.
    except (ValueError, TypeError, AttributeError):
        return True
    return bool(expected != record[KEY])


def _statements(module: ast.Module, name: str) -> Sequence[str]:
    for statement in module.body:
        if isinstance(statement, ast.Assign) and _names(statement, name):
            found = ast.literal_eval(statement.value)
            if isinstance(found, tuple):
                return found
    raise ValueError(f"there is no tuple {name}")


def _names(statement: ast.stmt, name: str) -> bool:
    targets: Sequence[ast.expr] = ()
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = (statement.target,)
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)
