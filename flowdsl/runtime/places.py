"""Where a step's handler runs: in the event loop, in a thread, in a child process, or where somebody's executor takes it.

The first two are the worker's own and share its memory; `attempt` knows them. The others (`elsewhere`) are given bytes, and give
bytes back.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from flowdsl.gateway.rows import AttemptFailure, ClaimedTask
from flowdsl.model.context import Cancellation


class Place(Enum):
    """The worker's own places."""

    LOOP = "event loop"
    THREAD = "thread"


class Going(Protocol):
    """A running attempt, as far as a place has to know it."""

    stuck: bool
    stack: str

    @property
    def task(self) -> ClaimedTask:
        """The claimed task."""
        ...

    @property
    def cancellation(self) -> Cancellation:
        """What tells the handler that it is cancelled."""
        ...

    @property
    def is_cancelled(self) -> bool:
        """Whether it was we who cancelled it."""
        ...

    @property
    def why_cancelled(self) -> str:
        """Why, in words that follow "was killed"."""
        ...


class Elsewhere(Protocol):
    """A place beyond the worker's memory."""

    async def run(
        self, attempt: Going, *, began: Callable[[Any], None], ended: Callable[[Any], None], cleanup_seconds: float
    ) -> bytes | AttemptFailure:
        """Run the attempt's handler; return the JSON of its output, or how it failed.

        `began` is called with the attempt when its time begins to count. A handler that cannot be stopped makes the attempt
        `stuck`; then `ended` is called, from any thread, when it is over.
        """
        ...
