"""What JSON does not keep of a type: seen from Python, or from everybody else who reads it.

Python's annotations bring most of it back: a tuple, a set, a dict with int keys come back as they were. SQL, the patterns
of conditions and other languages read what JSON has: a list, a list without an order to rely on, keys that are text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowdsl.model.adapters import ValueAdapter

_NUMBERS: Final = frozenset({"int", "float", "bool", "decimal"})
# What users put into a schema is no schema.
_NO_SCHEMA: Final = frozenset({"default", "metadata", "expected", "serialization"})


@dataclass(frozen=True, slots=True)
class Loss:
    """One thing that is lost: where in the value (empty for the whole of it), what it is there, and what would keep it."""

    where: str
    what: str
    fix: str


_PYTHON: Final = "In Python it comes back as it was."
_TUPLE: Final = (
    "a tuple, which all but Python read as a list",
    f"If others read it, use a model with a name for each part, or a list. {_PYTHON}",
)
_SET: Final = (
    "a set, which all but Python read as a list without an order to rely on",
    f"If others read it, use a sorted list. {_PYTHON}",
)
_NUMBER_KEYS: Final = (
    "a dict with keys of type {}, which all but Python read as text",
    f'If others read it, look for "7", not 7, or use a list of models. {_PYTHON}',
)
_ANY_KEYS: Final = (
    "a dict with keys of any type, and those that are no text come back as text, in Python too",
    "Say what the keys are: dict[str, …], dict[int, …].",
)
_BASE: Final = (
    "a {0}, which has no fields: of its subclasses ({1}) nothing is stored",
    "Declare the subclasses: {2}.",
)


def losses(adapter: ValueAdapter) -> tuple[Loss, ...]:
    """Return what JSON does not keep of a type that can be stored at all, each loss once."""
    return tuple(dict.fromkeys(_losses(adapter.core_schema, "")))


def _losses(schema: Any, where: str) -> Iterator[Loss]:
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from _losses(part, where)
    if not isinstance(schema, Mapping):
        return
    if "serialization" in schema and schema.get("type") != "model":
        return  # written in a way of its own
    found = _loss(schema)
    if found is not None:
        yield Loss(where, *found)
    for key, part in schema.items():
        if key in _NO_SCHEMA:
            continue
        if key == "fields":
            for name, field in part.items() if isinstance(part, Mapping) else ((item["name"], item) for item in part):
                yield from _losses(field, f"{where}.{name}" if where else str(name))
        else:
            yield from _losses(part, where)


def _loss(part: Mapping[str, Any]) -> tuple[str, str] | None:
    kind = part.get("type")
    if kind in ("tuple", "call"):
        return _TUPLE
    if kind in ("set", "frozenset"):
        return _SET
    if kind == "dict":
        keys = part.get("keys_schema", {"type": "any"})["type"]
        if keys == "any":
            return _ANY_KEYS
        return (_NUMBER_KEYS[0].format(keys), _NUMBER_KEYS[1]) if keys in _NUMBERS else None
    return _base(part["cls"]) if kind in ("model", "dataclass") else None


def _base(cls: type[Any]) -> tuple[str, str] | None:
    """Tell of a class that stands for its subclasses: what is stored are the fields of the declared class alone."""
    subclasses: list[type[Any]] = cls.__subclasses__()
    names = [sub.__name__ for sub in subclasses if _fields(sub)]
    if not names or _fields(cls) or getattr(cls, "model_config", {}).get("extra") == "allow":
        return None
    what, fix = _BASE
    return what.format(cls.__name__, ", ".join(names), ""), fix.format("", "", " | ".join(names))


def _fields(cls: type[Any]) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(cls, "model_fields", None) or getattr(cls, "__dataclass_fields__", {})
    return fields
