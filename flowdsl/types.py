"""The words all layers share: ids that cannot be mixed up, and the states things can be in.

The status values are the very strings the database stores, so rows need no translation.
"""

from enum import StrEnum
from typing import NewType, TypeAlias
from uuid import UUID

FlowSlug = NewType("FlowSlug", str)
StepSlug = NewType("StepSlug", str)
RunId = NewType("RunId", UUID)
WorkerId = NewType("WorkerId", UUID)

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


class StepType(StrEnum):
    """How many tasks a step has: one, or one per element of a list."""

    SINGLE = "single"
    MAP = "map"


class RunStatus(StrEnum):
    """What became of a run; it is created as `started`."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """What became of a step inside a run; `created` means it still waits for its dependencies."""

    CREATED = "created"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class TaskStatus(StrEnum):
    """What became of a task; `queued` also while it waits for its next attempt."""

    QUEUED = "queued"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
