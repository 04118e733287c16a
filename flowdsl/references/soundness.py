"""Whether a JSON Schema from elsewhere is one, before anything is judged or written by it.

What a database or a hook of a type says is a schema may be anything. What comes out of `sound` has only keywords that are
known here, each with a value of its kind, and refers to nothing but its own definitions, so that nothing is fetched.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from flowdsl.errors import ConfigError

PREFIX: Final = "#/$defs/"
# Those who walk through a schema need a few frames for each level, of the thousand that Python has.
MAX_DEPTH: Final = 64

_Place = tuple[str, ...]
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
_ONES: Final = frozenset({"items", "additionalProperties", "not", "propertyNames", "contains"})
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAPS: Final = frozenset({"properties", "patternProperties"})
# What has to fit the same value, and so does not lead to a smaller one.
_BESIDE: Final = frozenset({"anyOf", "oneOf", "allOf", "not"})


class UnsoundSchemaError(Exception):
    """Something is no JSON Schema that can be used; callers know whose it is and raise the public error."""

    def __init__(self, place: Sequence[str], why: str) -> None:
        self.where = ".".join(place)
        self.why = why
        super().__init__(f"{self.where}: {why}" if place else why)


def unusable(flow_slug: str, step_slug: str | None, subject: str, error: UnsoundSchemaError) -> ConfigError:
    """Return the error that names whose schema it is."""
    where = f"flow '{flow_slug}'" if step_slug is None else f"flow '{flow_slug}', step '{step_slug}'"
    return ConfigError(
        f"{where}: the JSON Schema of its {subject} cannot be used: {error}.",
        hint="If the database says so: compile the flow again (pgflow compile, then alembic upgrade head), or name its "
        f"module: MODULE:{flow_slug}",
    )


def sound(schema: Any) -> Any:
    """Return the schema with what is known of it.

    Raises:
        UnsoundSchemaError: it is none, refers to what it does not hold, or is nested too deeply.
    """
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    if not isinstance(definitions, dict):
        raise UnsoundSchemaError(("$defs",), f"{_kind(definitions)} where an object is needed")
    whole = _sound(schema, (), definitions)
    if definitions:
        whole["$defs"] = {name: _sound(part, ("$defs", name), definitions) for name, part in definitions.items()}
        _refuse_circles(whole["$defs"])
    return whole


def _sound(node: Any, place: _Place, known: Mapping[str, Any]) -> Any:
    if isinstance(node, bool):
        return node
    if not isinstance(node, dict):
        raise UnsoundSchemaError(place, f"{_kind(node)} where a schema is needed")
    if (
        len(place) > 2 * MAX_DEPTH
        or sum(part in _ONES or part in _LISTS or part in _MAPS for part in place) > MAX_DEPTH
    ):
        raise UnsoundSchemaError(place[:4], f"it is nested more than {MAX_DEPTH} levels deep")
    return {key: _value(key, part, (*place, key), known) for key, part in node.items() if key in _KNOWN}


def _value(key: str, part: Any, place: _Place, known: Mapping[str, Any]) -> Any:
    if key in _ONES:
        return _sound(part, place, known)
    if key in _LISTS and isinstance(part, list) and part:
        return [_sound(member, (*place, str(index)), known) for index, member in enumerate(part)]
    if key in _MAPS and isinstance(part, dict):
        return {name: _sound(member, (*place, name), known) for name, member in part.items()}
    needed, fits = _RULES.get(key, ("an object" if key in _MAPS else "a list of schemas", _never))
    if not fits(part):
        raise UnsoundSchemaError(place, f"{_kind(part)} where {needed} is needed")
    if key == "$ref" and part.removeprefix(PREFIX) not in known:
        raise UnsoundSchemaError(place, f"'{part}' is none of the definitions it comes with")
    return part


def _refuse_circles(definitions: Mapping[str, Any]) -> None:
    """Refuse a definition that is only itself again: nothing could ever be said of a value by it."""
    done: set[str] = set()
    for first in definitions:
        path: list[tuple[str, Iterator[str]]] = [(first, _beside(definitions[first]))]
        while path:
            name, others = path[-1]
            other = next(others, None)
            if other is None:
                done.add(name)
                path.pop()
            elif other in (step for step, _ in path):
                raise UnsoundSchemaError(("$defs", other), "it is defined by nothing but itself")
            elif other not in done:
                path.append((other, _beside(definitions[other])))


def _beside(node: Any) -> Iterator[str]:
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        yield node["$ref"].removeprefix(PREFIX)
    for key in _BESIDE & node.keys():
        for part in node[key] if isinstance(node[key], list) else [node[key]]:
            yield from _beside(part)


def _never(_value: object) -> bool:
    return False


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # no float is as large
        return False


def _is_step(value: Any) -> bool:
    return _is_number(value) and bool(value > 0)


def _is_count(value: Any) -> bool:
    return _is_number(value) and bool(0 <= value < 2**53) and (isinstance(value, int) or value.is_integer())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_types(value: Any) -> bool:
    names = value if isinstance(value, list) and value else [value]
    return all(isinstance(name, str) and name in _TYPES for name in names)


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and value.startswith(PREFIX)


_RULES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "$ref": (f"a reference to one of its own definitions ({PREFIX}…)", _is_reference),
    **dict.fromkeys(("pattern", "format", "title"), ("text", _is_text)),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), ("a number", _is_number)),
    "multipleOf": ("a number above 0", _is_step),
    **dict.fromkeys(
        (f"{which}{what}" for which in ("min", "max") for what in ("Length", "Items", "Properties", "Contains")),
        ("a number of them", _is_count),
    ),
    "uniqueItems": ("true or false", lambda value: isinstance(value, bool)),
    "required": ("a list of names", _are_texts),
    "enum": ("a list of values", lambda value: isinstance(value, list) and bool(value)),
    "const": ("a value", lambda _: True),
    "type": ("the name of a type", _are_types),
}
_KNOWN: Final = _ONES | _LISTS | _MAPS | _RULES.keys()


def _kind(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return ("an object" if isinstance(value, dict) else "a list") if value else f"an empty {type(value).__name__}"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_DEPTH else f"{text[:MAX_DEPTH]}…"
