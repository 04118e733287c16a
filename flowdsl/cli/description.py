"""What the database tells about a run (`describe_run`), parsed once into types."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from flowdsl.errors import RunNotFound
from flowdsl.gateway.calls import find_runs
from flowdsl.gateway.connections import Connection
from flowdsl.types import RunId, RunStatus, StepStatus, StepType, TaskStatus

SKIP_REASONS = {
    "condition_unmet": "its condition was not met",
    "handler_failed": "its handler failed",
    "dependency_skipped": "a step before it was skipped",
}


class RunPart(BaseModel):
    """The run itself; `end_reason` is why it was cancelled or failed as a whole."""

    run_id: UUID
    flow_slug: str
    flow_version: int
    status: RunStatus
    input: Any
    output: Any
    started_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    deadline_at: datetime | None
    retried_count: int


class TaskCounts(BaseModel):
    """A step's tasks by status; `retrying` ones are queued and have an attempt behind them."""

    queued: int
    started: int
    completed: int
    failed: int
    skipped: int
    cancelled: int
    retrying: int


class StepPart(BaseModel):
    """A step's state; `initial_tasks` is None until a map is sized."""

    step_slug: str
    step_type: StepType
    status: StepStatus
    deps: list[str]
    initial_tasks: int | None
    remaining_tasks: int | None
    tasks: TaskCounts
    error_message: str | None
    skip_reason: str | None
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def skipped_because(self) -> str:
        """Why it was skipped, in words; empty when it was not."""
        return SKIP_REASONS.get(self.skip_reason, self.skip_reason) if self.skip_reason else ""

    def took(self, now: datetime) -> timedelta | None:
        """How long the step ran, or has been running."""
        return None if self.started_at is None else (self.ended_at or now) - self.started_at


class TaskPart(BaseModel):
    """One task; `element_hint` is the beginning of what a map task is about."""

    step_slug: str
    task_index: int
    status: TaskStatus
    attempts_count: int
    requeued_count: int
    error_message: str | None
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    visible_at: datetime | None
    element_hint: str | None


class AttemptPart(BaseModel):
    """One attempt that failed or was lost."""

    step_slug: str
    task_index: int
    attempt: int
    outcome: str
    error_class: str
    error_message: str
    traceback: str
    started_at: datetime | None
    ended_at: datetime


class Description(BaseModel):
    """A run with its steps, its most telling tasks and its failed attempts (latest first)."""

    run: RunPart
    steps: list[StepPart]
    tasks: list[TaskPart]
    tasks_total: int
    attempts: list[AttemptPart]

    @property
    def has_ended(self) -> bool:
        """Whether nothing will happen to the run any more."""
        return self.run.status is not RunStatus.STARTED


def described(document: Mapping[str, object]) -> Description:
    """Parse what `describe_run` returned."""
    return Description.model_validate(document)


async def find_run(conn: Connection, name: str) -> RunId:
    """Return the id of the run whose id begins so; RunNotFound when there is none, or more than one.

    The dashes may be left out.
    """
    digits = name.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        raise RunNotFound(f"'{name}' is not the beginning of a run id.", hint="List the runs with: pgflow runs")
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    found = await find_runs(conn, "-".join(part for part in parts if part))
    if not found:
        raise RunNotFound(f"There is no run '{name}'.", hint="List the runs with: pgflow runs")
    if len(found) > 1:
        raise RunNotFound(
            f"More than one run begins with '{name}'.", hint="Give more of its id; list the runs with: pgflow runs"
        )
    return found[0]
