"""Random JSON Schemas of the kind pydantic makes, and neighbours of them, in their canonical form."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from flowdsl.model.canonical import Canonical
from flowdsl.model.schemas import Schema

KEYS = ["a", "b", "c"]
WORDS = ["x", "y", "zz"]
small = st.integers(0, 3)


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    for low, high in (("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")):
        if draw(st.integers(0, 3)) == 0:
            found[low] = draw(st.integers(-3, 3))
        if draw(st.integers(0, 3)) == 0:
            found[high] = draw(st.integers(4, 9))
    if draw(st.integers(0, 4)) == 0:
        found["multipleOf"] = draw(st.integers(1, 4))
    return found


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    if draw(st.integers(0, 2)) == 0:
        found["minLength"] = draw(small)
    if draw(st.integers(0, 2)) == 0:
        found["maxLength"] = draw(st.integers(3, 6))
    if not found.keys() - {"type"} and draw(st.integers(0, 2)) == 0:
        found["pattern"] = draw(st.sampled_from(["^a", "^[0-9]+$"]))
    return found


listed = st.lists(st.sampled_from([*WORDS, 1, 2, 3, None, True]), min_size=1, max_size=4).map(lambda v: {"enum": v})
plain = st.sampled_from(
    [{"type": "null"}, {"type": "boolean"}, {"type": "integer"}, {"type": "number"}, {"type": "string"}]
)
leaves = st.one_of(plain, plain, numbers(), texts(), listed, st.just({}))


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    if draw(st.integers(0, 3)) == 0:
        fixed = draw(st.lists(inner, min_size=1, max_size=2))
        return {"type": "array", "prefixItems": fixed, "minItems": len(fixed), "maxItems": len(fixed)}
    found: dict[str, Any] = {"type": "array", "items": draw(inner)}
    if draw(st.integers(0, 3)) == 0:
        found["minItems"] = draw(st.integers(0, 2))
    if draw(st.integers(0, 3)) == 0:
        found["maxItems"] = draw(st.integers(2, 4))
    if draw(st.integers(0, 4)) == 0:
        found["uniqueItems"] = True
    return found


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    if draw(st.integers(0, 3)) == 0:
        whole: dict[str, Any] = {"type": "object", "additionalProperties": draw(inner)}
        if draw(st.integers(0, 2)) == 0:
            whole["propertyNames"] = draw(st.sampled_from([{"enum": ["a", "b"]}, {"minLength": 1}]))
        return whole
    properties = {key: draw(inner) for key in draw(st.lists(st.sampled_from(KEYS), unique=True))}
    found: dict[str, Any] = {"type": "object", "properties": properties}
    found["required"] = [key for key in properties if draw(st.booleans())]
    others = draw(st.integers(0, 7))
    if others < 2:
        found["additionalProperties"] = bool(others)
    return found


def _of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(arrays(inner), objects(inner), st.lists(inner, min_size=2, max_size=3).map(lambda v: {"anyOf": v}))


bodies = st.recursive(leaves, _of, max_leaves=6)


def neighbours(body: Any) -> st.SearchStrategy[Any]:
    """A schema with one part replaced, or one key added, taken away, or made optional or required."""
    return st.deferred(lambda: _neighbour(body))


@st.composite
def _neighbour(draw: st.DrawFn, body: Any) -> Any:
    if not isinstance(body, dict) or draw(st.integers(0, 3)) == 0:
        return draw(st.one_of(bodies, st.just({"anyOf": [body, {"type": "null"}]})))
    body = json.loads(json.dumps(body))
    if "properties" in body and draw(st.booleans()):
        return _other_keys(draw, body)
    places = [key for key in ("items", "additionalProperties") if isinstance(body.get(key), dict)]
    lists = [key for key in ("anyOf", "prefixItems") if key in body]
    if places:
        body[places[0]] = draw(_neighbour(body[places[0]]))
    elif lists:
        index = draw(st.integers(0, len(body[lists[0]]) - 1))
        body[lists[0]][index] = draw(_neighbour(body[lists[0]][index]))
    elif body.get("properties"):
        key = draw(st.sampled_from(sorted(body["properties"])))
        body["properties"][key] = draw(_neighbour(body["properties"][key]))
    elif "enum" in body:
        body["enum"] = [*body["enum"], draw(st.sampled_from(WORDS))] if draw(st.booleans()) else body["enum"][:1]
    else:
        body = {key: part for key, part in body.items() if key == "type" or draw(st.booleans())}
        if body.get("type") == "integer" and draw(st.booleans()):
            body["type"] = "number"
    return body


def _other_keys(draw: st.DrawFn, body: dict[str, Any]) -> dict[str, Any]:
    key = draw(st.sampled_from(KEYS))
    needed = set(body.get("required", ()))
    if key not in body["properties"]:
        body["properties"][key] = draw(leaves)
        needed |= {key} if draw(st.booleans()) else set()
    elif draw(st.booleans()):
        del body["properties"][key]
        needed -= {key}
    else:
        needed ^= {key}
    return {**body, "required": sorted(needed)}


def canonical(body: Any) -> Schema:
    """Return a body as the schema that is stored."""
    return Canonical.of(body).schema()


pairs = st.one_of(
    st.tuples(bodies, bodies), *[bodies.flatmap(lambda body: st.tuples(st.just(body), neighbours(body)))] * 4
).map(lambda pair: (canonical(pair[0]), canonical(pair[1])))
"""Two schemas, mostly neighbours."""


def closed(schema: Any) -> Any:
    """Return a schema with what writers do made explicit: they write no keys but those they list."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed_part(key, part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        found["additionalProperties"] = False
    return found


def _closed_part(key: str, part: Any) -> Any:
    if key in ("properties", "$defs") and isinstance(part, Mapping):
        return {name: closed(schema) for name, schema in part.items()}
    return part if key == "enum" else closed(part)
