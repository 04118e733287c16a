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
    """Several texts joined by &&."""

    of: "tuple[Text, ...]"


@dataclass(frozen=True, slots=True)
class Some:
    """Several texts joined by ||."""

    of: "tuple[Text, ...]"


Text: TypeAlias = Atom | All | Some | bool


def all_of(parts: Iterable[Text]) -> Text:
    """Join with &&; decided parts fall away or decide the whole."""
    return _joined(parts, All, absorbing=False)


def some_of(parts: Iterable[Text]) -> Text:
    """Join with ||; decided parts fall away or decide the whole."""
    return _joined(parts, Some, absorbing=True)


def _joined(parts: Iterable[Text], kind: type[All] | type[Some], *, absorbing: bool) -> Text:
    kept: dict[Text, None] = {}
    for part in parts:
        if part is absorbing:
            return absorbing
        for inner in part.of if isinstance(part, kind) else (part,):
            if not isinstance(inner, bool):
                kept[inner] = None
    texts = {written(part) for part in kept}
    if any(written(opposite) in texts for part in kept if not isinstance(opposite := negated(part), bool)):
        return absorbing
    if len(kept) == 1:
        return next(iter(kept))
    return kind(tuple(kept)) if kept else not absorbing


def negated(part: Text) -> Text:
    """Return the opposite."""
    if isinstance(part, bool):
        return not part
    if isinstance(part, Atom) and part.opposite:
        return Atom(part.opposite, part.text)
    text = written(part)
    return Atom(f"!({text})", text if isinstance(part, Atom) else f"({text})")


def written(part: Text) -> str:
    """Return the whole text."""
    match part:
        case Atom():
            return part.text
        case All():
            return " && ".join(_inside(inner) for inner in part.of)
        case Some():
            return " || ".join(_inside(inner) for inner in part.of)
        case _:
            raise TypeError("what is decided has no text")


def _inside(part: Text) -> str:
    return written(part) if isinstance(part, Atom) else f"({written(part)})"


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
