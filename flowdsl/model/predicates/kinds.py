"""What is written at a place of the judged JSON: read from pydantic's core schema, which knows keys, defaults and types.

A part with a serializer of its own may write anything, so nothing is said about it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from pydantic_core import SchemaSerializer, SchemaValidator, core_schema

from flowdsl.model.adapters import JSON_CONFIG, ValueAdapter
from flowdsl.model.predicates.expressions import ABSENT

_SEEN_THROUGH: Final = frozenset({"default", "function-before", "function-after", "function-wrap", "custom-error"})
_EMPTY: Final[Mapping[Any, Any]] = {list: [], tuple: [], set: [], frozenset: [], dict: {}}
_PLAIN: Final = {"str": str, "int": int, "bool": bool}
_ARRAYS: Final = frozenset({"list", "set", "frozenset", "tuple", "deque"})


@dataclass(frozen=True, slots=True)
class Scalar:
    """One type of simple values: how it is written, and what can be compared with it.

    Values of different families are never equal. `refusal` says why equality of what is written is not that of the values,
    `disorder` why its order is not; both name the way out.
    """

    name: str
    family: Any
    json_type: str
    refusal: str = ""
    disorder: str = ""
    values: tuple[Any, ...] | None = None

    @classmethod
    def refused(cls, name: str, family: Any, json_type: str, why: str) -> "Scalar":
        """Return a type whose values cannot be compared in JSON."""
        return cls(name, family, json_type, refusal=why, disorder=why)


@dataclass(frozen=True, slots=True)
class Field:
    """A key of an object as Python and as JSON see it."""

    key: str
    node: "Node"
    default: Any = ABSENT
    may_lack: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What may be at a place: simple values, a list, or an object; None beside it where it is nullable."""

    name: str
    is_nullable: bool = False
    scalars: tuple[Scalar, ...] = ()
    is_union: bool = False
    fields: Mapping[str, Field] = field(default_factory=dict)
    by_attribute: bool = False
    values: "Node | None" = None
    is_array: bool = False
    is_ordered: bool = False
    elements: "tuple[Node, ...]" = ()
    rest: "Node | None" = None
    opaque: str = ""

    @property
    def is_record(self) -> bool:
        """Whether it is an object with known keys."""
        return not self.is_array and self.values is None and not self.scalars and not self.opaque and not self.is_union

    @property
    def root_field(self) -> Field | None:
        """The root of a root model, which is written in its place."""
        root = self.fields.get("root")
        return root if root is not None and not root.key else None

    @property
    def is_scalar(self) -> bool:
        """Whether it holds nothing but simple values."""
        return bool(self.scalars) and not self.opaque


class Node:
    """One part of a core schema, with what it needs to be understood."""

    def __init__(
        self, schema: Mapping[str, Any], definitions: Mapping[str, Any], config: Any, *, by_alias: bool
    ) -> None:
        self.schema = schema
        self.definitions = definitions
        self.config = config
        self.by_alias = by_alias

    @classmethod
    def of(cls, adapter: ValueAdapter) -> "Node":
        """Return the whole type of an adapter; the same for the same adapter, so that it is understood once."""
        return _node_of(adapter)

    @classmethod
    def made_of(cls, adapter: ValueAdapter) -> "Node":
        """Return a new one."""
        schema: Any = adapter.core_schema
        definitions: dict[str, Any] = {}
        if schema["type"] == "definitions":
            definitions = {part["ref"]: part for part in schema["definitions"]}
            schema = schema["schema"]
        return cls(schema, definitions, JSON_CONFIG, by_alias=adapter.by_alias)

    def inner(self, schema: Mapping[str, Any], config: Any = None) -> "Node":
        """Return a part of this one."""
        return Node(schema, self.definitions, config or self.config, by_alias=self.by_alias)

    def written(self, value: Any) -> Any:
        """Return a value as JSON, as the codec writes it; ValueError if it does not fit the type."""
        if "serialization" not in self.schema and _PLAIN.get(self.schema["type"]) is type(value):
            return value  # as most defaults are: making a serializer takes its time
        whole = self._whole()
        valid = SchemaValidator(whole, self.config).validate_python(value, strict=True)
        text = SchemaSerializer(whole, self.config).to_json(
            valid, by_alias=self.by_alias, round_trip=True, warnings="error"
        )
        return json.loads(text)

    def _whole(self) -> Any:
        if not self.definitions:
            return self.schema
        return core_schema.definitions_schema(self.schema, list(self.definitions.values()))

    @cached_property
    def kind(self) -> Kind:
        """What is written here."""
        schema = self.schema
        kind = schema["type"]
        if kind == "definition-ref":
            return self.inner(self.definitions[schema["schema_ref"]]).kind
        if kind == "json-or-python" and _is_sequence(schema):
            return self.inner(schema["json_schema"]).kind
        if kind == "function-after" and (values := _enum_values(schema)) is not None:
            return _kind_of_scalars(tuple(_grouped(values, enum=None)), is_nullable=None in values)
        if "serialization" in schema:
            return Kind(name="it", opaque="it has a serializer of its own")
        if kind in _SEEN_THROUGH and "schema" in schema:
            return self.inner(schema["schema"]).kind
        if kind == "nullable":
            return replace(self.inner(schema["schema"]).kind, is_nullable=True)
        if kind == "none":
            return Kind(name="None", is_nullable=True)
        if kind in _ARRAYS:
            return self._array(schema)
        if kind in ("model", "dataclass", "typed-dict", "named-tuple"):
            return self._record(schema)
        if kind == "dict":
            return self._mapping(schema)
        if kind in ("union", "tagged-union"):
            return self._union(schema)
        scalars = tuple(_scalars(schema, self.config or {}))
        if scalars:
            return _kind_of_scalars(scalars, is_nullable=kind == "literal" and None in schema["expected"])
        return Kind(name="Any" if kind == "any" else kind, opaque=_opaque(kind))

    def _array(self, schema: Mapping[str, Any]) -> Kind:
        items: Any = schema.get("items_schema")
        elements: tuple[Node, ...] = ()
        rest = None
        if schema["type"] == "tuple":
            at = schema.get("variadic_item_index")
            if at is None:
                elements = tuple(map(self.inner, items or ()))
            elif at == 0 and len(items) == 1:
                rest = self.inner(items[0])
            else:
                return Kind(name="tuple", opaque="what its elements are depends on its length")
        else:
            rest = self.inner(items or {"type": "any"})
        inside = [node.shown for node in elements]
        name = f"{schema['type']}[{', '.join(inside) if rest is None else rest.shown}]"
        ordered = schema["type"] in ("list", "tuple", "deque")
        return Kind(name=name, is_array=True, is_ordered=ordered, elements=elements, rest=rest)

    @property
    def shown(self) -> str:
        """The name of the type, without looking into types that may hold themselves."""
        schema = self.schema
        while schema["type"] in _SEEN_THROUGH or schema["type"] == "nullable":
            schema = schema["schema"]
        if schema["type"] == "definition-ref":
            schema = self.definitions[schema["schema_ref"]]
        cls = schema.get("cls")
        return str(cls.__name__) if cls is not None else str(schema["type"])

    def _record(self, schema: Mapping[str, Any]) -> Kind:
        config = schema.get("config") or self.config
        name = schema["cls"].__name__ if "cls" in schema else "dict"
        if schema.get("root_model"):
            root = Field(key="", node=self.inner(schema["schema"], config))
            return Kind(name=name, fields={"root": root}, by_attribute=True)
        parts = schema
        while parts["type"] in ("model", "dataclass", *_SEEN_THROUGH):
            if "serialization" in parts:
                return Kind(name=name, opaque="it has a serializer of its own")
            parts = parts["schema"]
        if parts["type"] == "definition-ref" or "fields" not in parts:
            return Kind(name=name, opaque="its fields are not known")
        given = parts["fields"]
        named = given.items() if isinstance(given, dict) else ((part["name"], part) for part in given)
        fields = {found: self._field(found, part, config) for found, part in named}
        if schema["type"] == "named-tuple":
            nodes = tuple(part.node for part in fields.values())
            return Kind(name=name, is_array=True, is_ordered=True, elements=nodes, fields=fields, by_attribute=True)
        return Kind(name=name, fields=fields, by_attribute=schema["type"] != "typed-dict")

    def _field(self, name: str, part: Mapping[str, Any], config: Any) -> Field:
        schema = part["schema"]
        node = self.inner(schema, config)
        key = part.get("serialization_alias") if self.by_alias else None
        if schema["type"] == "nullable" and schema["schema"]["type"] == "default":
            schema = schema["schema"]
        if schema["type"] != "default":
            return Field(key=key or name, node=node, may_lack=part.get("required") is False)
        default: Any = ABSENT
        if "default" in schema:
            try:
                default = self.inner(schema["schema"], config).written(schema["default"])
            except Exception:  # a default that is none of the type's own values, which pydantic does not check
                default = None
        elif schema["default_factory"] in _EMPTY:
            default = _EMPTY[schema["default_factory"]]
        default = ABSENT if default is None else default
        return Field(key=key or name, node=node, default=default, may_lack=default is ABSENT)

    def _mapping(self, schema: Mapping[str, Any]) -> Kind:
        keys = self.inner(schema.get("keys_schema", {"type": "str"})).kind
        if [scalar.family for scalar in keys.scalars] != [str]:
            return Kind(name="dict", opaque="its keys are no texts")
        values = self.inner(schema.get("values_schema", {"type": "any"}))
        return Kind(name=f"dict[str, {values.shown}]", values=values)

    def _union(self, schema: Mapping[str, Any]) -> Kind:
        choices = schema["choices"]
        parts = choices.values() if isinstance(choices, dict) else choices
        kinds = [self.inner(part[0] if isinstance(part, tuple) else part).kind for part in parts]
        is_nullable = any(kind.is_nullable for kind in kinds)
        kinds = [kind for kind in kinds if kind.name != "None"]
        name = " | ".join(dict.fromkeys(kind.name for kind in kinds))
        if len(kinds) == 1:
            return replace(kinds[0], is_nullable=is_nullable)
        opaque = next((kind.opaque for kind in kinds if kind.opaque), "")
        scalars = tuple(scalar for kind in kinds for scalar in kind.scalars)
        forms = {(scalar.family, scalar.json_type) for scalar in scalars}
        whole = not all(kind.is_scalar for kind in kinds) and bool(scalars)
        return Kind(
            name=name,
            is_nullable=is_nullable,
            scalars=tuple(dict.fromkeys(scalars)),
            is_union=opaque != "" or not all(kind.is_scalar for kind in kinds) or len(forms) > 1,
            opaque=opaque,
            is_array=whole and any(kind.is_array for kind in kinds),
        )


_node_of = lru_cache(maxsize=256)(Node.made_of)


def _kind_of_scalars(scalars: tuple[Scalar, ...], *, is_nullable: bool) -> Kind:
    names = dict.fromkeys(scalar.name for scalar in scalars)
    is_union = len({scalar.json_type for scalar in scalars}) > 1
    return Kind(name=" or ".join(names), is_nullable=is_nullable, scalars=scalars, is_union=is_union)


def _enum_values(schema: Mapping[str, Any]) -> list[Any] | None:
    """Return the values of an enum whose model says `use_enum_values`: Python has those then, and not the members."""
    is_enum = schema["schema"]["type"] == "enum" and isinstance(schema["function"]["function"], attrgetter)
    return [member.value for member in schema["schema"]["cls"]] if is_enum else None


def _is_sequence(schema: Mapping[str, Any]) -> bool:
    function = schema.get("serialization", {}).get("function")
    ours = getattr(function, "__module__", "") or ""
    return schema["json_schema"]["type"] == "list" and ours.startswith("pydantic.")


def _opaque(kind: str) -> str:
    if kind == "any":
        return "its type says nothing about it"
    return f"it is written by pydantic as {kind}"


# ---- simple values --------------------------------------------------------------------------------------------------

_FAMILIES: Final = (datetime, date, time, timedelta, UUID, Decimal, bytes)  # a datetime is a date, too
_TEMPORAL: Final = {"date": date, "time": time, "datetime": datetime, "timedelta": timedelta}
_TEXT_ORDER: Final = "what is written of it does not sort as its values do"
_ISO: Final = "iso8601"


def _scalars(schema: Mapping[str, Any], config: Mapping[str, Any]) -> list[Scalar]:
    kind = schema["type"]
    if kind == "literal":
        return _grouped(schema["expected"], enum=None)
    if kind == "enum":
        return _enum(schema["cls"])
    temporal = config.get("ser_json_temporal", _ISO) == _ISO and config.get("ser_json_timedelta", _ISO) == _ISO
    if kind in ("date", "time", "datetime", "timedelta"):
        return [_temporal(kind, schema.get("tz_constraint"), is_iso=temporal)]
    if kind == "float" and config.get("ser_json_inf_nan") == "strings":
        return [Scalar.refused("float", "number", "number", "NaN is written as text (leave ser_json_inf_nan out)")]
    found = {
        "str": Scalar("str", str, "string"),
        "int": Scalar("int", "number", "number"),
        "float": Scalar("float", "number", "number"),
        "bool": Scalar("bool", bool, "boolean"),
        "uuid": Scalar("UUID", UUID, "string"),
        "bytes": Scalar("bytes", bytes, "string", disorder=f"{_TEXT_ORDER} (compare a str)"),
        "decimal": Scalar.refused(
            "Decimal", Decimal, "string", "1.0 and 1.00 are written differently (use int or float)"
        ),
    }.get(kind)
    return [found] if found is not None else []


def _temporal(kind: str, zone: Any, *, is_iso: bool) -> Scalar:
    family = _TEMPORAL[kind]
    if not is_iso:
        return Scalar.refused(kind, family, "string", "its model writes it in a way of its own (leave ser_json_… out)")
    if kind == "timedelta":
        return Scalar(kind, family, "string", disorder=f"{_TEXT_ORDER} (use seconds, an int or float)")
    if kind == "date" or zone == "naive":
        return Scalar(kind, family, "string")
    of_naive = "pydantic's NaiveDatetime" if kind == "datetime" else "a text"
    why = f"the same moment can be written with different time zones (use {of_naive}, or seconds as int or float)"
    return Scalar.refused(kind, family, "string", why)


def _enum(cls: type[Enum]) -> list[Scalar]:
    if issubclass(cls, Flag):
        return [Scalar(cls.__name__, cls, "number", disorder="flags have no order")]
    return _grouped(list(cls), enum=cls)


def _grouped(members: list[Any], enum: type[Enum] | None) -> list[Scalar]:
    """Return a type for each family among known values."""
    found: dict[tuple[Any, str], list[Any]] = {}
    for member in members:
        if member is None:
            continue
        family, value = family_of(member), member.value if isinstance(member, Enum) else member
        known = {str: "string", bool: "boolean", int: "number", float: "number"}.get(type(value))
        if known is None:
            return []
        found.setdefault((family, known), []).append(value)
    disorder = "" if enum is None or not any(family is enum for family, _ in found) else "its members have no order"
    return [
        Scalar(
            name=enum.__name__ if enum is not None else " or ".join(map(repr, values)),
            family=family,
            json_type=json_type,
            disorder=disorder,
            values=tuple(values),
        )
        for (family, json_type), values in found.items()
    ]


def family_of(value: Any) -> Any:
    """Return what a Python value can be equal to: values of different families never are."""
    if isinstance(value, bool):
        return bool
    if isinstance(value, (int, float)):
        return type(value) if isinstance(value, Flag) else "number"
    if isinstance(value, str):
        return str
    if isinstance(value, Enum):
        return type(value)
    return next((family for family in _FAMILIES if isinstance(value, family)), type(value))
