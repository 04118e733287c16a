"""What must hold at the end, whatever was killed: each claim judged from the tables, the journal and the plan.

The core has checks of its own (`check_invariants`); most of these here are independent of it, and of how the core works.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row, tuple_row

from flowdsl.torture.flows import expected
from flowdsl.types import RunStatus

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a run must have ended: it exists once, has this flow and input, and this status."""

    flow_slug: str
    given: Any
    status: RunStatus
    retried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim, whether it held, of how many things it was checked, and what speaks against it."""

    claim: str
    checked: int
    evidence: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of `runs`; `why` it failed."""

    run_id: UUID
    flow_slug: str
    status: str
    remaining_steps: int
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A row of `step_states`, with what its version of the flow says about it."""

    run_id: UUID
    step_slug: str
    status: str
    remaining_tasks: int | None
    initial_tasks: int | None
    remaining_deps: int
    output: Any
    is_map: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A row of `step_tasks`; `worker` is the label of its last worker, `limit` how many attempts it may use."""

    run_id: UUID
    step_slug: str
    task_index: int
    status: str
    attempts_count: int
    limit: int
    output: Any
    completed_at: datetime | None
    worker: str | None

    @property
    def key(self) -> "Key":
        """What names it."""
        return Key(self.run_id, self.step_slug, self.task_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A row of the journal: a handler that started."""

    token: UUID
    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    max_attempts: int
    worker: str
    started_at: datetime

    @property
    def key(self) -> "Key":
        """What names its task."""
        return Key(self.run_id, self.step_slug, self.task_index)


class Key(NamedTuple):
    """What names a task."""

    run_id: UUID
    step_slug: str
    task_index: int

    def __str__(self) -> str:
        return f"{self.run_id} {self.step_slug}[{self.task_index}]"


@dataclass(slots=True, kw_only=True)
class Records:
    """Everything there is to judge by."""

    runs: dict[UUID, Run]
    steps: dict[tuple[UUID, str], Step]
    tasks: dict[Key, Task]
    starts: dict[UUID, Start]
    losses: dict[Key, list[tuple[str | None, datetime]]]
    failures: dict[Key, int]
    violations: list[str]
    late_starts: int = field(default=0)
    """Handlers that started after their task was completed, in a worker that had lost its lease before: it did not know."""


_RUNS = """
select r.run_id, r.flow_slug, r.status, r.remaining_steps,
  concat_ws(' ', o.failed_step || '[' || o.task_index || ']', o.error_class, o.error_message, a.attempts) as why
from pgflow.runs r
left join lateral pgflow.run_outcome(r.run_id) o on r.status = 'failed'
left join lateral (
  select string_agg(format('(attempt %s: %s %s)', t.attempt, t.outcome, t.error_class), ' ' order by t.attempt_id) as attempts
  from pgflow.task_attempts t
  where t.run_id = r.run_id and t.step_slug = o.failed_step and t.task_index = o.task_index
) a on true
"""
_TASKS = """
select t.run_id, t.step_slug, t.task_index, t.status, t.attempts_count, t.output, t.completed_at,
  coalesce(s.opt_max_attempts, f.opt_max_attempts) as "limit", w.function_name as worker
from pgflow.step_tasks t
join pgflow.runs r on r.run_id = t.run_id
join pgflow.flows f on f.flow_slug = t.flow_slug
join pgflow.steps s on s.flow_slug = t.flow_slug and s.flow_version = r.flow_version and s.step_slug = t.step_slug
left join pgflow.workers w on w.worker_id = t.last_worker_id
"""
_STEPS = """
select st.run_id, st.step_slug, st.status, st.remaining_tasks, st.initial_tasks, st.remaining_deps, st.output,
  s.step_type = 'map' as is_map
from pgflow.step_states st
join pgflow.steps s on s.flow_slug = st.flow_slug and s.flow_version = st.flow_version and s.step_slug = st.step_slug
"""
_VIOLATIONS = "select violation, run_id, step_slug, task_index, detail from pgflow.check_invariants()"
_ATTEMPTS = """
select a.run_id, a.step_slug, a.task_index, a.outcome, w.function_name, a.ended_at
from pgflow.task_attempts a left join pgflow.workers w on w.worker_id = a.worker_id
"""


def read_records(conn: "psycopg.Connection[Any]") -> Records:
    """Read it all, at rest: nothing may be running any more."""
    tasks = conn.cursor(row_factory=class_row(Task)).execute(_TASKS).fetchall()
    steps = conn.cursor(row_factory=class_row(Step)).execute(_STEPS).fetchall()
    runs = conn.cursor(row_factory=class_row(Run)).execute(_RUNS).fetchall()
    starts = conn.cursor(row_factory=class_row(Start)).execute("select * from torture.starts").fetchall()
    rows = conn.cursor(row_factory=tuple_row)
    losses: dict[Key, list[tuple[str | None, datetime]]] = defaultdict(list)
    failures: dict[Key, int] = defaultdict(int)
    for run_id, step_slug, task_index, outcome, worker, ended_at in rows.execute(_ATTEMPTS):
        key = Key(run_id, step_slug, task_index)
        if outcome == "lost":
            losses[key].append((worker, ended_at))
        else:
            failures[key] += 1
    return Records(
        runs={run.run_id: run for run in runs},
        steps={(step.run_id, step.step_slug): step for step in steps},
        tasks={task.key: task for task in tasks},
        starts={start.token: start for start in starts},
        losses=losses,
        failures=failures,
        violations=_violations(conn),
    )


def inspect(dsn: str) -> list[str]:
    """Return what `check_invariants` finds at this moment, while everything goes on."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        return _violations(conn)


def _violations(conn: "psycopg.Connection[Any]") -> list[str]:
    found = conn.cursor(row_factory=tuple_row).execute(_VIOLATIONS).fetchall()
    return [" ".join(str(part) for part in row if part is not None) for row in found]


def judge(records: Records, wanted: Mapping[UUID, Wanted]) -> list[Claim]:
    """Judge every claim."""
    completed = [task for task in records.tasks.values() if task.status == "completed"]
    ended = [
        (run_id, plan)
        for run_id, plan in wanted.items()
        if plan.status is RunStatus.COMPLETED and run_id in records.runs and records.runs[run_id].status == "completed"
    ]
    return [
        _claim("no run was lost or started twice", len(wanted), _lost_runs(records, wanted)),
        _claim("every run ended as it should, none is stuck", len(wanted), _wrong_ends(records, wanted)),
        _claim("every output is right", len(ended), _wrong_outputs(records, ended)),
        _claim("no step ran again after it had completed", len(completed), _ran_again(records, completed, wanted)),
        _claim("only the current claim's result was taken", len(completed), _stale_results(records, completed)),
        _claim("every step saw what its dependencies kept", len(completed), _unseen(records, ended)),
        _claim("no task used more attempts than it may", len(records.tasks), _too_many_attempts(records, wanted)),
        _claim("nothing is left running, and every counter agrees", len(records.steps), _wrong_counters(records)),
        _claim("check_invariants() finds nothing", len(records.runs), records.violations),
    ]


def _claim(claim: str, checked: int, evidence: Iterable[str]) -> Claim:
    found = list(evidence)
    shown = found[:EVIDENCE_MAX]
    if len(found) > len(shown):
        shown.append(f"… and {len(found) - len(shown)} more")
    return Claim(claim=claim, checked=checked, evidence=tuple(shown))


def _lost_runs(records: Records, wanted: Mapping[UUID, Wanted]) -> Iterator[str]:
    for run_id, plan in wanted.items():
        if run_id not in records.runs:
            yield f"{run_id}: its start was acknowledged, and it is not there"
        elif records.runs[run_id].flow_slug != plan.flow_slug:
            yield f"{run_id}: is a run of {records.runs[run_id].flow_slug}, not of {plan.flow_slug}"
    for run_id in records.runs:
        if run_id not in wanted:
            yield f"{run_id}: nobody started it"


def _wrong_ends(records: Records, wanted: Mapping[UUID, Wanted]) -> Iterator[str]:
    for run_id, plan in wanted.items():
        run = records.runs.get(run_id)
        if run is not None and run.status != plan.status:
            yield f"{run_id}: {run.flow_slug} is {run.status}, not {plan.status} {run.why}"


def _values(output: Any) -> Any:
    """Return an output without the names of attempts."""
    if isinstance(output, list):
        return [_values(element) for element in output]
    return output["value"] if isinstance(output, dict) and "token" in output else output


def _marks(output: Any) -> list[dict[str, Any]]:
    if isinstance(output, list):
        return [mark for element in output for mark in _marks(element)]
    return [output] if isinstance(output, dict) and "token" in output else []


def _wrong_outputs(records: Records, ended: Sequence[tuple[UUID, Wanted]]) -> Iterator[str]:
    for run_id, plan in ended:
        for slug, value in expected(plan.flow_slug, plan.given).items():
            step = records.steps.get((run_id, slug))
            if step is None:
                yield f"{run_id} {slug}: there is no such step"
            elif value is None:
                if step.status != "skipped":
                    yield f"{run_id} {slug}: is {step.status}, not skipped"
            elif step.status != "completed" or _values(step.output) != value:
                yield f"{run_id} {slug}: is {step.status} with {_values(step.output)}, not completed with {value}"


def _ran_again(records: Records, completed: Sequence[Task], wanted: Mapping[UUID, Wanted]) -> Iterator[str]:
    starts: dict[Key, list[Start]] = defaultdict(list)
    for start in records.starts.values():
        starts[start.key].append(start)
    for task in completed:
        for start in starts[task.key]:
            if task.completed_at is None or start.started_at <= task.completed_at:
                continue
            if _did_not_know(records, task, start, wanted):
                records.late_starts += 1
                continue
            yield f"{task.key}: completed at {task.completed_at}, and started again at {start.started_at} by {start.worker}"


def _did_not_know(records: Records, task: Task, start: Start, wanted: Mapping[UUID, Wanted]) -> bool:
    # A worker that is frozen between its claim and the handler's start wakes up without a lease: it cannot know, and the
    # core refuses its result. A run that is cancelled and taken up again voids claims in the same way.
    lost = any(worker == start.worker and at <= start.started_at for worker, at in records.losses.get(task.key, ()))
    retried = task.run_id in wanted and wanted[task.run_id].retried
    return lost or (retried and start.worker != task.worker)


def _stale_results(records: Records, completed: Sequence[Task]) -> Iterator[str]:
    for task in completed:
        tokens = {mark["token"] for mark in _marks(task.output)}
        if not tokens:
            continue  # an empty list names nobody
        start = records.starts.get(UUID(tokens.pop())) if len(tokens) == 1 else None
        if start is None or start.key != task.key:
            yield f"{task.key}: its output is of no attempt in the journal"
        elif start.worker != task.worker or start.attempt != task.attempts_count:
            yield (
                f"{task.key}: its output is of attempt {start.attempt} in {start.worker}, but the last claim was attempt "
                f"{task.attempts_count} in {task.worker}"
            )


def _unseen(records: Records, ended: Sequence[tuple[UUID, Wanted]]) -> Iterator[str]:
    for run_id, plan in ended:
        marks = {
            slug: _marks(step.output)
            for slug in expected(plan.flow_slug, plan.given)
            if (step := records.steps.get((run_id, slug))) is not None
        }
        kept = {mark["token"] for found in marks.values() for mark in found}
        for slug, found in marks.items():
            if not {token for mark in found for token in mark["saw"]} <= kept:
                yield f"{run_id} {slug}: was made from an output that was replaced"


def _too_many_attempts(records: Records, wanted: Mapping[UUID, Wanted]) -> Iterator[str]:
    for task in records.tasks.values():
        if task.attempts_count > task.limit:
            yield f"{task.key}: {task.attempts_count} attempts of {task.limit}"
        retried = task.run_id in wanted and wanted[task.run_id].retried
        if (failed := records.failures.get(task.key, 0)) > task.limit and not retried:
            yield f"{task.key}: {failed} failed attempts of {task.limit}"
    for start in records.starts.values():
        if start.attempt > start.max_attempts:
            yield f"{start.key}: ran as attempt {start.attempt} of {start.max_attempts}"


def _wrong_counters(records: Records) -> Iterator[str]:
    open_tasks: dict[tuple[UUID, str], int] = defaultdict(int)
    all_tasks: dict[tuple[UUID, str], int] = defaultdict(int)
    for task in records.tasks.values():
        all_tasks[task.run_id, task.step_slug] += 1
        open_tasks[task.run_id, task.step_slug] += task.status in ("queued", "started")
    unfinished: dict[UUID, int] = defaultdict(int)
    for at, step in records.steps.items():
        is_open = step.status in ("created", "started")
        unfinished[step.run_id] += step.status not in ("completed", "skipped")
        if open_tasks[at] and not is_open:
            yield f"{step.run_id} {step.step_slug}: is {step.status} with {open_tasks[at]} open tasks"
        if step.status == "started" and step.remaining_tasks != open_tasks[at]:
            yield f"{step.run_id} {step.step_slug}: counts {step.remaining_tasks} open tasks of {open_tasks[at]}"
        if step.status == "completed" and all_tasks[at] != step.initial_tasks:
            yield f"{step.run_id} {step.step_slug}: has {all_tasks[at]} tasks of {step.initial_tasks}"
        if is_open and records.runs[step.run_id].status != "started":
            yield f"{step.run_id} {step.step_slug}: is {step.status} in a run that has ended"
    for run in records.runs.values():
        if run.status == "completed" and (run.remaining_steps or unfinished[run.run_id]):
            yield f"{run.run_id}: completed with {unfinished[run.run_id]} open steps, counting {run.remaining_steps}"
        if run.status == "started" and run.remaining_steps != unfinished[run.run_id]:
            yield f"{run.run_id}: counts {run.remaining_steps} open steps of {unfinished[run.run_id]}"
