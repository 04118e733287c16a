"""Where a run stands, as frozen values: what `Run.status` returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flowdsl.types import FlowSlug, RunId, RunStatus, StepSlug, StepStatus, StepType, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDetail:
    """A step of a run. `tasks` counts its tasks by status; `ended_at` is None while it is open."""

    slug: StepSlug
    step_type: StepType
    status: StepStatus
    tasks: Mapping[TaskStatus, int]
    error_message: str | None
    skip_reason: str | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """A run and its steps, in the order of the flow's definition.

    `end_reason` says why it was cancelled, or failed as a whole; `deadline_at` is None without a deadline, and once it has
    ended; `retried_count` is how often it was taken up again.
    """

    run_id: RunId
    flow_slug: FlowSlug
    flow_version: int
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    deadline_at: datetime | None
    retried_count: int
    steps: tuple[StepDetail, ...]

    def step(self, slug: str) -> StepDetail:
        """Return the step of that slug; raises KeyError."""
        for step in self.steps:
            if step.slug == slug:
                return step
        raise KeyError(slug)


def run_detail(described: Mapping[str, Any]) -> RunDetail:
    """Read what the database says about a run."""
    run = described["run"]
    return RunDetail(
        run_id=RunId(UUID(run["run_id"])),
        flow_slug=FlowSlug(run["flow_slug"]),
        flow_version=run["flow_version"],
        status=RunStatus(run["status"]),
        started_at=datetime.fromisoformat(run["started_at"]),
        ended_at=_instant(run["ended_at"]),
        end_reason=run["end_reason"],
        deadline_at=_instant(run["deadline_at"]),
        retried_count=run["retried_count"],
        steps=tuple(_step_detail(step) for step in described["steps"]),
    )


def _step_detail(step: Mapping[str, Any]) -> StepDetail:
    return StepDetail(
        slug=StepSlug(step["step_slug"]),
        step_type=StepType(step["step_type"]),
        status=StepStatus(step["status"]),
        tasks={status: step["tasks"].get(status.value, 0) for status in TaskStatus},
        error_message=step["error_message"],
        skip_reason=step["skip_reason"],
        started_at=_instant(step["started_at"]),
        ended_at=_instant(step["ended_at"]),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
