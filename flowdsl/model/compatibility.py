"""Whether what is written as one JSON Schema can be read as another: is each value of `old` a value of `new`?

The answer is on the safe side: no differences means that every value fits, and what cannot be decided (two regular
expressions, a keyword pydantic does not use) counts as a difference that says so. Two things are read as the programs behind
the schemas behave. A writer of an object writes the keys its schema lists and no others, unless `additionalProperties` says
so; a reader ignores keys it does not list, unless it forbids them. So a key may be added that readers need not have, and
one may be taken away that they need not find. And a `format` constrains: text is no date.

Why not a library: jsonsubschema (0.0.8) and its fork ghga-jsonsubschema (0.2.1) know draft 4. To them `$defs` and an
`exclusiveMinimum` that is a number, both of which pydantic emits, are errors; they pass over `propertyNames` and `format`, so
that wrong types are accepted, and over `prefixItems`, so that right ones are refused; types that hold themselves are beyond
them; and the answer is a bare yes or no, without the place. isjsonschemasubset has had no release since 2023. The subset of
JSON Schema that pydantic emits is small enough to be judged here, and to be tested with random types against jsonschema and
pydantic.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Final

from flowdsl.model.checks import CHECKS
from flowdsl.model.schema_atoms import (
    Atom,
    alternatives,
    atom_of,
    finite_values,
    item_at,
    keys_of,
    kinds,
    most_items,
    number_fits,
    own_part,
)
from flowdsl.model.schema_changes import differences
from flowdsl.model.schema_words import NOTHING, Difference, described, key_path, target_of
from flowdsl.model.schemas import Schema

__all__ = ["Difference", "differences", "not_accepted"]

_DEPTH_MAX: Final = 60
UNDECIDED: Final = "cannot be judged"


def not_accepted(old: Schema, new: Schema) -> tuple[Difference, ...]:
    """Return why a value written as `old` may not be valid as `new`; empty when every such value is.

    >>> not_accepted(Schema.of({"type": "integer"}), Schema.of({"type": "number"}))
    ()
    """
    if old == new:
        return ()
    return tuple(dict.fromkeys(_Judge(old.value, new.value).fits(old.value, new.value)))


class _Judge:
    def __init__(self, old: Any, new: Any) -> None:
        self.old = old.get("$defs", {}) if isinstance(old, dict) else {}
        self.new = new.get("$defs", {}) if isinstance(new, dict) else {}
        # Pairs being looked at, or found to fit on the way: a type that holds itself fits if nothing else is in the way.
        self.assumed: dict[tuple[str, str], None] = {}
        self.failed: dict[tuple[str, str], list[Difference]] = {}
        self.depth = 0

    def fits(self, old: Any, new: Any) -> list[Difference]:
        """Return why some value of `old` is none of `new`."""
        if new is True or old is False:
            return []
        if self.depth > _DEPTH_MAX:
            return [self._undecided(old, new)]
        self.depth += 1
        try:
            return [found for atom in alternatives(old, self.old) for found in self.atom_fits(atom, new)]
        finally:
            self.depth -= 1

    def atom_fits(self, atom: Atom, new: Any) -> list[Difference]:
        if not isinstance(new, dict):
            return [] if new else [self._difference(atom, new)]
        if "enum" in atom:
            checks = {CHECKS: atom[CHECKS]} if CHECKS in atom else {}
            return self._values_fit(atom["enum"], checks, new)
        return self._atom_fits_parts(atom, new)

    def _atom_fits_parts(self, atom: Atom, new: Mapping[str, Any]) -> list[Difference]:
        found = self._fits_own_part(atom, own_part(new))
        if "$ref" in new:
            found += self._fits_definition(atom, new)
        for part in new.get("allOf", ()):
            found += self.atom_fits(atom, part)
        if "anyOf" in new:
            found += self._fits_any(atom, new["anyOf"])
        if "oneOf" in new:
            found += self._fits_one(atom, new["oneOf"])
        return found

    def _fits_definition(self, atom: Atom, new: Mapping[str, Any]) -> list[Difference]:
        pair = _text(atom), str(new["$ref"])
        if pair in self.assumed:
            return []
        if pair in self.failed:
            return self.failed[pair]
        before = len(self.assumed)
        self.assumed[pair] = None
        found = self.atom_fits(atom, target_of(new, self.new))
        if found:
            # What was found to fit meanwhile may rest on this pair.
            for later in list(self.assumed)[before:]:
                del self.assumed[later]
            self.failed[pair] = found
        return found

    def _fits_any(self, atom: Atom, members: Sequence[Any]) -> list[Difference]:
        tried = []
        for member in members:
            found = self.atom_fits(atom, member)
            if not found:
                return []
            tried.append((found, member))
        near = [found for found, member in tried if not self._is_apart(atom, member)]
        if len(near) == 1:
            return near[0]
        if near and kinds(atom) == {"object"}:
            return [replace(item, is_decided=False) for item in min(near, key=len)]
        whole = self._difference(atom, {"anyOf": list(members)})
        return [replace(whole, is_decided=not near)]

    def _is_apart(self, atom: Atom, member: Any) -> bool:
        """Tell whether no value is of both, by its kind or by a key that says which it is."""
        parts = alternatives(member, self.new)
        return not any(kinds(atom) & kinds(part) and self._tags_meet(atom, part) for part in parts)

    def _tags_meet(self, one: Atom, other: Atom) -> bool:
        common = {*one.get("required", ())} & {*other.get("required", ())}
        for key in common:
            first, second = (atom.get("properties", {}).get(key, True) for atom in (one, other))
            if not (isinstance(first, dict) and isinstance(second, dict) and "enum" in first and "enum" in second):
                continue
            if not any(_is_among(value, second["enum"]) for value in first["enum"]):
                return False
        return True

    def _fits_one(self, atom: Atom, members: Sequence[Any]) -> list[Difference]:
        # A value may be one of two members; that it is not is nothing to be shown here.
        found = self._fits_any(atom, members)
        return found or [self._undecided(atom, {"oneOf": list(members)})]

    # ---- values that are listed --------------------------------------------------------------------------------------

    def _values_fit(self, values: Sequence[Any], checks: Atom, new: Mapping[str, Any]) -> list[Difference]:
        found = [(value, self._atom_fits_parts({**atom_of(value), **checks}, new)) for value in values]
        wrong = [value for value, differences in found if differences]
        if not wrong:
            return []
        nested = [item for _, differences in found for item in differences if item.path != "$"]
        if nested:
            return nested
        is_decided = any(item.is_decided for _, differences in found for item in differences)
        return [replace(self._difference({"enum": wrong}, new), is_decided=is_decided)]

    # ---- one kind of value ---------------------------------------------------------------------------------------------

    def _fits_own_part(self, old: Atom, new: Atom) -> list[Difference]:
        if not new:
            return []
        if "enum" in new:
            values = finite_values(old)
            missing = values is None or any(not _is_among(value, new["enum"]) for value in values)
            if missing:
                return [self._difference(old, new)]
        of_kinds = kinds(old)
        if not of_kinds <= kinds(new):
            return [self._difference(old, new)]
        found: list[Difference] = []
        if of_kinds & {"integer", "number"} and not number_fits(old, new):
            found.append(self._difference(old, new))
        if "string" in of_kinds:
            found += self._text_fits(old, new)
        if "array" in of_kinds:
            found += self._array_fits(old, new)
        if "object" in of_kinds:
            found += self._object_fits(old, new)
        return found + self._fits_the_rest(old, new)

    def _fits_the_rest(self, old: Atom, new: Atom) -> list[Difference]:
        if not {*new.get(CHECKS, ())} <= {*old.get(CHECKS, ())}:
            return [self._undecided(old, new)]
        for key in new.keys() - _JUDGED:
            same = key in old and _text(old[key]) == _text(new[key]) and "$ref" not in _text(new[key])
            if not same:
                return [self._undecided(old, new)]
        return []

    def _text_fits(self, old: Atom, new: Atom) -> list[Difference]:
        shortest, longest = old.get("minLength", 0), old.get("maxLength", inf)
        if shortest < new.get("minLength", 0) or longest > new.get("maxLength", inf):
            return [self._difference(old, new)]
        if "format" in new and old.get("format") != new["format"]:
            is_decided = "const" not in old and "pattern" not in old
            return [self._difference(old, new) if is_decided else self._undecided(old, new)]
        if "pattern" in new and old.get("pattern") != new["pattern"]:
            return [self._undecided(old, new)] if old.keys() & _TEXTUAL else [self._difference(old, new)]
        return []

    def _array_fits(self, old: Atom, new: Atom) -> list[Difference]:
        fewest, most = old.get("minItems", 0), most_items(old)
        is_unique = old.get("uniqueItems") or most <= 1
        if fewest < new.get("minItems", 0) or most > most_items(new) or (new.get("uniqueItems") and not is_unique):
            return [self._difference(old, new)]
        found: list[Difference] = []
        first, second = old.get("prefixItems", ()), new.get("prefixItems", ())
        fixed = max(len(first), len(second))
        for index in range(int(min(fixed, most))):
            one, other = item_at(old, index), item_at(new, index)
            found += (item.inside(f"[{index}]") for item in self.fits(one, other))
        if most > fixed:
            found += (item.inside("[*]") for item in self.fits(item_at(old, fixed), item_at(new, fixed)))
        return found

    def _object_fits(self, old: Atom, new: Atom) -> list[Difference]:
        written, others = keys_of(old)
        known = new.get("properties", {})
        found: list[Difference] = []
        for key in new.get("required", ()):
            if key not in old.get("required", ()):
                found.append(self._missing(key, written.get(key, others), known.get(key, True)))  # noqa: PERF401 - beside the branch it belongs to
        for key, part in written.items():
            place = key_path(key)
            if key in known:
                found += (item.inside(place) for item in self.fits(part, known[key]))
            else:
                found += (item.inside(place) for item in self._other_fits(key, part, new))
        if others is not False:
            found += self._others_fit(old, others, known.keys() - written.keys(), new)
        return found + self._size_fits(old, written, others, new)

    def _other_fits(self, key: str, part: Any, new: Atom) -> list[Difference]:
        """Judge a key that the new schema does not list."""
        rule = new.get("additionalProperties", True)
        if rule is False and part is not False:
            return [Difference("$", described(part, self.old), NOTHING)]
        found = self.fits(part, rule)
        names = new.get("propertyNames", True)
        return found + self._names_fit(atom_of(key), names) if names is not True else found

    def _others_fit(self, old: Atom, others: Any, listed: Any, new: Atom) -> list[Difference]:
        """Judge what the old schema does not list and does not rule out."""
        names = old.get("propertyNames", True)
        found: list[Difference] = []
        for key in sorted(listed):
            found += (item.inside(key_path(key)) for item in self.fits(others, new["properties"][key]))
        rule = new.get("additionalProperties", True)
        if rule is False:
            found.append(Difference("$.*", described(others, self.old), NOTHING))
        else:
            found += (item.inside(".*") for item in self.fits(others, rule))
        if "propertyNames" in new:
            text = {"type": "string"}
            parts = alternatives(text if names is True else {**text, **names}, self.old)
            found += (item for part in parts for item in self._names_fit(part, new["propertyNames"]))
        return found

    def _names_fit(self, name: Atom, names: Any) -> list[Difference]:
        found = self.atom_fits(name, {"type": "string", **names} if isinstance(names, dict) else names)
        return [Difference("$", f"keys: {item.written}", f"keys: {item.expected}", item.is_decided) for item in found]

    def _size_fits(self, old: Atom, written: Mapping[str, Any], others: Any, new: Atom) -> list[Difference]:
        fewest = max(old.get("minProperties", 0), len(old.get("required", ())))
        most = min(old.get("maxProperties", inf), len(written) if others is False else inf)
        if fewest < new.get("minProperties", 0) or most > new.get("maxProperties", inf):
            return [self._difference(old, new)]
        return []

    # ---- what is said --------------------------------------------------------------------------------------------------

    def _missing(self, key: str, written: Any, expected: Any) -> Difference:
        words = NOTHING if written is False else f"{described(written, self.old)}, optional"
        return Difference(f"${key_path(key)}", words, f"{described(expected, self.new)}, required")

    def _difference(self, old: Any, new: Any) -> Difference:
        return Difference("$", described(_shown(old), self.old), described(new, self.new))

    def _undecided(self, old: Any, new: Any) -> Difference:
        known = self._difference(old, new)
        return replace(known, expected=f"{known.expected} ({UNDECIDED})", is_decided=False)


_TEXTUAL: Final = frozenset({"const", "pattern", "format", "maxLength"})
_JUDGED: Final = frozenset(
    {
        *(CHECKS, "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "format", "items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
        *("properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"),
    }
)


def _shown(atom: Any) -> Any:
    """Return an alternative as it is shown: one value as that value."""
    return {"enum": [atom["const"]]} if isinstance(atom, dict) and "const" in atom else atom or True


def _is_among(value: Any, values: Sequence[Any]) -> bool:
    # To Python, True is 1; to JSON it is not.
    return any(isinstance(value, bool) is isinstance(known, bool) and value == known for known in values)


def _text(node: Any) -> str:
    return json.dumps(node, sort_keys=True)
