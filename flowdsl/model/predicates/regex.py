"""From Python's regular expressions to PostgreSQL's, as far as both mean the same.

Python's own parser reads the pattern; every part is written anew in the terms of PostgreSQL's advanced regular expressions,
for its like_regex with flag "s". The question is only whether there is a match, so greedy and lazy are one. Classes are
those of ASCII, for what Unicode says differs from version to version.
"""

import re
import string
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from flowdsl.model.predicates.mistakes import PredicateError, untraceable

_parser: Any = re._parser  # type: ignore[attr-defined]  # noqa: SLF001 - the only parser that reads as Python does
_MAX_REPEAT: Final = 255
_MAX_SIZE: Final = 1000
# Measured: PostgreSQL takes seconds for 200 parts of such patterns, and refuses more.
_MAX_EMPTY_SIZE: Final = 60
# It tries assertions without a character between them in every combination: 16 of `^|$` are more than it can hold.
_MAX_ASSERTIONS: Final = 8
_BOUNDARY_SIZE: Final = 4
_LAST: Final = sys.maxunicode
_WORD: Final = ((48, 57), (65, 90), (95, 95), (97, 122))
_CLASSES: Final = {"DIGIT": ((48, 57),), "SPACE": ((9, 13), (32, 32)), "WORD": _WORD}
_AT: Final = {
    "AT_BEGINNING": "^",
    "AT_BEGINNING_STRING": "^",
    "AT_END": r"(?=\n?$)",
    "AT_END_STRING": "$",
}
_UNTRANSLATED: Final = {
    "GROUPREF": "a back reference",
    "GROUPREF_EXISTS": "a conditional group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive quantifier",
    "AT_NON_BOUNDARY": r"\B",
}
_PLAIN: Final = frozenset(string.ascii_letters + string.digits + " _/:@#%&=~!,;'<>`")
_SPECIAL: Final = frozenset('\\.^$*+?()[]{}|-"')
_W: Final = "[0-9A-Z_a-z]"
_BOUNDARY: Final = f"(?:(?<={_W})(?!{_W})|(?<!{_W})(?={_W}))"

Ranges = tuple[tuple[int, int], ...]


def translated(pattern: str) -> str:
    """Return the same regular expression for PostgreSQL; PredicateError where there is none."""
    try:
        parsed = _parser.parse(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise untraceable(f"{pattern!r} is no regular expression: {error}.", "Mend the pattern.") from error
    if parsed.state.flags & ~re.ASCII:
        raise _untranslated(pattern, "a flag")
    writer = _Writer(pattern)
    text = writer.sequence(parsed)
    if writer.size > _MAX_SIZE:
        what = f"{pattern!r} is too large for the database: its counts multiply to {writer.size} parts."
        raise untraceable(what, f"Let it have at most {_MAX_SIZE}.")
    return text


def _untranslated(pattern: str, what: str) -> PredicateError:
    fix = "Write the pattern without it, or look at the text in a step before this one."
    return untraceable(f"{pattern!r} has {what}, which PostgreSQL does not know in the same meaning.", fix)


class _Writer:
    """Writes one pattern; `size` is how many parts it has once all counts are written out, `assertions` how many look."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.size = 0
        self.assertions = 0

    def sequence(self, parts: Any) -> str:
        texts = []
        before = self.assertions  # up to the last part that takes a character
        for place, (name, value) in enumerate(parts):
            texts.append(self._part(str(name), value))
            if parts[place : place + 1].getwidth()[0] > 0:
                before = self.assertions
            elif self.assertions - before > _MAX_ASSERTIONS:
                what = f"{self.pattern!r} asserts too much at one place, which makes it too complex for the database."
                raise untraceable(what, "Let a character stand between the assertions, or leave some of them out.")
        self.size += not texts
        return "".join(texts)

    def _part(self, name: str, value: Any) -> str:
        match name:
            case "LITERAL":
                return self._sized(_character(value))
            case "NOT_LITERAL":
                return self._sized(f"[^{_ranges(((value, value),))}]")
            case "ANY":
                return self._sized(r"[^\n]")
            case "IN":
                return self._sized(self._class(value))
            case "BRANCH":
                return "(?:" + "|".join(self.sequence(branch) or "(?:)" for branch in value[1]) + ")"
            case "SUBPATTERN":
                _, added, removed, inner = value
                if added or removed:
                    raise _untranslated(self.pattern, "a flag")
                return f"(?:{self.sequence(inner)})"
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repeat(*value)
            case "AT":
                return self._position(str(value))
            case "ASSERT" | "ASSERT_NOT":
                direction, inner = value
                if direction < 0:
                    raise _untranslated(self.pattern, "a lookbehind")
                self.size += 1
                self.assertions += 1
                return f"(?{'=' if name == 'ASSERT' else '!'}{self.sequence(inner)})"
            case _:
                raise _untranslated(self.pattern, _UNTRANSLATED.get(name, name.lower()))

    def _sized(self, text: str) -> str:
        self.size += 1
        return text

    def _position(self, name: str) -> str:
        self.assertions += 1
        if name == "AT_BOUNDARY":
            self.size += _BOUNDARY_SIZE
            return _BOUNDARY
        if name not in _AT:
            raise _untranslated(self.pattern, _UNTRANSLATED.get(name, name.lower()))
        return self._sized(_AT[name])

    def _repeat(self, least: int, most: Any, inner: Any) -> str:
        is_endless = most is _parser.MAXREPEAT
        if max(least, 0 if is_endless else most) > _MAX_REPEAT:
            raise _untranslated(self.pattern, f"a count above {_MAX_REPEAT}")
        before, assertions = self.size, self.assertions
        text = self.sequence(inner)
        count = least if is_endless else most
        size = (self.size - before) * max(1, count)
        if count > 1 and inner.getwidth()[0] == 0 and size > _MAX_EMPTY_SIZE:
            what = f"{self.pattern!r} repeats what may be empty, which makes it too complex for the database."
            raise untraceable(what, "Let the repeated part hold a character at least, or use * for the count.")
        self.size = before + size
        self.assertions = assertions + (self.assertions - assertions) * (max(1, count) + is_endless)
        return f"(?:{text}){{{least},{'' if is_endless else most}}}"

    def _class(self, items: Any) -> str:
        is_negated = str(items[0][0]) == "NEGATE"
        found = _merged(span for item in (items[1:] if is_negated else items) for span in self._spans(*item))
        if found == ((1, _LAST),):
            found, is_negated = (), not is_negated
        if not found:
            return "." if is_negated else "(?!)"
        return f"[{'^' if is_negated else ''}{_ranges(found)}]"

    def _spans(self, name: Any, value: Any) -> Ranges:
        match str(name):
            case "LITERAL":
                return ((value, value),)
            case "RANGE":
                return (tuple(value),)
            case "CATEGORY":
                category = str(value).removeprefix("CATEGORY_")
                known = _CLASSES[category.removeprefix("NOT_")]
                return tuple(_complement(known)) if category.startswith("NOT_") else known
            case other:
                raise _untranslated(self.pattern, other.lower())


def _merged(spans: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _complement(spans: Ranges) -> Iterator[tuple[int, int]]:
    start = 1  # no text holds U+0000
    for first, last in spans:
        yield start, first - 1
        start = last + 1
    yield start, _LAST


def _ranges(spans: Ranges) -> str:
    return "".join(
        _character(first) if first == last else f"{_character(first)}-{_character(last)}" for first, last in spans
    )


def _character(code: int) -> str:
    character = chr(code)
    if character in _PLAIN:
        return character
    if character in _SPECIAL:
        return f"\\{character}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
