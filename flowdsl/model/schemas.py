"""JSON Schemas as part of a flow's shape: canonical, frozen and comparable.

What only describes a value (titles, descriptions, examples, the names of definitions) is left out, so that the same type
gives the same text whatever its docstring, the version of Python or the order of its parts.
"""

import json
from dataclasses import dataclass

from flowdsl.types import JsonValue


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON Schema as text with sorted keys."""

    text: str

    @classmethod
    def of(cls, value: JsonValue) -> "Schema":
        """Make a schema of its JSON value, an object or a truth."""
        if not isinstance(value, (dict, bool)):
            raise TypeError(f"{value!r} is no JSON Schema")
        return cls(json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False))

    @property
    def value(self) -> JsonValue:
        """The schema as a JSON value."""
        value: JsonValue = json.loads(self.text)
        return value

    def __str__(self) -> str:
        return self.text
