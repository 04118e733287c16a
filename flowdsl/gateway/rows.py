"""What crosses the SQL edge, as frozen values: rows the core returns and results the worker hands in.

JSON stays as bytes here. Whoever knows the type (the model's codecs) parses it once.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from flowdsl.types import FlowSlug, RunId, RunStatus, StepSlug, WorkerId


class ClaimedTask(NamedTuple):
    """One task leased to this worker. A tuple, because the hot path builds one per task.

    `input` is the JSON object of the step's whole inputs (`{"run": …, "<dep slug>": …}`), the same bytes object for all
    tasks of one step in a batch; `element` is the map element's JSON, None for a single step. `timeout` is in seconds.
    """

    flow_slug: FlowSlug
    flow_version: int
    run_id: RunId
    step_slug: StepSlug
    task_index: int
    attempt: int
    max_attempts: int
    fence: int
    timeout: int
    input: bytes
    element: bytes | None

    @property
    def ref(self) -> "TaskRef":
        """The part that names this claim in every later call."""
        return TaskRef(self.run_id, self.step_slug, self.task_index, self.fence)


class TaskRef(NamedTuple):
    """One claim of one task: the key of the task and the fence of the claim."""

    run_id: RunId
    step_slug: StepSlug
    task_index: int
    fence: int


class Completed(NamedTuple):
    """A finished attempt with its output as JSON bytes."""

    task: TaskRef
    output: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailure:
    """Why an attempt failed.

    `error_classes` are the names of the error's class and of its bases, compared with the step's `retry_on`.
    `retry_after` is in seconds and replaces the backoff.
    """

    error_class: str
    error_classes: tuple[str, ...]
    message: str
    traceback: str
    retryable: bool = True
    retry_after: int | None = None


class Failed(NamedTuple):
    """A failed attempt."""

    task: TaskRef
    error: AttemptFailure


RefusalReason = Literal["lease_lost", "run_ended"]


class Refusal(NamedTuple):
    """A result that the core did not take: the claim is not current any more, or the run has ended."""

    task: TaskRef
    reason: RefusalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The core's answer to a heartbeat.

    `deprecated`: an operator asks this worker to drain and stop. `lost`: those of the claims it named that are not current
    any more.
    """

    deprecated: bool
    lost: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead:
    """A run after something was done to it. `end_reason` is why it was cancelled or failed as a whole."""

    run_id: RunId
    flow_slug: FlowSlug
    status: RunStatus
    end_reason: str | None


WaitsFor = Literal[
    "dependency", "backoff", "start_delay", "reserved", "worker", "no_worker", "lease", "run_ended", "cancelled"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What one open step or task of a run waits for.

    `detail` says it in a sentence. `task_index` is None for a step as a whole, and `step_slug` too in the one row of a run
    that has ended. `until` is when the wait is over by itself, if it is; `worker_id` is who has the task.
    """

    step_slug: StepSlug | None
    task_index: int | None
    status: str
    waits_for: WaitsFor
    detail: str
    since: datetime | None
    until: datetime | None
    worker_id: WorkerId | None


SweepName = Literal["recover", "stalled", "deadlines", "timers", "prune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run in a listing. `ended_at` is the time it completed, failed or was cancelled."""

    run_id: RunId
    flow_slug: FlowSlug
    flow_version: int
    status: RunStatus
    remaining_steps: int
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailure:
    """The attempt that failed a run; without step, task and attempt when the run failed as a whole, at its deadline."""

    step_slug: StepSlug | None
    task_index: int | None
    attempt: int | None
    error_class: str
    error_message: str | None
    traceback: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """Where a run stands: `output` (JSON) when completed, `failure` when failed, `reason` when cancelled with one."""

    status: RunStatus
    flow_slug: FlowSlug
    output: bytes | None
    failure: RunFailure | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRuns:
    """How many runs of one version of a flow are open."""

    flow_slug: FlowSlug
    flow_version: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRow:
    """One version of a compiled flow in a listing, with its number of runs by status."""

    flow_slug: FlowSlug
    flow_version: int
    is_current: bool
    steps_count: int
    runs: dict[str, int]
    live_workers: int
    retired_at: datetime | None = None
