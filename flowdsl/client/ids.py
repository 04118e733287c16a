"""Run ids made by the caller, so that a start that is tried twice starts once.

UUIDs of version 7 (RFC 9562): 48 bits of milliseconds, 12 bits of the fraction below them, 62 bits of chance. They are
in the order in which they were made, so new runs lie together in the database's indexes.
"""

import secrets
import time
from collections.abc import Callable
from uuid import UUID

from flowdsl.types import RunId

_FRACTION = 1 << 12


class RunIds:
    """Makes strictly increasing ids."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._last = 0

    def next(self) -> RunId:
        """Return an id greater than all before it, whatever the clock does."""
        self._last = max(self._now_ns() * _FRACTION // 1_000_000, self._last + 1)
        milliseconds, fraction = divmod(self._last, _FRACTION)
        value = (milliseconds & (2**48 - 1)) << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62)
        return RunId(UUID(int=value))
