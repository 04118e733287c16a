"""Can a JSON value of this schema contain this pattern? The definition-time twin of PostgreSQL's `@>` on jsonb.

An object contains a pattern that has some of its keys, each with a contained value; a list contains a list whose every
element is contained in some element of it; texts, numbers, booleans and nulls contain their equals. Wherever the schema
does not decide, the answer is yes.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from flowdsl.suggest import closest

Schema: TypeAlias = Any
"""A JSON Schema: a dict, or True for anything and False for nothing."""

_PYTHON_NAMES: Final[Mapping[str, str]] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}
_DESCRIBED_MAX: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A place of a pattern that no value can match: where, what is there instead, what it would take.

    `mended` holds the whole pattern put right, if there is an obvious way, and is empty otherwise. `is_key` tells a key
    that does not exist from a value that cannot be.
    """

    path: tuple[str, ...] = ()
    what: str
    fix: str = ""
    is_key: bool = False
    mended: tuple[Any, ...] = ()

    def inside(self, key: str, whole: Any, index: Any) -> "Misfit":
        """Return the same misfit seen from outside: `whole` holds the misfitting part at `index`."""
        return replace(
            self, path=(key, *self.path), mended=tuple(_replaced(whole, index, part) for part in self.mended)
        )


def misfits(pattern: Any, schema: Schema) -> list[Misfit]:
    """Return the places of a pattern that no value of the schema can contain; empty where it may match."""
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    try:
        return _Reader(definitions).misfits(pattern, schema)
    except RecursionError:  # a pattern too deep to be judged may still match
        return []


class _Reader:
    def __init__(self, definitions: Mapping[str, Schema], *, mends: bool = True) -> None:
        self.definitions = definitions
        self.mends = mends

    def misfits(self, value: Any, schema: Schema) -> list[Misfit]:
        schema = self._resolved(schema)
        if "not" in schema:
            return [self._impossible(value, schema)] if schema["not"] == {} else []
        for kind in ("anyOf", "oneOf"):
            if kind in schema and (found := self._of_union(value, schema[kind], schema)):
                return found
        for part in schema.get("allOf", ()):
            if found := self.misfits(value, part):
                return found
        if not self._is_listed(value, schema) or not _has_type(value, schema.get("type")):
            return [self._impossible(value, schema)]
        if isinstance(value, dict):
            return list(self._of_object(value, schema))
        return list(self._of_list(value, schema)) if isinstance(value, list) else []

    def _resolved(self, schema: Schema) -> dict[str, Any]:
        if not isinstance(schema, dict):
            return {"not": {}} if schema is False else {}
        if "$ref" not in schema:
            return schema
        target = self._resolved(self.definitions.get(str(schema["$ref"]).rpartition("/")[2], {}))
        return {**target, **{name: part for name, part in schema.items() if name != "$ref"}}

    def _of_union(self, value: Any, members: Sequence[Schema], schema: Schema) -> list[Misfit]:
        tag, choices = _tagged(value, schema.get("discriminator"))
        if choices and value[tag] not in choices:
            return [self._impossible(value[tag], {"enum": list(choices)}).inside(tag, value, tag)]
        if choices:
            return self.misfits(value, {"$ref": choices[value[tag]]})
        found = [self.misfits(value, member) for member in members]
        if not all(found):
            return []
        # A member of the value's own type knows best what is wrong with it.
        near = [item for item in found if item[0].path or item[0].is_key]
        return min(near, key=len) if near else [self._impossible(value, schema)]

    @staticmethod
    def _is_listed(value: Any, schema: dict[str, Any]) -> bool:
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
        if listed is None or isinstance(value, (dict, list)):
            return True
        return any(_same(value, known) for known in listed)

    def _of_object(self, value: dict[str, Any], schema: dict[str, Any]) -> Iterator[Misfit]:
        known = {key: part for key, part in schema.get("properties", {}).items() if not _is_never(part)}
        others = [schema["additionalProperties"]] if "additionalProperties" in schema else []
        others += schema.get("patternProperties", {}).values()
        names = schema.get("propertyNames", {})
        is_open = "properties" not in schema and not others
        for key, part in value.items():
            if key in known:
                found = self.misfits(part, known[key])
            elif is_open:
                found = []
            elif all(map(_is_never, others)) or not self._is_name(key, names):
                yield self._unknown(key, part, value, tuple(known) or self._names(names), schema)
                continue
            else:
                found = self._of_any(part, others)
            yield from (item.inside(key, value, key) for item in found)

    def _is_name(self, key: str, schema: Schema) -> bool:
        known = self._names(schema)
        return not known or key in known

    def _of_list(self, value: list[Any], schema: dict[str, Any]) -> Iterator[Misfit]:
        elements = list(schema.get("prefixItems", ()))
        if "items" in schema:
            elements.append(schema["items"])
        for index, part in enumerate(value):
            found = self._of_any(part, elements) if elements else []
            yield from (item.inside(str(index), value, index) for item in found)

    def _of_any(self, value: Any, schemas: Sequence[Schema]) -> list[Misfit]:
        found = [self.misfits(value, schema) for schema in schemas]
        return min(found, key=len) if found and all(found) else []

    def _names(self, schema: Schema) -> tuple[str, ...]:
        resolved = self._resolved(schema)
        listed = [resolved["const"]] if "const" in resolved else resolved.get("enum", ())
        # Keys are text, whatever they were: 1 is "1" and True is "true".
        return tuple(known if isinstance(known, str) else json.dumps(known) for known in listed)

    # ---- what is said ----

    def _unknown(
        self, key: str, part: Any, value: dict[str, Any], known: Sequence[str], schema: dict[str, Any]
    ) -> Misfit:
        match = closest(key, known)
        mended: tuple[Any, ...] = ()
        if match is not None and match not in value:
            mended = ({match if name == key else name: item for name, item in value.items()},)
        suggestion = f"Did you mean '{match}'? " if match is not None else ""
        owner = schema.get("title", "the dict")
        return Misfit(
            what=f"{owner} has no key '{key}'",
            fix=f"{suggestion}Its keys: {', '.join(known) or 'none'}.",
            is_key=True,
            mended=mended,
        )

    def _impossible(self, value: Any, schema: Schema) -> Misfit:
        fix = ""
        if isinstance(value, str) and (match := closest(value, self._names(schema))) is not None:
            fix = f"Did you mean '{match}'?"
        return Misfit(
            what=f"is {self.described(schema)}, never {_shown(value)}", fix=fix, mended=self._mended(value, schema)
        )

    def _mended(self, value: Any, schema: Schema) -> tuple[Any, ...]:
        if not self.mends:
            return ()
        plain = _Reader(self.definitions, mends=False)
        near = (candidate for candidate in self._neighbours(value, schema) if not plain.misfits(candidate, schema))
        return tuple(near)[:1]

    def _neighbours(self, value: Any, schema: Schema) -> Iterator[Any]:
        """Guess what may have been meant: another spelling, the text of a number, the element of a list."""
        if isinstance(value, str):
            match = closest(value, self._names(schema))
            if match is not None:
                yield match
            with contextlib.suppress(ValueError, RecursionError):
                yield json.loads(value, parse_constant=_no_constant)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield str(value)
        elif isinstance(value, list) and len(value) == 1:
            yield value[0]
        if not isinstance(value, list):
            yield [value]

    def described(self, schema: Schema, depth: int = 0) -> str:
        """Return a schema in the words of Python's types; a type that holds itself only so deep."""
        if depth > _DESCRIBED_MAX:
            return "…"
        schema = self._resolved(schema)
        members = schema.get("anyOf") or schema.get("oneOf")
        if members:
            return " or ".join(dict.fromkeys(self.described(member, depth + 1) for member in members))
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
        if listed is not None:
            return " or ".join(map(_shown, listed))
        types = schema.get("type", "Any")
        if types == "object" and "properties" in schema:
            return str(schema.get("title", "dict"))
        if types == "array" and isinstance(schema.get("items"), dict):
            return f"list[{self.described(schema['items'], depth + 1)}]"
        return " or ".join(_PYTHON_NAMES.get(name, name) for name in ([types] if isinstance(types, str) else types))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _replaced(whole: Any, index: Any, part: Any) -> Any:
    if isinstance(whole, list):
        return [part if place == index else item for place, item in enumerate(whole)]
    return {key: part if key == index else item for key, item in whole.items()}


def _tagged(value: Any, discriminator: Any) -> tuple[str, Mapping[str, str]]:
    """Return the tag of a union's members and the member of each value of it, where a pattern names the tag."""
    if not isinstance(value, dict) or not isinstance(discriminator, dict):
        return "", {}
    tag, choices = discriminator.get("propertyName", ""), discriminator.get("mapping", {})
    return (tag, choices) if isinstance(value.get(tag), str) else ("", {})


def _is_never(schema: Schema) -> bool:
    return schema is False or (isinstance(schema, dict) and schema.get("not") == {})


def _has_type(value: Any, types: str | Sequence[str] | None) -> bool:
    if types is None:
        return True
    kinds = {
        bool: {"boolean"},
        int: {"integer", "number"},
        str: {"string"},
        list: {"array"},
        dict: {"object"},
        type(None): {"null"},
    }.get(type(value), {"number"})
    if isinstance(value, float) and value.is_integer():
        kinds = {"integer", "number"}  # jsonb compares numbers by value: 1.0 is 1
    return bool(kinds & ({types} if isinstance(types, str) else set(types)))


def _same(one: Any, other: Any) -> bool:
    # To Python, True is 1; to JSON it is not.
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
