"""The canonical form of a JSON Schema: two types that take the same JSON have the same text.

All that only describes is left out (titles, descriptions, defaults, the names of definitions), and what can be said in
several ways is said in one. Definitions are kept where a type holds itself, or is too long to be written out each time, and
are numbered in the order in which they are met.

An object without `additionalProperties` whose properties are listed is one whose writers write no others and whose readers
ignore others, as models do by default; `additionalProperties: true` is kept where a model keeps what it does not know.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flowdsl.model.checks import CHECKS
from flowdsl.model.generators import TAGS
from flowdsl.model.schema_definitions import Numbering, recursive_names, renamed, text_of
from flowdsl.model.schema_words import PREFIX
from flowdsl.model.schemas import Schema

_INLINE_MAX: Final = 4_000
"""Characters of a definition that is written out wherever it is used."""

_MAPS: Final = frozenset({"properties", "patternProperties"})
_ONES: Final = frozenset({"items", "additionalProperties", "not"})
_LISTS: Final = frozenset({"prefixItems", "anyOf", "oneOf", "allOf"})
# What any text is: paths take every one.
_FREE_FORMATS: Final = frozenset({"path", "password"})


@dataclass(frozen=True, slots=True)
class Canonical:
    """A schema in its canonical form, with the definitions it refers to under names that mean nothing."""

    body: Any
    definitions: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Any) -> "Canonical":
        """Make the canonical form of a schema as pydantic gives it."""
        return _Reducer(raw.get("$defs", {}) if isinstance(raw, dict) else {}).canonical(raw)

    def schema(self) -> Schema:
        """Return the schema to store and to compare."""
        return Numbering(self.definitions).schema(self.body)


ANYTHING: Final = Canonical(True)


def array_of(items: Canonical) -> Canonical:
    """Return the schema of lists of such items."""
    return Canonical(_normal({"type": "array", "items": items.body}), items.definitions)


def optional(whole: Canonical) -> Canonical:
    """Return the schema of such values and null."""
    return Canonical(_normal({"anyOf": [whole.body, {"type": "null"}]}), whole.definitions)


def object_of(properties: Mapping[str, Canonical], required: Sequence[str]) -> Canonical:
    """Return the schema of objects with such properties."""
    bodies, definitions = {}, {}
    for index, (name, part) in enumerate(properties.items()):
        own = {old: f"{index}.{old}" for old in part.definitions}
        bodies[name] = renamed(part.body, own)
        definitions.update({own[old]: renamed(body, own) for old, body in part.definitions.items()})
    whole = {"type": "object", "properties": bodies, "required": list(required)}
    return Canonical(_normal(whole), definitions)


# ---- one way to say it ----------------------------------------------------------------------------------------------


class _Reducer:
    """From a schema as pydantic gives it to one with all that can be written out written out."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self.raw = definitions
        self.recursive = recursive_names(definitions)
        self.kept: dict[str, Any] = {}
        self.short: dict[str, Any] = {}

    def canonical(self, raw: Any) -> Canonical:
        body = self.reduced(raw)
        return Canonical(body, self.kept)

    def reduced(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node is not False
        parts: dict[str, Any] = {}
        for key, part in node.items():
            if key in _MAPS:
                parts[key] = {name: self.reduced(schema) for name, schema in part.items()}
            elif key in _ONES:
                parts[key] = self.reduced(part)
            elif key in _LISTS:
                parts[key] = [self.reduced(schema) for schema in part]
            elif key == "propertyNames":
                parts[key] = _names(self.reduced(part))
            elif key != "$ref":
                parts[key] = part
        if TAGS in node:
            parts["anyOf"] = [self.tagged(member, node[TAGS]) for member in node["anyOf"]]
        if "$ref" in node:
            return _both(self.referred(str(node["$ref"]).removeprefix(PREFIX)), _normal(parts))
        return _normal(parts)

    def tagged(self, member: Any, names: Sequence[str]) -> Any:
        """Require the tag, default or not: without it pydantic does not know which member is meant."""
        raw = member
        for _ in self.raw:
            raw = self.raw.get(str(raw["$ref"]).removeprefix(PREFIX), {}) if "$ref" in raw else raw
        found = [name for name in names if name in raw.get("properties", ())]
        return _both(self.reduced(member), {"required": found[:1]} if found else True)

    def referred(self, name: str) -> Any:
        """Return what stands for a definition: its body, or a reference to it."""
        if name not in self.raw:
            return True
        if name in self.short:
            return self.short[name]
        if name not in self.kept:
            if name in self.recursive:
                self.kept[name] = True  # the reference below may come back to it
                self.kept[name] = self.reduced(self.raw[name])
            else:
                body = self.reduced(self.raw[name])
                if len(text_of(body)) <= _INLINE_MAX:
                    self.short[name] = body
                    return body
                self.kept[name] = body
        return {"$ref": PREFIX + name}


def _normal(node: Mapping[str, Any]) -> Any:
    """Say in one way what a schema whose parts are canonical says: True where that is nothing, False where none fits."""
    found: dict[str, Any] = {}
    for key, part in node.items():
        said = _RULES[key](part) if key in _RULES else None
        if said is not None:
            found[key] = said
    if "const" in found:
        found["enum"] = [found.pop("const")]
    if "enum" in found:
        found.pop("type", None)  # releases of pydantic differ in whether it is there
    if "properties" in found:
        found["properties"] = {name: part for name, part in found["properties"].items() if part is not False}
    elif found.get("additionalProperties") is True:
        del found["additionalProperties"]
    if found.pop("not", None) is True:
        return False
    types = found.get("type")
    choices = [{"type": name} for name in found.pop("type")] if isinstance(types, list) else None
    parts = found.pop("allOf", [])
    unions = [members for members in (choices, found.pop("anyOf", None)) if members is not None]
    whole: Any = found or True
    for part in (*map(_either, unions), *parts):
        whole = _both(whole, part)
    return whole


def _either(members: Sequence[Any]) -> Any:
    flat: dict[str, Any] = {}
    for member in members:
        is_union = isinstance(member, dict) and member.keys() == {"anyOf"}
        flat.update((text_of(part), part) for part in (member["anyOf"] if is_union else [member]) if part is not False)
    found = list(flat.values())
    if True in found or not found:
        return bool(found)
    return found[0] if len(found) == 1 else {"anyOf": found}


def _both(one: Any, other: Any) -> Any:
    if one is True or other is True:
        return other if one is True else one
    if one is False or other is False:
        return False
    if other.keys() <= _LISTS_OF_NAMES and "$ref" not in one:
        return {**one, **{key: sorted({*one.get(key, ()), *names}) for key, names in other.items()}}
    if not one.keys() & other.keys() and (other.keys() <= _INDEPENDENT or one.keys() <= _INDEPENDENT):
        return {**one, **other}
    parts = [part for whole in (one, other) for part in (whole["allOf"] if whole.keys() == {"allOf"} else [whole])]
    return {"allOf": list({text_of(part): part for part in parts}.values())}


def _names(schema: Any) -> Any:
    """Return what a schema says of keys, which are text in JSON whatever they were."""
    if not isinstance(schema, dict):
        return schema
    if "enum" in schema:
        texts = [value if isinstance(value, str) else json.dumps(value) for value in schema["enum"]]
        return {"enum": sorted(texts)}
    if "anyOf" in schema:
        return _either([_names(member) for member in schema["anyOf"]])
    said = _KEYS.get(schema.get("type", ""), True)
    rest = {key: part for key, part in schema.items() if key != "type"}
    if said is None or said is True:
        return _normal(rest)
    return {**said, CHECKS: [text_of(rest)]} if rest else said  # bounds of numbers say nothing of their texts


def _number(value: Any) -> Any:
    """Return the value with numbers as JSON Schema compares them: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_number(part) for part in value]
    return {key: _number(part) for key, part in value.items()} if isinstance(value, dict) else value


def _listed(values: Sequence[Any]) -> list[Any]:
    texts = {text_of(value): value for value in map(_number, values) if _is_storable(value)}
    return [texts[text] for text in sorted(texts)]


def _is_storable(value: Any) -> bool:
    """Tell whether PostgreSQL can store a value; one that it cannot is never written, or read."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_storable, (*value, *value.values())))
    return all(map(_is_storable, value)) if isinstance(value, list) else "\0" not in str(value)


def _bound(value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return _number(value) if is_number else None


def _as_it_is(value: Any) -> Any:
    return value


def _unless_true(schema: Any) -> Any:
    return None if schema is True else schema


def _types(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


_RULES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "type": _types,
    "enum": _listed,
    "const": _number,
    "properties": _as_it_is,
    "required": lambda names: sorted(set(names)) or None,
    CHECKS: lambda names: sorted(set(names)) or None,
    "additionalProperties": _as_it_is,
    "patternProperties": lambda parts: parts or None,
    "propertyNames": _unless_true,
    "items": _unless_true,
    "prefixItems": _as_it_is,
    "uniqueItems": lambda value: value or None,
    "pattern": lambda value: str(value) if _is_storable(str(value)) else None,
    "format": lambda name: None if name in _FREE_FORMATS else name,
    "not": _as_it_is,
    "anyOf": _as_it_is,
    "oneOf": _as_it_is,
    "allOf": _as_it_is,
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _bound),
    **dict.fromkeys(("minLength", "minItems", "minProperties"), lambda size: size or None),
    **dict.fromkeys(("maxLength", "maxItems", "maxProperties"), _as_it_is),
}
_INDEPENDENT: Final = frozenset({"type", "enum", "anyOf", "oneOf", "required", "uniqueItems", CHECKS})
_LISTS_OF_NAMES: Final = frozenset({"required", CHECKS})
# What keys of a type look like; None for text, which is described as it is.
_KEYS: Final[Mapping[str, Any]] = {
    "string": None,
    "integer": {"pattern": "^-?[0-9]+$"},
    "number": {"pattern": r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"},
    "boolean": {"enum": ["false", "true"]},
    "null": {"enum": ["None"]},
}
