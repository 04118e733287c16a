"""The checksum of a revision: whether a generated file still does what was generated, whatever a formatter made of its text."""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from flowdsl.types import JsonValue

KEY: Final = "checksum"
LENGTH: Final = 16
# What a revision may be moved by (a merge, a rebase), and what is looked at by itself.
_NAMES: Final = frozenset(
    {"revision", "down_revision", "branch_labels", "depends_on", "UPGRADE", "DOWNGRADE", "PGFLOW"}
)


def checksum(upgrade: Sequence[str], downgrade: Sequence[str], record: Mapping[str, JsonValue], code: str = "") -> str:
    """Return hexadecimal digits that follow from what a revision does, from the record of it, and from its code.

    White space around a statement does not count, nor does a checksum that is in the record already. The code is what
    `code_of` returns.
    """
    stated = {name: value for name, value in record.items() if name != KEY}
    statements = [[statement.strip() for statement in script] for script in (upgrade, downgrade)]
    text = json.dumps(
        [*statements, stated, code], sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:LENGTH]


def code_of(module: ast.Module) -> str:
    """Return the code of a revision in a form that no formatter changes: all but its docstrings and its constants.

    Of each constant the first binding is left out; a second one would be code that changes it.
    """
    imports: list[str] = []
    rest: list[str] = []
    for statement in _without_docstrings(_without_constants(module)).body:
        is_import = isinstance(statement, (ast.Import, ast.ImportFrom))
        (imports if is_import else rest).append(ast.unparse(statement))
    return "\n".join([*sorted(imports), *rest])


def _without_constants(module: ast.Module) -> ast.Module:
    left_out: set[str] = set()
    body: list[ast.stmt] = []
    for statement in module.body:
        name = _bound_constant(statement)
        if name is None or name in left_out:
            body.append(statement)
        else:
            left_out.add(name)
    return ast.Module(body=body, type_ignores=[])


def _bound_constant(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        return None
    return target.id if isinstance(target, ast.Name) and target.id in _NAMES else None


def _without_docstrings(module: ast.Module) -> ast.Module:
    # Parsed anew, since the caller's tree must stay as it is.
    copy = ast.parse(ast.unparse(module))
    for node in _documented(copy):
        if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            node.body = node.body[1:] or [ast.Pass()]
    return copy


def _documented(module: ast.Module) -> Iterator[ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.walk(module):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node
