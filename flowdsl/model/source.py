"""The user's source text: the call at a place, the definition of a function. Where there is none, nothing is found.

Code may come from a prompt, from `exec`, from a file that has changed since: whatever does not fit is taken for not there.
"""

import ast
import inspect
import linecache
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from types import CodeType
from typing import Any, Final

from flowdsl.model.chain import Place

_LIBRARIES: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))

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
        start = self.offset(node.lineno, node.col_offset)
        written = self.text[start : self.offset(node.end_lineno or 0, node.end_col_offset or 0)]
        return ast.unparse(node) if "\n" in written else written

    def offset(self, line: int, column: int) -> int:
        """Return the offset in the text of a line and a column in bytes, as syntax trees have them."""
        start, text = _lines(self.text)[line - 1]
        return start + len(text.encode()[:column].decode())

    def span(self, start: tuple[int, int], end: tuple[int, int]) -> Span:
        """Return the piece between two places."""
        return Span(self.file, self.offset(*start), self.offset(*end))


@lru_cache(maxsize=8)
def _lines(text: str) -> list[tuple[int, str]]:
    """Return all lines with their offsets; files are read with all ends of lines as one character."""
    lines = text.split("\n")
    return list(zip(accumulate((len(line) + 1 for line in lines), initial=0), lines, strict=False))


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


@lru_cache(maxsize=8)
def _calls(text: str) -> dict[tuple[int, int], ast.Call]:
    """Return all calls by where they end."""
    tree = _parsed(text)
    nodes = () if tree is None else ast.walk(tree)
    return {(node.end_lineno or 0, node.end_col_offset or 0): node for node in nodes if isinstance(node, ast.Call)}


def call_at(place: Place) -> tuple[Source, ast.Call] | None:
    """Return the call at a place."""
    end, source = place.end(), source_of(place.file)
    if end is None or source is None:
        return None
    found = _calls(source.text).get(end)
    return None if found is None else (source, found)


def is_library(file: str) -> bool:
    """Tell whether a file is Python's own or an installed package's, which nobody mends for the sake of a flow."""
    return file.startswith(("<frozen", *_LIBRARIES))


def definition_of(function: Callable[..., Any]) -> tuple[Source, AnyFunction] | None:
    """Return where a function of the user's is defined."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if not isinstance(code, CodeType) or is_library(code.co_filename):
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
