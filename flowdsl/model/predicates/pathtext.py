"""The grammar of jsonpath, as far as predicates need it: literals, paths, and texts joined with && and ||."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from flowdsl.model.predicates.expressions import RUN_ROOT, Place, Step


@dataclass(frozen=True, slots=True)
class Atom:
    """A predicate that needs no parentheses beside && and ||; `opposite` is its negation where that is simple."""

    text: str
    opposite: str = ""


@dataclass(frozen=True, slots=True)
class All:
    """Several texts joined by &&, and the whole text."""

    of: "tuple[Atom | All | Some, ...]"
    text: str


@dataclass(frozen=True, slots=True)
class Some:
    """Several texts joined by ||, and the whole text."""

    of: "tuple[Atom | All | Some, ...]"
    text: str


Text: TypeAlias = Atom | All | Some | bool


def all_of(parts: Iterable[Text]) -> Text:
    """Join with &&; decided parts fall away or decide the whole."""
    return _joined(parts, All, " && ", absorbing=False)


def some_of(parts: Iterable[Text]) -> Text:
    """Join with ||; decided parts fall away or decide the whole."""
    return _joined(parts, Some, " || ", absorbing=True)


def _joined(parts: Iterable[Text], kind: type[All] | type[Some], joint: str, *, absorbing: bool) -> Text:
    kept: dict[str, Atom | All | Some] = {}
    for part in parts:
        if isinstance(part, bool):
            if part is absorbing:
                return absorbing
            continue
        for inner in part.of if isinstance(part, kind) else (part,):
            kept[inner.text] = inner
    if len(kept) < 2:
        return next(iter(kept.values()), not absorbing)
    if any(_opposite(part).text in kept for part in kept.values()):
        return absorbing
    return kind(tuple(kept.values()), joint.join(map(_inside, kept.values())))


def _inside(part: Atom | All | Some) -> str:
    return part.text if isinstance(part, Atom) else f"({part.text})"


def negated(part: Text) -> Text:
    """Return the opposite."""
    return not part if isinstance(part, bool) else _opposite(part)


def _opposite(part: Atom | All | Some) -> Atom:
    if isinstance(part, Atom) and part.opposite:
        return Atom(part.opposite, part.text)
    return Atom(f"!({part.text})", _inside(part))


def written(part: Text) -> str:
    """Return the whole text of what is not decided."""
    if isinstance(part, bool):
        raise TypeError("what is decided has no text")
    return part.text


def path(place: Place) -> str:
    """Return the path to a place: from the judged value, or from the element a filter is about."""
    return ("$" if place.root == RUN_ROOT else "@") + "".join(map(_accessor, place.steps))


def _accessor(step: Step) -> str:
    if isinstance(step.accessor, str):
        return f".{quoted(step.accessor)}"
    if step.accessor >= 0:
        return f"[{step.accessor}]"
    return "[last]" if step.accessor == -1 else f"[last - {-step.accessor - 1}]"


def size_path(place: Place) -> str:
    """Return the path to the number of elements of a list."""
    return f"{path(place)}.size()"


def quoted(text: str) -> str:
    r"""Return a text as a string literal.

    >>> print(quoted('say "\\d"\n'))
    "say \"\\d\"\n"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def literal(value: Any) -> str:
    """Return a text or a boolean as a literal; numbers depend on what they are compared with."""
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def json_type(value: Any) -> str:
    """Return the JSON type of a value as jsonpath names it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"
