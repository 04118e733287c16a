"""The checksum of a revision: whether a generated file still does what was generated, whatever a formatter made of its text."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final

from flowdsl.types import JsonValue

KEY: Final = "checksum"
LENGTH: Final = 16


def checksum(upgrade: Sequence[str], downgrade: Sequence[str], record: Mapping[str, JsonValue]) -> str:
    """Return hexadecimal digits that follow from what a revision does and from the record of it.

    White space around a statement does not count, nor does a checksum that is in the record already.
    """
    stated = {name: value for name, value in record.items() if name != KEY}
    contents = [[statement.strip() for statement in upgrade], [statement.strip() for statement in downgrade], stated]
    text = json.dumps(contents, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:LENGTH]
