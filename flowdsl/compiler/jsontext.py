"""JSON as text that is the same each time: on one line for hashing, on several for reading."""

import json

from flowdsl.types import JsonValue


def json_text(value: JsonValue) -> str:
    """Return the one JSON text of a value: sorted keys, one line, no NaN."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def json_lines(value: JsonValue, width: int = 100) -> list[str]:
    """Return the lines of a value: sorted keys, and one line for whatever fits into one."""
    flat = json_text(value)
    if len(flat) <= width or not isinstance(value, dict | list) or not value:
        return [flat]
    inner: list[tuple[str, JsonValue]]
    if isinstance(value, dict):
        brackets = "{}"
        inner = [(json.dumps(key, ensure_ascii=False) + ": ", item) for key, item in sorted(value.items())]
    else:
        brackets = "[]"
        inner = [("", item) for item in value]
    lines = [brackets[0]]
    for position, (label, item) in enumerate(inner):
        block_lines = json_lines(item, width - 2)
        block_lines[0] = label + block_lines[0]
        if position < len(inner) - 1:
            block_lines[-1] += ","
        lines += ["  " + line for line in block_lines]
    return [*lines, brackets[1]]
