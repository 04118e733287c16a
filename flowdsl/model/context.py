"""What a handler may know about its own attempt.

Context is plain data, so a handler that takes one can be called in a test with a hand-made one.
"""

from dataclasses import dataclass
from uuid import UUID


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
