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
    "the class {0}, which has no fields: of its subclasses ({1}) nothing is stored",
    "Declare the subclasses: {2}.",
)


def losses(adapter: ValueAdapter) -> tuple[Loss, ...]:
    """Return what JSON does not keep of a type that can be stored at all, each loss once."""
    return tuple(dict.fromkeys(_Search().losses(adapter.core_schema, "")))


class _Search:
    """Walks a core schema, and the definitions in it where they are used; a recursive one is not entered again."""

    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}
        self._entered: list[str] = []

    def losses(self, schema: Any, where: str) -> Iterator[Loss]:
        if isinstance(schema, list | tuple):
            for part in schema:
                yield from self.losses(part, where)
        elif isinstance(schema, Mapping):
            yield from self._of_part(schema, where)

    def _of_part(self, schema: Mapping[str, Any], where: str) -> Iterator[Loss]:
        kind = schema.get("type")
        if kind == "definitions":
            self._definitions.update((part["ref"], part) for part in schema["definitions"])
            yield from self.losses(schema["schema"], where)
        elif kind == "definition-ref":
            yield from self._of_definition(schema["schema_ref"], where)
        elif "serialization" not in schema or kind == "model":  # else written in a way of its own
            found = _loss(schema)
            if found is not None:
                yield Loss(where, *found)
            for key, part in schema.items():
                yield from self._inside(key, part, where)

    def _of_definition(self, ref: str, where: str) -> Iterator[Loss]:
        if ref in self._entered:
            return
        self._entered.append(ref)
        yield from self.losses(self._definitions.get(ref), where)
        self._entered.pop()

    def _inside(self, key: str, part: Any, where: str) -> Iterator[Loss]:
        if key == "fields":
            for name, field in _fields_of(part):
                yield from self.losses(field, f"{where}.{name}" if where else name)
        elif key == "choices" and not isinstance(part, Mapping):
            yield from self.losses(_without_bases(part), where)
        elif key not in _NO_SCHEMA:
            yield from self.losses(part, where)


def _without_bases(choices: Any) -> list[Any]:
    """Leave out the members of a union that have a subclass beside them: values of that are stored as such."""
    members = [choice[0] if isinstance(choice, tuple) else choice for choice in choices]
    classes = [member["cls"] for member in members if isinstance(member.get("cls"), type)]
    return [m for m in members if not any(cls is not m.get("cls") and m.get("cls") in cls.__mro__ for cls in classes)]


def _fields_of(part: Any) -> list[tuple[str, Any]]:
    """Return the fields of models and typed dicts, or of dataclasses, with their names."""
    if isinstance(part, Mapping):
        return [(str(name), field) for name, field in part.items()]
    return [(str(field["name"]), field) for field in part if isinstance(field, Mapping)]


def _loss(part: Mapping[str, Any]) -> tuple[str, str] | None:
    kind = part.get("type")
    if kind in ("tuple", "named-tuple", "call"):
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
