"""What differs between two JSON Schemas, place by place, as a reviewer wants to read it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowdsl.model.schema_words import NOTHING, Difference, described, key_path, target_of
from flowdsl.model.schemas import Schema


def differences(old: Schema, new: Schema) -> tuple[Difference, ...]:
    """Return the places where two types differ, in whichever direction; what is not there at all is `nothing`.

    >>> before, after = ({"type": "array", "items": {"type": kind}} for kind in ("string", "number"))
    >>> for found in differences(Schema.of(before), Schema.of(after)):
    ...     print(found.path, found.written, found.expected)
    $[*] string number
    """
    if old == new:
        return ()
    before, after = old.value, new.value
    comparison = _Comparison(_definitions(before), _definitions(after))
    return tuple(dict.fromkeys(comparison.compared(_without_definitions(before), _without_definitions(after))))


class _Comparison:
    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self.definitions = (old, new)
        self.seen: set[tuple[str, str]] = set()

    def compared(self, old: Any, new: Any) -> list[Difference]:
        if any(isinstance(schema, dict) and "$ref" in schema for schema in (old, new)):
            pair = _text(old), _text(new)
            if pair in self.seen:  # a type that holds itself: told where it was met first
                return []
            self.seen.add(pair)
        return self._of_resolved(self._resolved(old, 0), self._resolved(new, 1))

    def _of_resolved(self, old: Any, new: Any) -> list[Difference]:
        if not isinstance(old, dict) or not isinstance(new, dict):
            return [] if old == new else [self._whole(old, new)]
        if "anyOf" in old or "anyOf" in new:
            return self._of_unions(old, new)
        kind = old.get("type")
        if kind in ("array", "object") and kind == new.get("type"):
            return self._of_arrays(old, new) if kind == "array" else self._of_objects(old, new)
        return [] if self._is_same(old, new) else [self._whole(old, new)]

    def _of_unions(self, old: Any, new: Any) -> list[Difference]:
        if "anyOf" in old and "anyOf" in new and self._of_rest(old, new, {"anyOf", "$defs"}):
            return [self._whole(old, new)]
        before, after = _members(old), _members(new)
        gone = [part for part in before if not any(self._is_same(part, other) for other in after)]
        added = [part for part in after if not any(self._is_same(other, part) for other in before)]
        if not gone and not added:
            return []
        if len(gone) == len(added) == 1 and len(before) == len(after):
            one, other = self._resolved(gone[0], 0), self._resolved(added[0], 1)
            if isinstance(one, dict) and isinstance(other, dict) and one.get("type") == other.get("type"):
                inner = self.compared(gone[0], added[0])
                if all(item.path != "$" for item in inner):
                    return inner
        return [self._whole(old, new)]

    def _of_objects(self, old: Any, new: Any) -> list[Difference]:
        if ("properties" in old) != ("properties" in new):
            return [self._whole(old, new)]
        found = self._of_rest(old, new, _OF_KEYS)
        for key in sorted(old.get("properties", {}).keys() | new.get("properties", {}).keys()):
            found += (item.inside(key_path(key)) for item in self._of_key(key, old, new))
        before, after = (schema.get("additionalProperties", _IGNORED) for schema in (old, new))
        if "properties" not in old:
            before, after = (True if part is _IGNORED else part for part in (before, after))
        if before is _IGNORED or after is _IGNORED:
            words = [
                _IGNORED if part is _IGNORED else self._described(part, side)
                for side, part in enumerate((before, after))
            ]
            return found if words[0] == words[1] else [*found, Difference("$.*", words[0], words[1])]
        return found + [item.inside(".*") for item in self.compared(before, after)]

    def _of_key(self, key: str, old: Any, new: Any) -> list[Difference]:
        words = []
        for side, schema in enumerate((old, new)):
            part, needed = schema["properties"].get(key, False), key in schema.get("required", ())
            words.append(NOTHING if part is False else f"{self._described(part, side)}, {_NEED[needed]}")
        if NOTHING in words:
            return [Difference("$", words[0], words[1])]
        inner = self.compared(old["properties"][key], new["properties"][key])
        if (key in old.get("required", ())) == (key in new.get("required", ())):
            return inner
        return [Difference("$", words[0], words[1]), *(item for item in inner if item.path != "$")]

    def _of_arrays(self, old: Any, new: Any) -> list[Difference]:
        first, second = old.get("prefixItems", ()), new.get("prefixItems", ())
        if bool(first) != bool(second):
            return [self._whole(old, new)]
        sizes = {"minItems", "maxItems"} if first else set()  # told by the elements
        found = self._of_rest(old, new, _OF_ELEMENTS | sizes)
        for index in range(max(len(first), len(second))):
            if index < min(len(first), len(second)):
                inner = self.compared(first[index], second[index])
            else:
                parts = [fixed[index] if index < len(fixed) else False for fixed in (first, second)]
                inner = [self._whole(*parts)]
            found += (item.inside(f"[{index}]") for item in inner)
        items = (schema.get("items", True) for schema in (old, new))
        return found + [item.inside("[*]") for item in self.compared(*items)]

    def _of_rest(self, old: Any, new: Any, known: frozenset[str] | set[str]) -> list[Difference]:
        rests = [{key: part for key, part in schema.items() if key not in known} for schema in (old, new)]
        return [] if _text(rests[0]) == _text(rests[1]) else [self._whole(*rests)]

    # ---- parts -------------------------------------------------------------------------------------------------------

    def _resolved(self, schema: Any, side: int) -> Any:
        definitions = self.definitions[side]
        for _ in range(len(definitions) + 1):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            target = target_of(schema, definitions)
            if not isinstance(target, dict):
                return target
            needed = sorted({*target.get("required", ()), *schema.get("required", ())})
            rest = {key: part for key, part in schema.items() if key not in ("$ref", "$defs")}
            schema = {**target, **rest, **({"required": needed} if needed else {})}
        return schema

    def _is_same(self, old: Any, new: Any) -> bool:
        """Tell whether nothing differs, however the definitions are called."""
        texts = _text(old), _text(new)
        if "$ref" not in texts[0] + texts[1]:
            return texts[0] == texts[1]
        inner = _Comparison(*self.definitions)
        inner.seen = {*self.seen, texts}
        return not inner._of_resolved(self._resolved(old, 0), self._resolved(new, 1))

    def _whole(self, old: Any, new: Any) -> Difference:
        one, other = self._described(old, 0), self._described(new, 1)
        if one == other:  # the words are too few to tell the two apart
            one, other = (f"{words}: {_text(schema)[:_SHOWN_MAX]}" for words, schema in ((one, old), (other, new)))
        return Difference("$", one, other)

    def _described(self, schema: Any, side: int) -> str:
        return described(schema, self.definitions[side])


_NEED: Final[Mapping[bool, str]] = {True: "required", False: "optional"}
_SHOWN_MAX: Final = 200
_IGNORED: Final = "other keys are ignored"
_OF_KEYS: Final = frozenset({"properties", "required", "additionalProperties", "$defs"})
_OF_ELEMENTS: Final = frozenset({"items", "prefixItems", "$defs"})


def _members(schema: Any) -> Sequence[Any]:
    members: Sequence[Any] = schema.get("anyOf", [schema])
    return members


def _definitions(schema: Any) -> Mapping[str, Any]:
    definitions: Mapping[str, Any] = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    return definitions


def _without_definitions(schema: Any) -> Any:
    return {key: part for key, part in schema.items() if key != "$defs"} if isinstance(schema, dict) else schema


def _text(node: Any) -> str:
    return json.dumps(node, sort_keys=True)
