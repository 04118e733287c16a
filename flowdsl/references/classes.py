"""Which classes a file has: definitions that say the same become one, and each gets a name of its own."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowdsl.references.naming import RESERVED, class_name, field_names, unused
from flowdsl.references.simple import Default, Definition, Side
from flowdsl.references.soundness import PREFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The named definitions, and their fields: `defaults` by class and key, `fields` by `Class.key`.

    `roots` are the schemas that types are wanted for, each with a name for what it may need one for.
    """

    definitions: Mapping[str, dict[str, Any]]
    defaults: Mapping[str, Mapping[str, Default]]
    fields: Mapping[str, str]
    roots: Sequence[tuple[str, dict[str, Any]]]


def named_classes(
    definitions: Mapping[str, Definition], roots: Sequence[tuple[str, dict[str, Any]]], *, taken: Collection[str]
) -> Classes:
    """Give each definition a name, the same to those that say the same; without names of theirs the first use gives it."""
    likeness, defaults = _likeness(definitions)
    names: dict[str, str] = {}
    kept: dict[str, str] = {}
    used = {*RESERVED, *taken}
    for key, definition in definitions.items():
        if likeness[key] in names:
            continue
        name = class_name(definition.hint)
        if name in used and definition.side is Side.GOT:
            name += Side.GOT.value
        names[likeness[key]] = name = unused(name, used)
        used.add(name)
        kept[name] = key
    name_of = {key: names[likeness[key]] for key in definitions}
    fields = {name: field_names(definitions[key].body.get("properties", ()), kept) for name, key in kept.items()}
    return Classes(
        definitions={name: _with_names(definitions[key].body, name_of) for name, key in kept.items()},
        defaults={name: defaults[key] for name, key in kept.items()},
        fields={
            f"{name}.{key}": chosen for name, own in fields.items() for key, chosen in own.items() if key != chosen
        },
        roots=[(hint, _with_names(root, name_of)) for hint, root in roots],
    )


def _likeness(
    definitions: Mapping[str, Definition],
) -> tuple[Mapping[str, str], Mapping[str, Mapping[str, Default]]]:
    """Tell which definitions can be one class, and what its fields are when they are not given.

    What a caller may leave out is always there in what it gets, so the class of what is sent will do for both.
    """
    bodies: dict[str, list[Any]] = {
        key: [each.body, class_name(each.hint) if each.has_name else ""] for key, each in definitions.items()
    }
    alike = _refined(bodies)
    sent = {alike[key]: each.defaults for key, each in reversed(list(definitions.items())) if each.side is Side.SENT}
    defaults = {
        key: each.defaults if each.side is Side.SENT else sent.get(alike[key], each.defaults)
        for key, each in definitions.items()
    }
    for key, said in defaults.items():
        bodies[key].append(sorted([name, how.value] for name, how in said.items()))
    likeness = _refined(bodies)
    shared = {likeness[key] for key, each in definitions.items() if each.side is Side.SENT}
    own = {key: defaults[key] if likeness[key] in shared else each.defaults for key, each in definitions.items()}
    return likeness, own


def _refined(bodies: Mapping[str, Any]) -> dict[str, str]:
    """Tell bodies apart by what they say, what that refers to, … until no more can be told apart."""
    found = dict.fromkeys(bodies, "")
    while True:
        said = {key: json.dumps(_with_names(body, found), sort_keys=True) for key, body in bodies.items()}
        numbers = {text: str(number) for number, text in enumerate(dict.fromkeys(said.values()))}
        if len(numbers) == len(set(found.values())):
            return found
        found = {key: numbers[text] for key, text in said.items()}


def _with_names(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_with_names(part, names) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        name: PREFIX + names[part.removeprefix(PREFIX)]
        if name == "$ref" and isinstance(part, str)
        else _with_names(part, names)
        for name, part in node.items()
    }
