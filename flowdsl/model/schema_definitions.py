"""Definitions of a JSON Schema: which hold themselves, which are alike, and under which numbers they are stored."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from flowdsl.model.schema_words import PREFIX
from flowdsl.model.schemas import Schema


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {str(node["$ref"]).removeprefix(PREFIX)} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def recursive_names(definitions: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the definitions that hold themselves."""
    direct = {name: _references(body) & definitions.keys() for name, body in definitions.items()}
    found = set()
    for name in definitions:
        seen: set[str] = set()
        todo = list(direct[name])
        while todo:
            other = todo.pop()
            if other not in seen:
                seen.add(other)
                todo.extend(direct[other])
        if name in seen:
            found.add(name)
    return frozenset(found)


class Numbering:
    """Names of definitions that depend on nothing but what they define, and the order in which they are met."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self.definitions = definitions
        self.likeness = self._likeness()
        self.numbers: dict[str, str] = {}
        self.numbered: dict[str, Any] = {}

    def schema(self, body: Any) -> Schema:
        """Return a schema with the definitions it refers to, by their numbers."""
        whole = self._ordered(body)
        if not self.numbered:
            return Schema.of(whole)
        return Schema.of({**whole, "$defs": self.numbered})

    def _likeness(self) -> dict[str, str]:
        """Tell which definitions are alike, by what they hold, what that holds, … until nothing more can be told apart."""
        found = dict.fromkeys(self.definitions, "")
        while True:
            finer = {name: _digest(text_of(body, found)) for name, body in self.definitions.items()}
            if len(set(finer.values())) == len(set(found.values())):
                return finer
            found = finer

    def _ordered(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._ordered(part) for part in node]
        if not isinstance(node, dict):
            return node
        found: dict[str, Any] = {}
        for key in sorted(node):
            part = node[key]
            if key == "$ref" and isinstance(part, str):
                found[key] = PREFIX + self._number_of(part.removeprefix(PREFIX))
            elif key in ("anyOf", "allOf") and isinstance(part, list):
                texts = {text_of(member, self.likeness): member for member in part}
                found[key] = [self._ordered(texts[text]) for text in sorted(texts, key=_null_last)]
            else:
                found[key] = self._ordered(part)
        return found

    def _number_of(self, name: str) -> str:
        likeness = self.likeness[name]
        if likeness not in self.numbers:
            number = self.numbers[likeness] = f"T{len(self.numbers) + 1}"
            self.numbered[number] = True  # its place, for a reference back to it
            self.numbered[number] = self._ordered(self.definitions[name])
        return self.numbers[likeness]


def _null_last(text: str) -> tuple[bool, str]:
    return text == '{"type":"null"}', text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def text_of(node: Any, names: Mapping[str, str] | None = None) -> str:
    """Return a text that is the same for the same schema, with references by other names where `names` are given."""
    if names is not None:
        node = _sorted_members(node, names)
    return json.dumps(node, sort_keys=True, separators=(",", ":"))


def _sorted_members(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_sorted_members(part, names) for part in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for key, part in node.items():
        if key == "$ref" and isinstance(part, str):
            found[key] = names.get(part.removeprefix(PREFIX), part)
        elif key in ("anyOf", "allOf") and isinstance(part, list):
            found[key] = sorted((_sorted_members(member, names) for member in part), key=text_of)
        else:
            found[key] = _sorted_members(part, names)
    return found


def renamed(node: Any, names: Mapping[str, str]) -> Any:
    """Return a schema that refers to its definitions by other names."""
    if not names:
        return node
    if isinstance(node, list):
        return [renamed(part, names) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        key: PREFIX + names[part.removeprefix(PREFIX)]
        if key == "$ref" and isinstance(part, str)
        else renamed(part, names)
        for key, part in node.items()
    }
