"""The last look at a file before it is handed out: it declares types and references, and does nothing else.

Its parts come from a database or from hooks of types, through a generator of code. Each road has its own escapes; that none
was forgotten is seen in the result.
"""

import ast
from collections.abc import Iterator
from typing import Final

from flowdsl.errors import ConfigError

_KINDS: Final = (
    *(ast.Module, ast.ImportFrom, ast.alias, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr, ast.Pass),
    *(ast.Name, ast.Constant, ast.Subscript, ast.Tuple, ast.List, ast.Dict, ast.BinOp, ast.BitOr),
    *(ast.UnaryOp, ast.USub, ast.Call, ast.keyword, ast.Load, ast.Store),
)
_CALLED: Final = frozenset({"ConfigDict", "Field", "FlowRef", "StepRef", "TypeAliasType", "TypedDict"})
_MODULES: Final = frozenset(
    {
        *("__future__", "datetime", "decimal", "flowdsl", "flowdsl.model.reference_model", "ipaddress", "pydantic"),
        *("typing", "typing_extensions", "uuid"),
    }
)


def refuse_code(text: str, subject: str) -> None:
    """Refuse a file that is no Python or does more than declare; `subject` says what it is about.

    Raises:
        ConfigError: naming the line.
    """
    try:
        parts = list(ast.walk(ast.parse(text)))
        wrong = next((part for part in parts if not _declares(part)), None)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise _refusal(subject, f"would be no Python: {error}") from error
    if wrong is not None:
        line = text.splitlines()[getattr(wrong, "lineno", 1) - 1].strip()
        raise _refusal(subject, f"would do more than declare types: {line[:120]}")


def _refusal(subject: str, why: str) -> ConfigError:
    return ConfigError(
        f"{subject}: nothing is written, for the file {why}",
        hint="A name or schema of the flow holds what becomes code. If they come from a database, see who wrote them; if "
        "from a module, please report it.",
    )


def _declares(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "model_rebuild" and isinstance(node.value, ast.Name)
    if not isinstance(node, _KINDS):
        return False
    if isinstance(node, ast.ImportFrom):
        return node.module in _MODULES and node.level == 0
    if isinstance(node, ast.ClassDef) and node.decorator_list:
        return False
    if isinstance(node, ast.Expr):
        return isinstance(node.value, (ast.Constant, ast.Call))
    if isinstance(node, ast.Call) and not _is_known(node):
        return False
    return all(_is_type(text) for text in _types_as_text(node))


def _is_known(call: ast.Call) -> bool:
    function = call.func.value if isinstance(call.func, ast.Subscript) else call.func
    if isinstance(function, ast.Attribute):
        return not call.args and not call.keywords
    return isinstance(function, ast.Name) and function.id in _CALLED


def _types_as_text(node: ast.AST) -> Iterator[str]:
    """Yield the types that are written as text, which pydantic evaluates; those in a `Literal` are but text."""
    parts: list[ast.expr] = []
    if isinstance(node, ast.Subscript) and not (isinstance(node.value, ast.Name) and node.value.id == "Literal"):
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    elif isinstance(node, ast.BinOp):
        parts = [node.left, node.right]
    elif isinstance(node, ast.AnnAssign):
        parts = [node.annotation]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "TypeAliasType":
        parts = node.args[1:]
    yield from (part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def _is_type(text: str) -> bool:
    return all(
        _declares(part) and not isinstance(part, ast.Call) for part in ast.walk(ast.parse(text, mode="eval").body)
    )
