"""Values as SQL text: the only place where a Python value becomes part of a statement.

A value becomes a `Sql` fragment here or it does not reach a statement at all, since the templates accept nothing else
(`render.py`). The fragments mean the same under every server setting: a backslash always goes into an `E''` literal, so
`standard_conforming_strings` does not matter, and what PostgreSQL cannot store is refused before it sees it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flowdsl.compiler.jsontext import json_lines, json_text
from flowdsl.errors import CompileError
from flowdsl.types import JsonValue

INT4_MAX: Final = 2**31 - 1
IDENTIFIER_BYTES: Final = 63


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL that is complete and safe where it stands; deliberately not a `str`."""

    text: str

    def __str__(self) -> str:
        return self.text


NULL: Final = Sql("null")


def literal(value: str | None) -> Sql:
    r"""Return a text literal; None is `null`.

    >>> print(literal("it's"))
    'it''s'
    >>> print(literal("C:\\temp"))
    E'C:\\temp'
    """
    if value is None:
        return NULL
    text = _storable(value).replace("'", "''")
    if "\\" in text:
        return Sql("E'" + text.replace("\\", "\\\\") + "'")
    return Sql(f"'{text}'")


def ident(name: str) -> Sql:
    """Return a quoted identifier.

    >>> print(ident('a "b"'))
    "a ""b\"""
    """
    if not name:
        raise CompileError("an SQL identifier cannot be empty")
    if len(_storable(name).encode()) > IDENTIFIER_BYTES:
        raise CompileError(
            f"the SQL identifier {shortened(name)} is longer than {IDENTIFIER_BYTES} bytes",
            hint="PostgreSQL would cut it off; choose a shorter name.",
        )
    return Sql('"' + name.replace('"', '""') + '"')


def integer(value: int | None) -> Sql:
    """Return an integer of PostgreSQL's `int`; None is `null`. A bool is not a number here."""
    if value is None:
        return NULL
    if isinstance(value, bool) or not isinstance(value, int):
        raise CompileError(f"{value!r} is not an integer")
    if not -INT4_MAX - 1 <= value <= INT4_MAX:
        raise CompileError(f"{value} does not fit PostgreSQL's type int (at most {INT4_MAX})")
    return Sql(str(int(value)))


def boolean(value: bool | None) -> Sql:
    """Return `true` or `false`; None is `null`."""
    if value is None:
        return NULL
    if not isinstance(value, bool):
        raise CompileError(f"{value!r} is not a boolean")
    return Sql("true" if value else "false")


def jsonb(value: JsonValue) -> Sql:
    """Return a jsonb literal with sorted keys; None is the JSON null, not the SQL one."""
    return _jsonb(value, width=None)


def jsonb_block(value: JsonValue, *, width: int = 100) -> Sql:
    """Return a jsonb literal like `jsonb`, over several lines when it is long, indented to stand among arguments."""
    return _jsonb(value, width=width)


def _jsonb(value: JsonValue, width: int | None) -> Sql:
    try:
        text = json_text(value) if width is None else "\n  ".join(json_lines(value, width))
    except (TypeError, ValueError) as error:
        raise CompileError(f"{shortened(repr(value))} is not JSON: {error}") from error
    # In JSON text a NUL hides as the six characters \u0000, which jsonb refuses too.
    if _ESCAPED_NUL.search(text):
        raise _unstorable(text, "the character NUL (U+0000)")
    return Sql(f"{literal(text)}::jsonb")


def text_array(values: Sequence[str] | None) -> Sql:
    """Return an array of text; None is `null`.

    >>> print(text_array(["a", "b"]), text_array([]))
    array['a', 'b'] '{}'::text[]
    """
    if values is None:
        return NULL
    if isinstance(values, str):
        raise CompileError(f"{shortened(values)} is one text, not a list of texts")
    if not values:
        return Sql("'{}'::text[]")
    return Sql(f"array[{', '.join(str(literal(value)) for value in values)}]")


def remark(text: str) -> Sql:
    """Return one line of `--` comment, with whatever could end the line made visible."""
    return Sql("-- " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in _storable(text)))


def shortened(text: str, length: int = 60) -> str:
    """Return the text in quotes and on one line, cut to a readable length: for messages."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")


# An escaped NUL in JSON text: \u0000 after an even number of backslashes.
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _storable(text: str) -> str:
    if not isinstance(text, str):
        raise CompileError(f"{text!r} is not a text")
    if "\0" in text:
        raise _unstorable(text, "the character NUL (U+0000)")
    if _SURROGATE.search(text):
        raise _unstorable(text, "half of a surrogate pair")
    return text


def _unstorable(text: str, what: str) -> CompileError:
    return CompileError(
        f"the text {shortened(text)} holds {what}, which PostgreSQL cannot store",
        hint="Take it out, or encode it (for example as base64).",
    )
