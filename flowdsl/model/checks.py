"""What a type checks of its values beyond all that JSON Schema has words for.

Each check is a few words under a keyword of our own, which validators of JSON Schema pass over. Two types with the same checks
may be compared by the rest of their schemas; a check that only the reader makes cannot be judged, so its type does not take
what another wrote. Functions go by their own names: that of a class or a module may change.
"""

from collections.abc import Iterator
from typing import Any, Final

CHECKS: Final = "x-checks"

_BOUNDS: Final = ("ge", "gt", "le", "lt")
# What is checked of each kind of part.
_CONSTRAINTS: Final = {
    "date": (*_BOUNDS, "now_op"),
    "time": (*_BOUNDS, "tz_constraint"),
    "datetime": (*_BOUNDS, "now_op", "tz_constraint"),
    "timedelta": _BOUNDS,
    "decimal": (*_BOUNDS, "multiple_of", "max_digits", "decimal_places"),
    "bytes": ("min_length", "max_length"),
    "uuid": ("version",),
    "url": ("allowed_schemes", "host_required", "max_length"),
    "multi-host-url": ("allowed_schemes", "host_required", "max_length"),
}
_CHANGES: Final = ("strip_whitespace", "to_lower", "to_upper")
# Where pydantic's functions that check are; those elsewhere make up types it describes.
_PUBLIC: Final = ("pydantic.types", "pydantic.networks", "pydantic.color")
_INTERNAL: Final = ("import_string",)


def checks_of(schema: Any, config: Any) -> list[str]:
    """Return what a part of a core schema checks itself, without what is inside of it."""
    kind = schema.get("type", "")
    return [f"{kind} {words}" for words in _checks(kind, schema, config)]


def _checks(kind: str, schema: Any, config: Any) -> Iterator[str]:
    if kind.startswith("function-"):
        function = schema["function"]["function"]
        module = getattr(function, "__module__", None) or ""
        if module == "pydantic.networks" and schema.get("schema", {}).get("type") in _CONSTRAINTS:
            yield from _checks(schema["schema"]["type"], schema["schema"], config)  # a URL of some schemes
        elif not module.startswith("pydantic.") or module in _PUBLIC or name_of(function) in _INTERNAL:
            yield name_of(function)
    for name in _CONSTRAINTS.get(kind, ()):
        value = schema.get(name)
        if value is not None and value is not False:
            yield f"{name}={', '.join(sorted(value)) if isinstance(value, list) else value}"
    if kind == "str" and any(schema.get(name) for name in ("min_length", "pattern")):
        # What is stripped first may be too short afterwards.
        yield from (name for name in _CHANGES if schema.get(name, getattr(config, f"str_{name}", False)))
    if kind == "union" and schema.get("mode") == "left_to_right":
        yield "left to right"


def name_of(function: Any) -> str:
    """Return the name of a function, or of what can be called like one."""
    return str(getattr(function, "__name__", type(function).__name__))
