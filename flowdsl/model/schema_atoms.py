"""A JSON Schema taken apart into alternatives, none of which refers, chooses or combines any more.

The values of a schema are those of its alternatives taken together, or fewer: where two parts of an `allOf` cannot be made
one, the wider of the two is kept. For the writer's side of a comparison that is on the safe side.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias

from flowdsl.model.checks import CHECKS
from flowdsl.model.schema_words import target_of

Atom: TypeAlias = dict[str, Any]

_TOGETHER: Final = frozenset({"$ref", "$defs", "anyOf", "oneOf", "allOf"})
_ALTERNATIVES_MAX: Final = 500
_REFERENCES_MAX: Final = 50
# Keywords that mean something only with each other.
_OF_ARRAYS: Final = frozenset({"items", "prefixItems"})
_OF_OBJECTS: Final = frozenset({"properties", "additionalProperties", "patternProperties"})
_HIGHEST: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_LOWEST: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})


def own_part(schema: Mapping[str, Any]) -> Atom:
    """Return a schema without what it refers to, chooses from or combines."""
    return {key: part for key, part in schema.items() if key not in _TOGETHER}


def alternatives(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> list[Atom]:
    """Return the alternatives of a schema; none for a schema without any value."""
    if not isinstance(schema, dict):
        return [] if schema is False else [{}]
    choices: list[list[Atom]] = [[own_part(schema)]]
    if "$ref" in schema and depth < _REFERENCES_MAX:
        choices.append(alternatives(target_of(schema, definitions), definitions, depth + 1))
    choices += [alternatives(part, definitions, depth + 1) for part in schema.get("allOf", ())]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            choices.append([atom for part in schema[key] for atom in alternatives(part, definitions, depth + 1)])
    found: list[Atom] = [{}]
    for choice in choices:
        if len(found) * len(choice) > _ALTERNATIVES_MAX:
            continue  # without it the alternatives are wider
        both = (_both(one, other) for one, other in itertools.product(found, choice))
        found = [atom for atom in both if atom is not None]
    return found


def _both(one: Atom, other: Atom) -> Atom | None:
    """Return what holds where both hold, or something wider; None where nothing can."""
    found = {**one, **{key: part for key, part in other.items() if key not in one}}
    for family in (_OF_ARRAYS, _OF_OBJECTS):
        if one.keys() & family and other.keys() & family:
            found = {key: part for key, part in found.items() if key not in family or key in one}
    if "properties" in one and "properties" in other:
        found["properties"] = _properties(one["properties"], other["properties"])
        if one.get("additionalProperties") != other.get("additionalProperties"):
            found["additionalProperties"] = True
    for key in one.keys() & other.keys():
        if key in _HIGHEST:
            found[key] = max(one[key], other[key])
        elif key in _LOWEST:
            found[key] = min(one[key], other[key])
        elif key in ("required", CHECKS):
            found[key] = sorted({*one[key], *other[key]})
        elif key == "type":
            found[key] = sorted(_types(one[key]) & _types(other[key]))
            if not found[key]:
                return None
    return found


def _properties(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: {"allOf": [one[key], other[key]]} for key in one.keys() & other.keys()}
    return {**one, **other, **both}


def _types(names: str | Sequence[str]) -> set[str]:
    found = {names} if isinstance(names, str) else set(names)
    return found | {"integer"} if "number" in found else found


# ---- reading an alternative -----------------------------------------------------------------------------------------

_ALL_KINDS: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_FINITE: Final[Mapping[str, Sequence[Any]]] = {"boolean": (False, True), "null": (None,)}


def kinds(atom: Atom) -> frozenset[str]:
    """Return the kinds of values: those of numbers are `integer` and, for others too, `number`."""
    return frozenset(_types(atom["type"])) if "type" in atom else _ALL_KINDS


def atom_of(value: Any) -> Atom:
    """Return the schema of one value, with all that can be said of it."""
    if isinstance(value, str):
        return {"type": "string", "const": value, "minLength": len(value), "maxLength": len(value)}
    if value is None or isinstance(value, bool):
        return {"type": "null" if value is None else "boolean", "const": value}
    if isinstance(value, (int, float)):
        kind = "integer" if value == int(value) else "number"
        return {"type": kind, "const": value, "minimum": value, "maximum": value}
    if isinstance(value, list):
        texts = {json.dumps(part, sort_keys=True) for part in value}
        size = {"minItems": len(value), "maxItems": len(value), "uniqueItems": len(texts) == len(value)}
        return {"type": "array", "prefixItems": [{"enum": [part]} for part in value], **size}
    parts = {key: {"enum": [part]} for key, part in value.items()}
    return {"type": "object", "properties": parts, "required": sorted(parts), "additionalProperties": False}


def finite_values(atom: Atom) -> Sequence[Any] | None:
    """Return all values of an alternative that has few, otherwise None."""
    if "const" in atom:
        return [atom["const"]]
    kind = atom.get("type", ())
    return _FINITE.get(kind) if isinstance(kind, str) else None


def keys_of(atom: Atom) -> tuple[Mapping[str, Any], Any]:
    """Return the keys that writers of an object write, and what any others hold: False where there are none."""
    names, others = atom.get("propertyNames", True), atom.get("additionalProperties")
    if "patternProperties" in atom:
        return atom.get("properties", {}), True
    if "properties" in atom:
        return atom["properties"], False if others is None else others
    others = True if others is None else others
    if isinstance(names, dict) and "enum" in names:
        return dict.fromkeys(names["enum"], others), False
    return {}, others


def item_at(atom: Atom, index: int) -> Any:
    """Return what an array holds at an index."""
    fixed = atom.get("prefixItems", ())
    return fixed[index] if index < len(fixed) else atom.get("items", True)


def most_items(atom: Atom) -> float:
    """Return how many elements an array has at most."""
    most: float = atom.get("maxItems", math.inf)
    return min(most, len(atom.get("prefixItems", ()))) if atom.get("items") is False else most


def number_fits(old: Atom, new: Atom) -> bool:
    """Tell whether all numbers of one alternative are within the bounds of another."""
    is_whole = "number" not in kinds(old)
    return (
        _lower(old, is_whole) >= _lower(new, is_whole)
        and _upper(old, is_whole) <= _upper(new, is_whole)
        and ("multipleOf" not in new or _is_multiple(old, Fraction(str(new["multipleOf"])), is_whole))
    )


# A bound and how far beyond it the numbers begin: 0 for the bound itself, 1 where it is left out.
def _lower(atom: Atom, is_whole: bool) -> tuple[float, int]:
    closed, opened = atom.get("minimum", -math.inf), atom.get("exclusiveMinimum", -math.inf)
    if is_whole:
        closed, opened = _finitely(math.ceil, closed), _finitely(lambda bound: math.floor(bound) + 1, opened)
        return max(closed, opened), 0
    return max((closed, 0), (opened, 1))


def _upper(atom: Atom, is_whole: bool) -> tuple[float, int]:
    closed, opened = atom.get("maximum", math.inf), atom.get("exclusiveMaximum", math.inf)
    if is_whole:
        closed, opened = _finitely(math.floor, closed), _finitely(lambda bound: math.ceil(bound) - 1, opened)
        return min(closed, opened), 0
    return min((closed, 0), (opened, -1))


def _finitely(rounded: Callable[[float], int], bound: float) -> float:
    return rounded(bound) if isinstance(bound, int) or math.isfinite(bound) else bound


def _is_multiple(atom: Atom, step: Fraction, is_whole: bool) -> bool:
    if step <= 0:
        return False
    if "const" in atom:
        return bool((Fraction(str(atom["const"])) / step).denominator == 1)
    own = [Fraction(str(atom["multipleOf"]))] if "multipleOf" in atom else []
    return any((known / step).denominator == 1 for known in [*own, *([Fraction(1)] if is_whole else [])])
