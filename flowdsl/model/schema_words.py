"""JSON Schemas in a few words, and places in JSON as paths: what a reviewer reads of a change of types."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flowdsl.model.checks import CHECKS

PREFIX: Final = "#/$defs/"
NOTHING: Final = "nothing"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEPTH_MAX: Final = 2
_VALUES_MAX: Final = 8
_KEYS_MAX: Final = 4
_BOUNDS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "like {!r}",
    "minItems": "at least {} elements",
    "maxItems": "at most {} elements",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A place, as a JSON path, where what is written is not what is expected there; both in a few words.

    `is_decided` is False where it is not known that some value does not fit, only not that all do.
    """

    path: str
    written: str
    expected: str
    is_decided: bool = True

    def inside(self, step: str) -> "Difference":
        """Return the same difference seen from outside, where this part is at a step of the path."""
        return replace(self, path=f"${step}{self.path[1:]}")


def key_path(key: str) -> str:
    """Return the step of a JSON path to a key.

    >>> key_path("price"), key_path("net price")
    ('.price', "['net price']")
    """
    return f".{key}" if _NAME.fullmatch(key) else f"[{key!r}]"


def target_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Return what a `$ref` stands for; anything where it leads nowhere."""
    return definitions.get(str(schema["$ref"]).removeprefix(PREFIX), True)


def described(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> str:
    """Return a schema in the words of JSON: `array of number`, `'a' or null`; a schema that holds itself only so deep."""
    if not isinstance(schema, dict):
        return NOTHING if schema is False else "anything"
    if "$ref" in schema:
        return "…" if depth > _DEPTH_MAX else described(target_of(schema, definitions), definitions, depth + 1)
    if "enum" in schema:
        return _values(schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(described(part, definitions, depth + 1) for part in schema[key]))
    if "allOf" in schema:
        return " and ".join(dict.fromkeys(described(part, definitions, depth + 1) for part in schema["allOf"]))
    return ", ".join([_kind(schema, definitions, depth), *_constraints(schema)])


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> str:
    kind = schema.get("type", "anything")
    name = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "format" in schema:
        return f"{name} ({schema['format']})"
    if depth > _DEPTH_MAX:
        return name
    if name == "object" and "properties" in schema:
        return f"object ({_keys(schema['properties'])})"
    if name == "array" and "prefixItems" in schema:
        parts = ", ".join(described(part, definitions, depth + 1) for part in schema["prefixItems"])
        return f"array of ({parts})"
    if name == "array" and "items" in schema:
        return f"array of {described(schema['items'], definitions, depth + 1)}"
    if name == "object" and "properties" not in schema and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {described(schema['additionalProperties'], definitions, depth + 1)}"
    return name


def _keys(properties: Mapping[str, Any]) -> str:
    """Return the keys of an object, first those that say what it is."""
    tags = {key: part["enum"] for key, part in properties.items() if isinstance(part, dict) and "enum" in part}
    told = [f"{key}: {_value(values[0])}" for key, values in tags.items() if len(values) == 1]
    told += [key for key in properties if len(tags.get(key, ())) != 1]
    more = ["…"] if len(told) > _KEYS_MAX else []
    return ", ".join([*told[:_KEYS_MAX], *more]) or "no keys"


def _constraints(schema: Mapping[str, Any]) -> Iterator[str]:
    for key, words in _BOUNDS.items():
        fixed = "prefixItems" in schema and key in ("minItems", "maxItems")
        if key in schema and not (fixed and schema[key] == len(schema["prefixItems"])):
            yield words.format(schema[key])
    if CHECKS in schema:
        yield f"checked by {', '.join(schema[CHECKS])}"
    if schema.get("uniqueItems"):
        yield "none twice"
    names = schema.get("propertyNames")
    if isinstance(names, dict):
        yield f"its keys {described({'type': 'string', **names}, {}).removeprefix('string, ')}"
    if "properties" in schema and "additionalProperties" in schema:
        yield "no other keys" if schema["additionalProperties"] is False else "other keys too"


def _values(values: list[Any]) -> str:
    shown = [_value(value) for value in values[:_VALUES_MAX]]
    more = [f"{len(values) - _VALUES_MAX} more"] if len(values) > _VALUES_MAX else []
    return shown[0] if len(values) == 1 else f"one of {', '.join([*shown, *more])}"


def _value(value: Any) -> str:
    return repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
