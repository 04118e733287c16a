"""Whether what is written as one JSON Schema can be read as another."""

from dataclasses import dataclass

from flowdsl.model.schemas import Schema


@dataclass(frozen=True, slots=True)
class Difference:
    """A place, as a JSON path, where what is written is not what is expected there; both in a few words."""

    path: str
    written: str
    expected: str


def not_accepted(old: Schema, new: Schema) -> tuple[Difference, ...]:
    """Return why a value written as `old` may not be valid as `new`; empty when every such value is."""
    return differences(old, new)


def differences(old: Schema, new: Schema) -> tuple[Difference, ...]:
    """Return the places where two types differ, in whichever direction."""
    return () if old == new else (Difference("$", str(old), str(new)),)
