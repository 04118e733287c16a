"""Parts of a step's input schema, which is that of an object with a property per dependency, and `run`."""

from flowdsl.model.schemas import Schema
from flowdsl.types import JsonValue

DEFINITIONS = "$defs"


def property_schema(schema: Schema | None, name: str) -> Schema | None:
    """Return the schema of a property, with the definitions it refers to; None when nothing is known of it."""
    value = None if schema is None else schema.value
    properties = value.get("properties") if isinstance(value, dict) else None
    found = properties.get(name) if isinstance(properties, dict) else None
    if isinstance(found, dict) and isinstance(value, dict) and DEFINITIONS in value:
        found = {**found, DEFINITIONS: value[DEFINITIONS]}
    return Schema.of(found) if isinstance(found, (dict, bool)) else None


def required_properties(schema: Schema | None) -> frozenset[str]:
    """Return the properties that have to be there."""
    value: JsonValue = None if schema is None else schema.value
    required = value.get("required", []) if isinstance(value, dict) else []
    return frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()
