"""Does the user's code catch an error itself? Then it has to be raised, also while problems are gathered.

A module may try one flow and define another where that fails. Only an error takes it there. The `try` is looked for around
the running line of the caller and of its callers, up to the module: what is around the import of that module decides nothing.
"""

import ast
import builtins
from collections import ChainMap
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Final

from flowdsl.model.source import is_library, source_of

_MODULE: Final = "<module>"
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def is_caught(frame: FrameType | None, error: type[BaseException]) -> bool:
    """Tell whether the module of a frame catches an error that is raised there; where that cannot be told, it does not."""
    while frame is not None and not is_library(frame.f_code.co_filename):
        if any(_takes(handler, error, frame) for handler in _handlers(frame)):
            return True
        frame = None if frame.f_code.co_name == _MODULE else frame.f_back
    return False


def _handlers(frame: FrameType) -> Iterator[ast.ExceptHandler]:
    """Yield the `except` clauses around the running line of a frame."""
    source = source_of(frame.f_code.co_filename)
    scope = None if source is None else _scope(source.tree, frame)
    for node in () if scope is None else _tries(scope, frame.f_lineno):
        yield from node.handlers


def _scope(tree: ast.Module, frame: FrameType) -> ast.AST | None:
    """Return the module, function or class whose code a frame runs."""
    code = frame.f_code
    if code.co_name == _MODULE:
        return tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == code.co_name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first == code.co_firstlineno:
                return node
    return None


def _tries(node: ast.AST, line: int) -> Iterator[ast.Try | ast.TryStar]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _SCOPES) or not _covers(child, line):
            continue
        if isinstance(child, ast.Try | ast.TryStar) and any(_covers(statement, line) for statement in child.body):
            yield child
        yield from _tries(child, line)


def _covers(node: ast.AST, line: int) -> bool:
    first, last = getattr(node, "lineno", line), getattr(node, "end_lineno", line)
    return bool(first <= line <= last)


def _takes(handler: ast.ExceptHandler, error: type[BaseException], frame: FrameType) -> bool:
    names = ChainMap(frame.f_locals, frame.f_globals, vars(builtins))
    taken = BaseException if handler.type is None else _value(handler.type, names)
    classes = taken if isinstance(taken, tuple) else (taken,)
    return any(isinstance(cls, type) and issubclass(error, cls) for cls in classes)


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return what a name, an attribute or a tuple of them stands for; nothing of the user's is called for it."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, names), node.attr, None)
    return tuple(_value(part, names) for part in node.elts) if isinstance(node, ast.Tuple) else None
