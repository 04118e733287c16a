"""From JSON Schema as it comes to the part of it of which Python models can be made.

Each object with named properties becomes a definition of its own, which is then a class; everything else is written out
where it is used, unless it holds itself. What a type in Python cannot say (which keys a dict may have, that items are
unique, bounds of decimals and dates) is left to the flow, which checks its input anyway.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Any, Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

from flowdsl.references.soundness import PREFIX, UnsoundSchemaError

NULL: Final[Mapping[str, Any]] = {"type": "null"}
TRANSPORT: Final = "binary"  # the generator's word for what is bytes in Python

_FORMATS: Final[Mapping[str, str]] = {
    **{name: name for name in ("date-time", "date", "time", "duration", "uuid", "ipv4", "ipv6", "decimal")},
    **{f"uuid{version}": "uuid" for version in range(1, 9)},
    **dict.fromkeys(("base64", "base64url", "byte"), TRANSPORT),
}
# Definitions that are written out where they are used may be used twice in one that is used twice, and so on.
_MAX_PARTS: Final = 100_000
_NUMBER_OF_STORED: Final = re.compile(r"T\d+")
_DECIMAL: Final[Mapping[str, Any]] = {"type": "number", "format": "decimal"}
_TEXT: Final = ("minLength", "maxLength", "pattern")
_NUMBER: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_KEYWORDS_OF: Final[Mapping[str, Sequence[str]]] = {
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("format", *_TEXT),
    "number": _NUMBER,
    "integer": _NUMBER,
}

_BOUNDS: Final = frozenset({*_TEXT, *_NUMBER, "minItems", "maxItems", "minProperties", "maxProperties"})


class Side(Enum):
    """Whose values a schema describes: those a caller sends, or those it gets."""

    SENT = "Input"
    GOT = "Output"


class Default(Enum):
    """What a model's field is when it is not given."""

    LEFT_OUT = "LEFT_OUT"
    NONE = "None"
    TAG = "its only value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A schema with a name: an object that becomes a class, or what holds itself and becomes an alias.

    `hint` is its name, or one it may have when `has_name` is not true. `body` requires all its properties; `defaults` tells
    which of them need not be given.
    """

    hint: str
    has_name: bool
    side: Side
    body: dict[str, Any]
    defaults: Mapping[str, Default] = field(default_factory=dict)

    @property
    def is_class(self) -> bool:
        """Whether it is an object with properties."""
        return "properties" in self.body


class Simplifier:
    """Simplifies the schemas of one flow and gathers their definitions."""

    def __init__(self) -> None:
        self.definitions: dict[str, Definition] = {}
        self._numbers = count(1)

    def simplified(self, schema: Any, hint: str, side: Side) -> dict[str, Any]:
        """Return the simple form of a root; `hint` is a name for what has none."""
        raw = schema.get("$defs", {}) if isinstance(schema, dict) else {}
        return _Root(self.definitions, self._numbers, raw, side).simple(schema, hint)


class _Root:
    """One schema with the definitions it came with."""

    def __init__(
        self, definitions: dict[str, Definition], numbers: Iterator[int], raw: Mapping[str, Any], side: Side
    ) -> None:
        self.definitions = definitions
        self.numbers = numbers
        self.raw = raw
        self.side = side
        self.keys: dict[str, str] = {}
        self.open: list[str] = []
        self.parts = 0

    def simple(self, node: Any, hint: str) -> dict[str, Any]:
        self.parts += 1
        if self.parts > _MAX_PARTS:
            raise UnsoundSchemaError((), f"written out it has more than {_MAX_PARTS:,} parts")
        if not isinstance(node, dict):
            return {}
        if "$ref" in node:
            return self.referred(str(node["$ref"]).removeprefix(PREFIX), hint)
        parts = [part for part in node.get("allOf", []) if isinstance(part, dict)]
        if parts:
            return self.simple(_together(node, parts), hint)
        members = node.get("anyOf", node.get("oneOf"))
        if members is not None:
            return _either([self.inner(member, hint) for member in members])
        if "const" in node:
            return _choice([node["const"]])
        if "enum" in node:
            return _choice(node["enum"])
        types = node.get("type", "object" if "properties" in node else None)
        if isinstance(types, list):
            return _either([self.inner({**node, "type": name}, hint) for name in types])
        return self.typed(str(types), node, hint)

    def inner(self, node: Any, hint: str) -> dict[str, Any]:
        """Return what stands for a part of another type, where bounds can only be said of a type with a name."""
        found = self.simple(node, hint)
        if not found.keys() & _BOUNDS or "prefixItems" in found:
            return found
        key = self._new_key()
        # Named after where it stands: bounds that happen to be the same mean nothing in common.
        self.definitions[key] = Definition(hint=hint, has_name=True, side=self.side, body=found)
        return {"$ref": PREFIX + key}

    def referred(self, name: str, hint: str) -> dict[str, Any]:
        """Return what stands for a definition: a reference when it has a name in Python, else its body."""
        if name in self.keys:
            return {"$ref": PREFIX + self.keys[name]}
        body = self.raw.get(name)
        if not isinstance(body, dict):
            return {}
        # The numbers of stored definitions mean nothing, and a name with its module in front is none of Python's.
        own = None if _NUMBER_OF_STORED.fullmatch(name) or "__" in name else name
        title = body.get("title", own)
        if _is_class(body):
            self.keys[name] = key = self._new_key()
            self.define(key, {**body, "title": title} if title else body, hint)
            return {"$ref": PREFIX + key}
        if name in self.open:  # it holds itself
            self.keys[name] = key = self._new_key()
            return {"$ref": PREFIX + key}
        self.open.append(name)
        found = self.simple(body, title or hint)
        self.open.remove(name)
        if name not in self.keys:
            return found
        self.definitions[self.keys[name]] = Definition(
            hint=title or hint, has_name=title is not None, side=self.side, body=found
        )
        return {"$ref": PREFIX + self.keys[name]}

    def typed(self, kind: str, node: Mapping[str, Any], hint: str) -> dict[str, Any]:
        said = {name: node[name] for name in _KEYWORDS_OF.get(kind, ()) if name in node}
        if kind == "object":
            if _is_class(node):
                key = self._new_key()
                self.define(key, node, hint)
                return {"$ref": PREFIX + key}
            return self.mapping(node, hint)
        if kind == "array":
            return self.array(said, hint)
        if kind == "string":
            return _text(said)
        return {"type": kind, **said} if kind in ("number", "integer", "boolean", "null") else {}

    def define(self, key: str, node: Mapping[str, Any], hint: str) -> None:
        """Make a definition of an object with properties."""
        has_name = "title" in node
        name_of_it = str(node["title"]) if has_name else _with_tag(node, hint)
        required = set(node.get("required", ()))
        properties, defaults = {}, {}
        # Its place, for a reference back to it and for the order in which classes are met.
        self.definitions[key] = Definition(hint=name_of_it, has_name=has_name, side=self.side, body={"properties": {}})
        for name, part in node["properties"].items():
            if part is False or part == {"not": {}}:
                continue
            body = self.simple(part, name)
            if _is_tag(body):
                defaults[name] = Default.TAG
            elif name not in required:
                may_be_null = _takes_null(body)
                defaults[name] = Default.LEFT_OUT if self.side is Side.SENT and not may_be_null else Default.NONE
                if self.side is Side.GOT and not may_be_null:
                    body = _either([body, dict(NULL)])
            properties[name] = body
        whole: dict[str, Any] = {"type": "object", "properties": properties, "required": list(properties)}
        others = node.get("additionalProperties")
        if others is not None:
            whole["additionalProperties"] = others is not False
        self.definitions[key] = Definition(
            hint=name_of_it, has_name=has_name, side=self.side, body=whole, defaults=defaults
        )

    def mapping(self, node: Mapping[str, Any], hint: str) -> dict[str, Any]:
        values = [*node.get("patternProperties", {}).values()]
        if isinstance(node.get("additionalProperties"), dict) or not values:
            values.append(node.get("additionalProperties", True))
        sizes = {name: node[name] for name in ("minProperties", "maxProperties") if name in node}
        value = _either([self.inner(part, hint) for part in values])
        return {"type": "object", "additionalProperties": value or True, **sizes}

    def array(self, said: Mapping[str, Any], hint: str) -> dict[str, Any]:
        sizes = {name: said[name] for name in ("minItems", "maxItems") if name in said}
        first = said.get("prefixItems")
        if not first:
            items = self.inner(said.get("items", True), hint)
            return {"type": "array", **({"items": items} if items else {}), **sizes}
        parts = [self.inner(part, hint) for part in first]
        if sizes == {"minItems": len(parts), "maxItems": len(parts)}:
            return {"type": "array", "prefixItems": parts, "items": False, **sizes}
        return {"type": "array", **sizes}

    def _new_key(self) -> str:
        return f"D{next(self.numbers)}"


def _is_class(node: Any) -> bool:
    return isinstance(node, dict) and "properties" in node and node.get("type", "object") == "object"


def _text(said: Mapping[str, Any]) -> dict[str, Any]:
    known = _FORMATS.get(said.get("format", ""))
    if known == "decimal":
        return dict(_DECIMAL)
    if known is not None:
        return {"type": "string", "format": known}
    bounds = {name: said[name] for name in _TEXT if name in said and "format" not in said}
    if "pattern" in bounds and not _is_usable(bounds["pattern"]):
        del bounds["pattern"]
    return {"type": "string", **bounds}


def _is_usable(pattern: str) -> bool:
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:  # it looks around or back, which only Python's own expressions do
        return False
    return True


def _choice(values: Sequence[Any]) -> dict[str, Any]:
    """Return a literal, or the types of the values where those are no literals in Python."""
    if all(value is None for value in values):
        return dict(NULL)
    if all(isinstance(value, (str, int, bool)) or value is None for value in values):
        return {"enum": list(values)}
    return _either([_type_of(value) for value in values])


def _type_of(value: Any) -> dict[str, Any]:
    if isinstance(value, (str, bool, int)) or value is None:
        return _choice([value])
    return {"type": "number"} if isinstance(value, float) else {}


def _either(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    flat: list[dict[str, Any]] = []
    for member in members:
        flat.extend(part for part in member.get("anyOf", [member]) if part not in flat)
    if {} in flat:
        return {}
    if _DECIMAL in flat:
        # Any number is one, and it is written as text.
        flat = [part for part in flat if part == _DECIMAL or part.get("type") not in ("number", "integer")]
    if NULL in flat:
        flat = [*(part for part in flat if part != NULL), dict(NULL)]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _together(node: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one schema for one that has to fit along with others, as far as that can be said."""
    whole = {name: part for name, part in node.items() if name != "allOf"}
    for part in parts:
        choices = part.get("anyOf", ())
        if choices and all(choice.keys() == {"required"} and choice["required"] for choice in choices):
            whole = _one_name(whole, [choice["required"][0] for choice in choices])
        elif not whole.keys() & part.keys() - {"title", "description"}:
            whole = {**part, **whole}
    return whole


def _one_name(node: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Keep the first of the names under which a value may be given."""
    properties = {name: part for name, part in node.get("properties", {}).items() if name not in names[1:]}
    return {**node, "properties": properties, "required": [*node.get("required", ()), names[0]]}


def _with_tag(node: Mapping[str, Any], hint: str) -> str:
    """Return a name for an object without one, by the tag that tells it from the other members of a union."""
    for part in node["properties"].values():
        values = part.get("enum", [part.get("const")]) if isinstance(part, dict) else []
        if len(values) == 1 and isinstance(values[0], str):
            return f"{values[0]} {hint}"
    return hint


def _is_tag(body: Mapping[str, Any]) -> bool:
    return body.keys() == {"enum"} and len(body["enum"]) == 1


def _takes_null(body: Mapping[str, Any]) -> bool:
    return not body or body == NULL or NULL in body.get("anyOf", ()) or None in body.get("enum", ())


def references(node: Any) -> Iterator[str]:
    """Yield the keys of the definitions a simple schema refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(PREFIX)
        for part in node.values():
            yield from references(part)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)
