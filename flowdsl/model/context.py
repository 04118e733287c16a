"""What a handler may know about its own attempt.

Context is plain data, so a handler that takes one can be called in a test with a hand-made one.
"""

from dataclasses import dataclass, field
from uuid import UUID


@dataclass(slots=True)
class Cancellation:
    """Whether an attempt has been given up. Written by the worker, read from any thread."""

    requested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The attempt a handler is called for; a handler gets it by taking a `Context` after its other parameters.

    `task_index` counts the tasks of a step from 0 (always 0 but for a map step), `attempt` the tries of this task
    from 1; on the last one `attempt == max_attempts`.
    """

    run_id: UUID
    flow_slug: str
    flow_version: int
    step_slug: str
    task_index: int
    attempt: int
    max_attempts: int
    cancellation: Cancellation = field(default_factory=Cancellation, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this attempt any more: its run ended, its time is up, or the worker stops.

        An async handler is told by `asyncio.CancelledError`. A thread cannot be interrupted, so a sync handler that takes
        long should look at this now and then, and return: whatever it returns then is dropped. To test that, call the
        handler with `Context(…, cancellation=Cancellation(requested=True))`.
        """
        return self.cancellation.requested
