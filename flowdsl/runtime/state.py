"""The life of a worker, as one explicit state.

NEW → RUNNING → DRAINING → STOPPED, never back; a stop before the start goes from NEW to STOPPED at once.
"""

from enum import StrEnum


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    NEW = "new"
    """Made, not started; `stop` is legal and means that `run` will return at once."""

    RUNNING = "running"
    """Registered, claiming tasks and running handlers."""

    DRAINING = "draining"
    """Asked to stop: nothing new is claimed, running attempts may end within the grace time."""

    STOPPED = "stopped"
    """Nothing runs and nothing is held; a worker does not start twice."""
