"""Parts of a step's input schema, which is that of an object with a property per dependency, and `run`; and comparisons.

All of it is remembered, since in a flow of many steps the same types are looked at again and again.
"""

from functools import lru_cache

from flowdsl.model import compatibility, schema_changes
from flowdsl.model.schema_words import Difference
from flowdsl.model.schemas import Schema
from flowdsl.types import JsonValue

DEFINITIONS = "$defs"
_REMEMBERED = 4096


@lru_cache(_REMEMBERED)
def property_schema(schema: Schema | None, name: str) -> Schema | None:
    """Return the schema of a property, with the definitions it refers to; None when nothing is known of it."""
    value = None if schema is None else schema.value
    properties = value.get("properties") if isinstance(value, dict) else None
    found = properties.get(name) if isinstance(properties, dict) else None
    if isinstance(found, dict) and isinstance(value, dict) and DEFINITIONS in value:
        found = {**found, DEFINITIONS: value[DEFINITIONS]}
    return Schema.of(found) if isinstance(found, (dict, bool)) else None


@lru_cache(_REMEMBERED)
def required_properties(schema: Schema | None) -> frozenset[str]:
    """Return the properties that have to be there."""
    value: JsonValue = None if schema is None else schema.value
    required = value.get("required", []) if isinstance(value, dict) else []
    return frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()


@lru_cache(_REMEMBERED)
def not_accepted(written: Schema | None, expected: Schema | None) -> tuple[Difference, ...]:
    """Return why some value written as the one may not be read as the other; nothing when one of them is not known."""
    return () if written is None or expected is None else compatibility.not_accepted(written, expected)


@lru_cache(_REMEMBERED)
def differences(old: Schema | None, new: Schema | None) -> tuple[Difference, ...]:
    """Return where two types differ; nothing when one of them is not known."""
    if old is None or new is None or old == new:
        return ()
    # What can be told of a place may be equal on both sides, where the schemas still are not.
    return schema_changes.differences(old, new) or (Difference(path="$", written="another type", expected="changed"),)
