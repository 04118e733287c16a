"""Values as Python source text: what `quoting.py` is for SQL, for the migration file around it.

The file has to stay byte for byte what we wrote when a formatter goes over it, so text of several lines becomes a
triple-quoted literal that no formatter touches, and everything invisible in it is written as an escape.
"""

from dataclasses import dataclass

from flowdsl.compiler.jsontext import json_lines
from flowdsl.types import JsonValue


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of Python source that is complete and safe where it stands; deliberately not a `str`."""

    text: str

    def __str__(self) -> str:
        return self.text


def string(value: str | None) -> Source:
    """Return a literal on one line, in double quotes; None is `None`."""
    if value is None:
        return Source("None")
    # A formatter prefers the quotes that need no escape.
    quote = "'" if '"' in value and "'" not in value else '"'
    return Source(quote + _escaped(value).replace(quote, "\\" + quote) + quote)


def block(text: str) -> Source:
    r"""Return a triple-quoted literal whose text starts and ends on lines of its own.

    Raw when the text has backslashes and a raw literal can hold it: then it reads as it is.
    """
    framed = f"\n{text}\n"
    if "\\" in text and '"""' not in text and all(line.isprintable() for line in text.split("\n")):
        return Source(f'r"""{framed}"""')
    return Source('"""' + _escaped(framed, keep="\n").replace('"""', '\\"\\"\\"') + '"""')


def prose(text: str) -> Source:
    """Return text for the inside of a docstring: no quote, backslash or invisible character can end or bend it."""
    return Source(_escaped(text, keep="\n").replace('"""', '\\"\\"\\"'))


def json_block(value: JsonValue, *, width: int = 100) -> Source:
    """Return JSON text as a literal: sorted keys, and one line for whatever fits into one."""
    return block("\n".join(json_lines(value, width)))


def _escaped(text: str, keep: str = "") -> str:
    if keep == "\n" and "\n" in text:
        return "\n".join(_escaped(line) for line in text.split("\n"))
    # Nearly all text is like this, and going through it character by character is what takes the time.
    if text.isprintable():
        return text.replace("\\", "\\\\")
    return "".join(
        "\\\\"
        if character == "\\"
        else character
        if character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
