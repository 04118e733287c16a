"""Values of a JSON Schema, drawn from the schema itself (hypothesis-jsonschema knows drafts before `prefixItems` only)."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, "", "x", "a1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "q"]), inner, max_size=2),
    max_leaves=3,
)
_TEXTS = {"^a": ["a", "a1", "abc"], "^[0-9]+$": ["0", "17"], "^-?[0-9]+$": ["0", "-5"]}
_FORMATS = {
    "uuid": ["018f0000-0000-7000-8000-000000000001"],
    "date": ["2026-01-02"],
    "time": ["03:04:05"],
    "date-time": ["2026-01-02T03:04:05Z"],
    "duration": ["P1DT5S"],
    "decimal": ["1.50", "-3"],
    "base64url": ["AAE="],
}


def values_of(schema: Any) -> st.SearchStrategy[Any]:
    """Draw values that are valid under a schema, as jsonschema says."""
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    return _values(schema, definitions, 0).filter(Draft202012Validator(schema).is_valid)


def _values(schema: Any, definitions: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if not isinstance(schema, dict):
        return st.nothing() if schema is False else anything
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return st.deferred(lambda: _values(target, definitions, depth + 1))
    if "anyOf" in schema:
        return st.one_of([_values(part, definitions, depth) for part in schema["anyOf"]])
    if "allOf" in schema:
        return _values(schema["allOf"][0], definitions, depth)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("type") == "object":
        return _objects(schema, definitions, depth)
    if schema.get("type") == "array":
        return _arrays(schema, definitions, depth)
    return _scalars(schema)


def _scalars(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    kind = schema.get("type")
    if kind == "null":
        return st.none()
    if kind == "boolean":
        return st.booleans()
    if kind == "string":
        known = _TEXTS.get(schema.get("pattern", ""), []) + _FORMATS.get(schema.get("format", ""), [])
        return st.sampled_from(known) if known else st.text("axy19", max_size=8)
    if kind in ("integer", "number"):
        step = schema.get("multipleOf", 1)
        whole = st.integers(-10, 20).map(lambda number: number * step)
        return whole if kind == "integer" else whole | st.sampled_from([0.5, -2.5, 3.5, 8.5])
    return anything


def _objects(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    parts = {key: _values(part, definitions, depth) for key, part in schema.get("properties", {}).items()}
    needed = {key: parts.get(key, anything) for key in schema.get("required", ())}
    optional = {key: part for key, part in parts.items() if key not in needed and not (depth > 2 or part.is_empty)}
    listed = st.fixed_dictionaries(needed, optional=optional)
    others = schema.get("additionalProperties", True)
    if others is False:
        return listed
    names = schema.get("propertyNames", {})
    keys = st.sampled_from(names["enum"]) if "enum" in names else st.sampled_from(["a", "b", "c", "q", "rr", "1", ""])
    more = st.dictionaries(keys, _values(others, definitions, depth), max_size=2)
    return st.builds(lambda extra, known: {**extra, **known}, more, listed)


def _arrays(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    fixed = [_values(part, definitions, depth) for part in schema.get("prefixItems", ())]
    fewest, most = schema.get("minItems", 0), min(schema.get("maxItems", 3), 4)
    if fixed:
        return st.tuples(*fixed[: int(most)]).map(list)
    most = max(fewest, 0 if depth > 2 else most)
    return st.lists(_values(schema.get("items", True), definitions, depth), min_size=fewest, max_size=most)
