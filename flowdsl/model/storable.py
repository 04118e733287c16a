"""What keeps values of a type from being stored as JSON: pydantic cannot write it, or what it reads is something else.

Pydantic's own message, or the place in the type, becomes a sentence and what to change there.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

# What users put into a schema is no schema.
_NO_SCHEMA: Final = frozenset({"default", "metadata", "expected"})
_FIELDS: Final = frozenset({"model-fields", "dataclass-args", "typed-dict"})
# What pydantic says of a class it has no schema for, and of one it only lets in as it is.
_UNKNOWN_CLASS: Final = re.compile(
    r"Unable to generate pydantic-core schema for <class '(?:\w+\.|<locals>\.)*(\w+)'>"
    r"|Cannot generate a JsonSchema for core_schema\.IsInstanceSchema \(<class '(?:\w+\.|<locals>\.)*(\w+)'>\)"
)
_FUNCTION: Final = re.compile(r"Cannot generate a JsonSchema for core_schema\.CallableSchema")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why values of a type cannot be stored, and what to change."""

    what: str
    fix: str


_SECRET: Final = Obstacle(
    "a secret is written as asterisks",
    "Use str; real secrets have no place in a run, which the database keeps as it is.",
)
_EXCLUDED: Final = Obstacle(
    "a field with exclude=True is not written", "Leave out exclude=True, or leave out the field."
)
_KEYS: Final = Obstacle("a {} as a dict's key cannot be read again", "Use a list of pairs.")
_FUNCTION_VALUE: Final = Obstacle(
    "a function is no value", "Leave it out, or store a name by which the handler finds the function."
)
# Pydantic has schemas for these, but what comes back is not what was given.
_ONE_WAY: Final[Mapping[str, Obstacle]] = {
    "generator": Obstacle("an iterable can be read only once", "Use a list or a Sequence."),
    "is-subclass": Obstacle(
        "a class is no value", "Leave it out, or store a name by which the handler finds the class."
    ),
}
_OTHER: Final = (
    "Use types that pydantic can turn into JSON and back: models, dataclasses, typed dicts, lists, plain values."
)


def obstacle_in(schema: Any) -> Obstacle | None:
    """Return what in a core schema would not come back as it was, or None."""
    hidden = next(_secrets(schema, ""), None)
    if hidden is not None:
        return _placed(_SECRET, hidden)
    return next((found for part, place in _placed_parts(schema, "") if (found := _one_way(part, place))), None)


def obstacle_of(error: Exception) -> Obstacle:
    """Return what pydantic's refusal to describe a type says."""
    unknown = _UNKNOWN_CLASS.match(str(error))
    if unknown is not None:
        name = unknown[1] or unknown[2]
        fix = f"Make {name} a pydantic model, a dataclass or a TypedDict, or use a type that pydantic knows."
        return Obstacle(f"pydantic does not know how to store a {name}", fix)
    if _FUNCTION.match(str(error)):
        return _FUNCTION_VALUE
    return Obstacle(str(error).partition("\n")[0].partition(". ")[0].rstrip("."), _OTHER)


def parts_of(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Walk all typed parts of a core schema; what users put into it (defaults, metadata) is no schema."""
    return (part for part, _ in _placed_parts(schema, ""))


def _placed_parts(schema: Any, place: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    if isinstance(schema, dict) and isinstance(schema.get("type"), str):
        yield schema, place
    for inner, where in _inside(schema, place):
        yield from _placed_parts(inner, where)


def _inside(schema: Any, place: str) -> Iterator[tuple[Any, str]]:
    """Yield what a schema consists of, each with the innermost field it is in."""
    if isinstance(schema, (list, tuple)):
        yield from ((part, place) for part in schema)
    elif isinstance(schema, dict):
        for key, part in schema.items():
            if key == "fields" and schema.get("type") in _FIELDS:
                named = part.items() if isinstance(part, dict) else ((field["name"], field) for field in part)
                yield from ((field, f"field '{name}'{_owner(schema)}") for name, field in named)
            elif key not in _NO_SCHEMA:
                yield part, place


def _owner(schema: Mapping[str, Any]) -> str:
    cls = schema.get("cls")
    name = schema.get("model_name") or schema.get("dataclass_name") or getattr(cls, "__name__", None)
    return "" if name is None else f" of {name}"


def _one_way(part: Mapping[str, Any], place: str) -> Obstacle | None:
    if part.get("serialization_exclude"):
        return _placed(_EXCLUDED, place)
    keys = part.get("keys_schema", {})
    if keys.get("type") in ("tuple", "frozenset") and "serialization" not in keys:
        return _placed(Obstacle(_KEYS.what.format(keys["type"]), _KEYS.fix), place)
    found = _ONE_WAY.get(part["type"])
    return None if found is None else _placed(found, place)


def _placed(obstacle: Obstacle, place: str) -> Obstacle:
    return Obstacle(f"{obstacle.what} ({place})", obstacle.fix) if place else obstacle


def _secrets(schema: Any, place: str) -> Iterator[str]:
    """Find where a type holds pydantic's secrets, unless it has a serializer of its own for them."""
    if isinstance(schema, dict):
        function = schema.get("serialization", {}).get("function") if isinstance(schema.get("type"), str) else None
        if function is not None:
            name = getattr(function, "__qualname__", "").lower()
            if getattr(function, "__module__", None) == "pydantic.types" and "secret" in name:
                yield place
            return
    for inner, where in _inside(schema, place):
        yield from _secrets(inner, where)
