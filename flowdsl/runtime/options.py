"""How a worker behaves, checked in one place before anything is started."""

import math
from dataclasses import dataclass
from datetime import timedelta

from flowdsl.errors import ConfigError
from flowdsl.model.options import ExecutorChoice, executor_choice

CONCURRENCY_MAX = 10_000
BATCH_MAX = 10_000
PROCESSES_MAX = 1_000
QUEUE_LENGTH_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Checked options of a worker; see `Worker` for what each one means.

    Raises:
        ConfigError: naming every option that cannot be used.
    """

    # Steps a second of no-op handlers, and the driver without handlers at the same batch (concurrency/batch): 5,334 of 5,526
    # (100/50), 6,640 of 7,478 (200/100), 2,210 of 2,861 (10/10). With all slots in one batch (100/100) the database waits for
    # the handlers: 5 to 10 % less than 200/100.
    concurrency: int = 200
    batch: int = 100
    queues: tuple[str, ...] | None = None
    lease_seconds: int = 30
    grace_seconds: float = 30.0
    poll_seconds: float = 1.0
    linger_ms: float = 2.0
    name: str = ""
    listen: bool = True
    retention: timedelta | None = None
    executor: ExecutorChoice | None = None
    processes: int | None = None
    pulse: bool = True

    def __post_init__(self) -> None:
        problems = [
            *_whole("concurrency", self.concurrency, 1, CONCURRENCY_MAX),
            *_whole("batch", self.batch, 1, BATCH_MAX),
            *_whole("lease_seconds", self.lease_seconds, 1, 2**31 - 1),
            *_number("grace_seconds", self.grace_seconds, 0.0),
            *_number("poll_seconds", self.poll_seconds, 0.01),
            *_number("linger_ms", self.linger_ms, 0.0),
            *_queues(self.queues),
            *_retention(self.retention),
            *_executor(self.executor),
            *([] if self.processes is None else _whole("processes", self.processes, 1, PROCESSES_MAX)),
        ]
        if problems:
            raise ConfigError("worker options: " + "; ".join(problems))


def _whole(name: str, value: object, least: int, most: int) -> list[str]:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return []
    return [f"{name} must be a whole number from {least} to {most}, not {value!r}"]


def _number(name: str, value: object, least: float) -> list[str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= least:
        return []
    return [f"{name} must be a number of at least {least:g}, not {value!r}"]


def _executor(value: object) -> list[str]:
    try:
        executor_choice(value)
    except ValueError as error:
        what, fix = error.args
        return [f"executor {value!r} {what}. {fix}"]
    return []


def _retention(retention: object) -> list[str]:
    if retention is None or (isinstance(retention, timedelta) and retention > timedelta()):
        return []
    return [f"retention must be a timedelta of more than nothing, or None to keep ended runs, not {retention!r}"]


def _queues(queues: tuple[object, ...] | None) -> list[str]:
    if queues is None:
        return []
    if not queues:
        return ["queues must name at least one queue (None serves all queues of the flows)"]
    return [
        f"queue {queue!r} must be 1 to {QUEUE_LENGTH_MAX} characters, not blank"
        for queue in queues
        if not isinstance(queue, str) or not queue.strip() or len(queue) > QUEUE_LENGTH_MAX
    ]
