"""Names for what has none in Python yet: classes for schemas, fields for keys, constants for slugs."""

import builtins
import keyword
import re
from collections.abc import Collection, Iterable

from flowdsl.model.reference_model import ReferenceModel

RESERVED = frozenset(
    {
        *(
            "Annotated",
            "Any",
            "ConfigDict",
            "Decimal",
            "Field",
            "Flow",
            "FlowRef",
            "IPv4Address",
            "IPv6Address",
            "LEFT_OUT",
        ),
        *(
            "Literal",
            "Optional",
            "Outputs",
            "ReferenceModel",
            "Roots",
            "StepRef",
            "Steps",
            "TypeAliasType",
            "TypedDict",
        ),
        *(
            "UUID",
            "Union",
            "annotations",
            "date",
            "datetime",
            "time",
            "timedelta",
            "Dict",
            "List",
            "RootModel",
            "BaseModel",
        ),
    }
)
"""What a generated file imports or defines under a name of its own."""

_BUILTINS = frozenset(dir(builtins))


def class_name(hint: str) -> str:
    """Return a name for a class that resembles the hint.

    >>> class_name("Page[int]"), class_name("order line"), class_name("3d"), class_name("None")
    ('PageInt', 'OrderLine', 'Model3d', 'ModelNone')
    """
    words = re.findall(r"[^\W_]+", hint)
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"Model{name}"


def unused(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number behind it if it is taken."""
    if name not in taken:
        return name
    number = 2
    while f"{name}{number}" in taken:
        number += 1
    return f"{name}{number}"


def field_names(keys: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Give each key of an object a field: the key itself wherever a model can have such a field."""
    keys = list(keys)
    found = {key: key for key in keys if _can_be_a_field(key, taken)}
    for key in keys:
        if key in found:
            continue
        name = re.sub(r"\W+", "_", key).strip("_") or "field"
        name = name if name.isidentifier() else f"field_{name}"
        while name in found.values() or not _can_be_a_field(name, taken):
            name += "_"
        found[key] = name
    return {key: found[key] for key in keys}


def _can_be_a_field(name: str, taken: Collection[str]) -> bool:
    return (
        name.isidentifier()
        and not name.startswith("_")
        and not keyword.iskeyword(name)
        and name not in taken
        and name not in _BUILTINS
        and name not in (RESERVED - {"date", "time"})
        and not hasattr(ReferenceModel, name)
    )


def constant_name(slug: str, taken: Collection[str]) -> str:
    """Return a name for a slug, in a class or a module in which others are taken."""
    name = f"step{slug}" if slug.startswith("__") else slug
    while keyword.iskeyword(name) or name in taken or name in _BUILTINS or name in RESERVED:
        name += "_"
    return name
