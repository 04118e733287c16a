"""What was compiled last, read from the migration files themselves: no database, and no file is executed for it.

Every revision of ours carries a constant `PGFLOW` with JSON text: the core version it installs, or the flows it compiled with
their whole shape. Following the tree in dependency order, the last word about each flow is the baseline for the next compile.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowdsl.compiler.revision import RevisionFile
from flowdsl.errors import CompileError
from flowdsl.model.shape import FlowShape
from flowdsl.types import JsonValue

CONSTANT: Final = "PGFLOW"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFlow:
    """A flow as a revision left it: `fingerprint` is what its version has in the database, `file` is the revision.

    The fingerprint is stored rather than computed from the shape: a later flowdsl may compute it differently, and what
    workers are compared with is what the migration wrote.
    """

    version: int
    fingerprint: str
    shape: FlowShape
    file: RevisionFile


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRevision:
    """The revision that brought the SQL core to a schema version."""

    schema_version: int
    file: RevisionFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The state that a tree describes: its core, and each flow's current version by slug."""

    core: CoreRevision | None = None
    flows: Mapping[str, CompiledFlow]


def core_record(schema_version: int) -> dict[str, JsonValue]:
    """Return what a core revision writes into PGFLOW."""
    return {"format": FORMAT, "core": schema_version}


def flow_record(flows: Sequence[tuple[int, FlowShape]]) -> dict[str, JsonValue]:
    """Return what a revision writes into PGFLOW about the flows it compiles: (version, shape) of each."""
    return {
        "format": FORMAT,
        "flows": [
            {"version": version, "fingerprint": shape.fingerprint, "shape": shape.to_json()} for version, shape in flows
        ],
    }


def read_baseline(files: Sequence[RevisionFile]) -> Baseline:
    """Read the baseline from revision files in dependency order.

    Raises:
        CompileError: a constant PGFLOW is damaged, or one flow was compiled on two branches.
    """
    core: CoreRevision | None = None
    flows: dict[str, CompiledFlow] = {}
    # For each revision, our revisions that it comes after: a flow's new state must know the state before it.
    known: dict[str, frozenset[str]] = {}
    for file in files:
        earlier = frozenset[str]().union(*(known.get(parent, frozenset()) for parent in file.parents))
        record = _record(file.path)
        known[file.revision] = earlier if record is None else earlier | {file.revision}
        if record is None:
            continue
        # Branches come in no particular order, and no downgrade takes a core back.
        if record.core is not None and (core is None or record.core >= core.schema_version):
            core = CoreRevision(schema_version=record.core, file=file)
        for version, fingerprint, shape in record.flows:
            before = flows.get(shape.slug)
            if before is not None and before.file.revision not in earlier:
                raise _compiled_twice(shape.slug, before.file, file)
            flows[shape.slug] = CompiledFlow(version=version, fingerprint=fingerprint, shape=shape, file=file)
    return Baseline(core=core, flows=flows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    core: int | None
    flows: tuple[tuple[int, str, FlowShape], ...]


def _record(path: Path) -> _Record | None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CompileError(f"cannot read the migration {path}: {error}") from error
    # Most files of a tree are the user's own, and parsing them all would be slow.
    value = _constant(path, text) if CONSTANT in text else None
    return None if value is None else _parsed(path, value)


def _constant(path: Path, text: str) -> ast.expr | None:
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CompileError(f"the migration {path} is not valid Python: {error}") from error
    found: ast.expr | None = None
    for statement in module.body:
        targets = (
            statement.targets
            if isinstance(statement, ast.Assign)
            else [statement.target]
            if isinstance(statement, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == CONSTANT for target in targets):
            found = getattr(statement, "value", None)
    return found


def _parsed(path: Path, value: ast.expr) -> _Record:
    try:
        return _record_of(json.loads(ast.literal_eval(value)))
    except _LaterFormatError as error:
        raise CompileError(
            f"the migration {path} has {CONSTANT} in format {error}, this flowdsl reads format {FORMAT}",
            hint="Upgrade flowdsl: the migration was written by a later version.",
        ) from error
    # A hand-edited constant can be wrong in every way that Python and JSON know.
    except Exception as error:
        raise CompileError(
            f"the constant {CONSTANT} of the migration {path} (line {value.lineno}) cannot be read: "
            f"{type(error).__name__}: {error}",
            hint="It is not meant to be edited: restore the file from version control.",
        ) from error


class _LaterFormatError(Exception):
    """The record was written by a later version of this module."""


def _record_of(data: Any) -> _Record:
    if data["format"] != FORMAT:
        raise _LaterFormatError(data["format"])
    core = data.get("core")
    flows = data.get("flows", ())
    return _Record(
        core=None if core is None else _number(core),
        flows=tuple(
            (_number(entry["version"]), str(entry["fingerprint"]), FlowShape.from_json(entry["shape"]))
            for entry in flows
        ),
    )


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no version")
    return value


def _compiled_twice(slug: str, first: RevisionFile, second: RevisionFile) -> CompileError:
    return CompileError(
        f"flow '{slug}' was compiled on two branches that do not know of each other: {first.path} and {second.path}",
        hint="Delete the one that no database has run yet, let its successors follow the other "
        "(their down_revision), then run `pgflow compile` again.",
    )
