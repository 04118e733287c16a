"""The line as it would be right: small edits of a builder call or of a handler's first line, in the user's own words.

A problem brings the edits that mend it. All edits of one call are made together, so that whoever copies the line is rid of
all of them. An edit that does not fit the text makes no line: then the fix in words has to do.
"""

import ast
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from flowdsl.model.chain import Place
from flowdsl.model.source import AnyFunction, Source, Span, call_at, definition_of

OWN = "{}"
"""Stands in an edit's text for what the user wrote."""


@dataclass(frozen=True, slots=True)
class Mended:
    """The text that belongs in place of a piece of a file."""

    span: Span
    text: str


class UneditableError(Exception):
    """The text is not as the edit expects it."""


@dataclass(slots=True)
class CallText:
    """A call, taken apart into the texts of its arguments; None where one is to be left out."""

    source: Source
    function: str
    arguments: list[ast.expr]
    texts: list[str | None]
    keywords: dict[str, str | None]
    added: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, source: Source, call: ast.Call) -> "CallText":
        """Take a call apart; UneditableError if it unpacks its arguments from somewhere else."""
        if any(isinstance(argument, ast.Starred) for argument in call.args) or any(
            k.arg is None for k in call.keywords
        ):
            raise UneditableError
        function = f".{call.func.attr}" if isinstance(call.func, ast.Attribute) else source.of(call.func)
        return cls(
            source=source,
            function=function,
            arguments=list(call.args),
            texts=[source.of(argument) for argument in call.args],
            keywords={str(keyword.arg): source.of(keyword.value) for keyword in call.keywords},
        )

    def __str__(self) -> str:
        given = [text for text in (*self.texts, *self.added) if text is not None]
        given += [f"{name}={text}" for name, text in self.keywords.items() if text is not None]
        return f"{self.function}({', '.join(given)})"

    def argument(self, index: int) -> ast.expr:
        """Return a positional argument as the user gave it."""
        if index >= len(self.arguments):
            raise UneditableError
        return self.arguments[index]


class CallEdit(Protocol):
    """A change of a builder call."""

    def edit(self, call: CallText) -> None:
        """Change the texts of the call."""


@dataclass(frozen=True, slots=True)
class Argument:
    """Write another positional argument (the handler is 0, the first dependency 1); None leaves it out."""

    index: int
    text: str | None

    def edit(self, call: CallText) -> None:
        """Replace the argument, around what the user wrote where the text has its mark."""
        call.argument(self.index)
        call.texts[self.index] = None if self.text is None else self.text.replace(OWN, call.texts[self.index] or "")


@dataclass(frozen=True, slots=True)
class Inner:
    """Write another handler inside of an argument, whatever `collect` and `maybe` are around it."""

    index: int
    text: str

    def edit(self, call: CallText) -> None:
        """Replace the innermost argument."""
        node = call.argument(self.index)
        written = call.texts[self.index]
        while isinstance(node, ast.Call) and _called(node) in ("collect", "maybe") and len(node.args) == 1:
            node = node.args[0]
        own = call.source.of(node)
        if written is None or written.count(own) != 1:
            raise UneditableError
        call.texts[self.index] = written.replace(own, self.text.replace(OWN, own))


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """Leave out the `collect(…)` or `maybe(…)` around or inside of an argument."""

    index: int
    name: str

    def edit(self, call: CallText) -> None:
        """Replace the wrapping call by what it is of."""
        call.argument(self.index)
        # As it is by now: another edit may have taken off what was around it or inside of it.
        written = call.texts[self.index] or ""
        try:
            tree = ast.parse(written, mode="eval")
        except SyntaxError as error:
            raise UneditableError from error
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) == self.name and len(node.args) == 1:
                whole, inner = ast.get_source_segment(written, node), ast.get_source_segment(written, node.args[0])
                call.texts[self.index] = written.replace(whole or "", inner or "")
                return
        if self.name in {_called(node) for node in ast.walk(call.argument(self.index)) if isinstance(node, ast.Call)}:
            return  # taken off already
        raise UneditableError


@dataclass(frozen=True, slots=True)
class Swapped:
    """Let two positional arguments change places."""

    one: int
    other: int

    def edit(self, call: CallText) -> None:
        """Exchange the texts."""
        call.argument(max(self.one, self.other))
        texts = call.texts
        texts[self.one], texts[self.other] = texts[self.other], texts[self.one]


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Write other dependencies."""

    texts: tuple[str, ...]

    def edit(self, call: CallText) -> None:
        """Replace everything behind the handler."""
        call.argument(0)
        call.texts[1:] = [None] * (len(call.texts) - 1)
        call.added = list(self.texts)


@dataclass(frozen=True, slots=True)
class Added:
    """Add a positional argument."""

    text: str

    def edit(self, call: CallText) -> None:
        """Append it."""
        call.added.append(self.text)


@dataclass(frozen=True, slots=True)
class Option:
    """Write an option with another value, or one that was not there; None leaves it out."""

    name: str
    text: str | None

    def edit(self, call: CallText) -> None:
        """Replace the value, around what the user wrote where the text has its mark."""
        call.keywords[self.name] = (
            None if self.text is None else self.text.replace(OWN, call.keywords.get(self.name) or "")
        )


@dataclass(frozen=True, slots=True)
class Renamed:
    """Call an option by another name."""

    name: str
    right: str

    def edit(self, call: CallText) -> None:
        """Rename it in its place."""
        if self.name not in call.keywords:
            raise UneditableError
        call.keywords = {self.right if name == self.name else name: text for name, text in call.keywords.items()}


@dataclass(frozen=True, slots=True)
class Method:
    """Call another builder method."""

    name: str

    def edit(self, call: CallText) -> None:
        """Replace the method's name."""
        if not call.function.startswith("."):
            raise UneditableError
        call.function = f".{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """Annotate a parameter of a handler, or what it returns (`return`), with another type."""

    function: Callable[..., Any]
    parameter: str
    text: str


Edit: TypeAlias = CallEdit | Annotation


# ---- making them ----------------------------------------------------------------------------------------------------


def mended_call(place: Place, edits: Sequence[CallEdit]) -> Mended | None:
    """Return a call with all edits made, None where they do not fit."""
    found = call_at(place)
    if found is None or not edits:
        return None
    source, call = found
    if place.method is not None and getattr(call.func, "attr", None) != place.method:
        return None  # called through something else, such as a partial
    try:
        text = CallText.of(source, call)
        for edit in edits:
            edit.edit(text)
    except UneditableError:
        return None
    node = call.func.value if isinstance(call.func, ast.Attribute) else None
    start = (call.lineno, call.col_offset) if node is None else (node.end_lineno or 0, node.end_col_offset or 0)
    return Mended(source.span(start, (call.end_lineno or 0, call.end_col_offset or 0)), str(text))


def mended_signature(annotations: Sequence[Annotation]) -> Mended | None:
    """Return the first line of a handler's definition with other annotations, None where it cannot be found."""
    found = definition_of(annotations[0].function)
    if found is None:
        return None
    source, function = found
    changed = copy.deepcopy(function)
    for annotation in annotations:
        if not _annotate(changed, annotation):
            return None
    changed.body, changed.decorator_list = [ast.Expr(ast.Constant(...))], []
    line = ast.unparse(changed).partition("\n")[0]
    end = _end_of_signature(source, function)
    return (
        None
        if end is None
        else Mended(Span(source.file, source.offset(function.lineno, function.col_offset), end), line)
    )


def _annotate(function: AnyFunction, annotation: Annotation) -> bool:
    try:
        declared = ast.parse(annotation.text, mode="eval").body
    except SyntaxError:
        return False
    if annotation.parameter == "return":
        function.returns = declared
        return True
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *([arguments.vararg] if arguments.vararg else [])):
        if argument.arg == annotation.parameter:
            argument.annotation = declared
            return True
    return False


def _end_of_signature(source: Source, function: AnyFunction) -> int | None:
    """Return the offset behind the colon of the signature, which syntax trees do not know."""
    first = function.body[0]
    before = source.text[: source.offset(first.lineno, first.col_offset)]
    parts = [function.returns, *function.args.defaults, *function.args.kw_defaults]
    parts += [
        argument.annotation for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    ]
    ends = [source.offset(part.end_lineno or 0, part.end_col_offset or 0) for part in parts if part is not None]
    start = max([source.offset(function.lineno, function.col_offset), *ends])
    colon = before.find(":", start)
    return None if colon < 0 else colon + 1


def _called(call: ast.Call) -> str | None:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
