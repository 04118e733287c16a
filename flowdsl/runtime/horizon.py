"""Until when the running attempts may take, told to whoever must know it, although attempts begin thousands of times a second."""

import math
from collections.abc import Callable
from typing import Final

SLACK_SECONDS: Final = 1.0


class Horizon:
    """The moment by which all that runs will have run out of time, rounded up so that it seldom moves.

    Whoever begins an attempt compares with `told` and calls `reach` when that is beyond it: at most once in
    SLACK_SECONDS, as long as the timeouts stay the same.
    """

    def __init__(self) -> None:
        self.told = math.inf
        """Nobody listens yet, so everything has been told."""
        self._tell: Callable[[float], None] | None = None

    def reach(self, due_at: float) -> None:
        """Move the horizon so far that it covers an attempt that has just begun."""
        self.told = due_at + SLACK_SECONDS
        if self._tell is not None:
            self._tell(self.told)

    def listen(self, tell: Callable[[float], None]) -> None:
        """Have moves told; `forget` first, then look at what runs."""
        self._tell = tell
        self.forget()

    def forget(self) -> None:
        """Have the next beginning told whenever it is due: what was told is about to be replaced."""
        self.told = -math.inf

    def close(self) -> None:
        """Tell nobody any more."""
        self.told, self._tell = math.inf, None
