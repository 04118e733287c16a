"""JSON as text that is the same each time: on one line for hashing, on several for reading."""

import json
from typing import Final

from flowdsl.types import JsonValue


def json_text(value: JsonValue) -> str:
    """Return the one JSON text of a value: sorted keys, one line, no NaN."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def json_lines(value: JsonValue, width: int = 100) -> list[str]:
    """Return the lines of a value: sorted keys, and one line for whatever fits into one."""
    if not isinstance(value, dict | list) or not value:
        return [_encode(value)]
    inner: list[tuple[str, JsonValue]]
    if isinstance(value, dict):
        brackets = "{}"
        inner = [(f"{_encode(key)}: ", item) for key, item in sorted(value.items())]
    else:
        brackets = "[]"
        inner = [("", item) for item in value]
    # From the inside out: trying each value on one line first would write the outer ones again and again.
    blocks = [json_lines(item, width - 2) for _, item in inner]
    for (label, _), lines in zip(inner, blocks, strict=True):
        lines[0] = label + lines[0]
    if all(len(lines) == 1 for lines in blocks):
        flat = brackets[0] + ", ".join(lines[0] for lines in blocks) + brackets[1]
        if len(flat) <= width:
            return [flat]
    for lines in blocks[:-1]:
        lines[-1] += ","
    return [brackets[0], *("  " + line for lines in blocks for line in lines), brackets[1]]


_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
