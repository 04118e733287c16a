"""The user's source text: the call at a place, the definition of a function. Where there is none, nothing is found.

Code may come from a prompt, from `exec`, from a file that has changed since: whatever does not fit is taken for not there.
"""

import ast
import inspect
import linecache
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from flowdsl.model.chain import Place

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a file, between two offsets of its text."""

    file: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file's text and what Python reads in it."""

    file: str
    text: str
    tree: ast.Module

    def of(self, node: ast.expr) -> str:
        """Return an expression as the user wrote it, in one line."""
        written = ast.get_source_segment(self.text, node)
        return ast.unparse(node) if written is None or "\n" in written else written

    def offset(self, line: int, column: int) -> int:
        """Return the offset in the text of a line and a column in bytes, as syntax trees have them."""
        lines = self.text.splitlines(keepends=True)
        return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())

    def span(self, start: tuple[int, int], end: tuple[int, int]) -> Span:
        """Return the piece between two places."""
        return Span(self.file, self.offset(*start), self.offset(*end))


def source_of(file: str) -> Source | None:
    """Read a file; None when there is none, or when it is not Python."""
    linecache.checkcache(file)
    text = "".join(linecache.getlines(file))
    tree = _parsed(text)
    return None if tree is None else Source(file, text, tree)


@lru_cache(maxsize=8)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text) if text else None
    except (SyntaxError, ValueError, RecursionError):
        return None


def call_at(place: Place) -> tuple[Source, ast.Call] | None:
    """Return the call at a place."""
    end, source = place.end(), source_of(place.file)
    if end is None or source is None:
        return None
    calls = (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))
    found = next((call for call in calls if (call.end_lineno, call.end_col_offset) == end), None)
    return None if found is None else (source, found)


def definition_of(function: Callable[..., Any]) -> tuple[Source, AnyFunction] | None:
    """Return where a function is defined."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if not isinstance(code, CodeType):
        return None
    source = source_of(code.co_filename)
    nodes = () if source is None else _functions(source.tree)
    name, line = code.co_name, code.co_firstlineno
    found = next((node for node in nodes if node.name == name and _first_line(node) == line), None)
    return None if source is None or found is None else (source, found)


def _functions(tree: ast.Module) -> Iterator[AnyFunction]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _first_line(node: AnyFunction) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
