"""What the SQL core has to do, in the most obvious Python: the other side of every comparison in test_engine_model.py.

Written from the contract and the core's README, not from its SQL: one thing after the other, nothing kept that can be
worked out (a run's remaining steps are counted each time). Time is a number of microseconds. Where the database may
choose (which ready tasks a claim takes, how long a backoff is within its jitter), the model is told the choice and
raises `Forbidden` when it was not allowed to choose that.

An operation has two halves. First it changes tasks: it takes results, or takes tasks away from lost workers. Then the
runs carry on (`_carry_on`), round by round, until nothing follows by itself any more.

Refusals of whole calls are `Refused`, refusals of single results are returned as (claim, reason).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from .reference_json import NOTHING, Json, MoreThan, contains, same

Mode = Literal["fail", "skip", "skip-cascade"]
SECOND = 1_000_000
STALL_GRACE = 30 * SECOND
TYPE_VIOLATION = "[TYPE_VIOLATION]…"  # a trailing … stands for whatever the core adds
Key = tuple[int, str, int]  # run, step, index of the task
Lane = tuple[int, str, int]  # priority (negative, so that the highest comes first), flow, version
OPEN = ("created", "started")
DONE = ("completed", "skipped")


class Refused(Exception):  # noqa: N818 - it is no error of the model's
    """The core refuses the call with this SQLSTATE."""


class Forbidden(AssertionError):  # noqa: N818 - it is no error, but a verdict
    """The database chose what it may not choose."""


class _Terse:
    """Shows the fields that are not as usual: a failing example has to be readable."""

    def __repr__(self) -> str:
        told = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type] # subclasses are dataclasses
        usual = {f.name: f.default for f in fields(self)}  # type: ignore[arg-type] # as above
        shown = ", ".join(f"{name}={value!r}" for name, value in told.items() if value != usual[name])
        return f"{type(self).__name__}({shown})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Step(_Terse):
    """A step; options that are None are the flow's."""

    slug: str
    deps: tuple[str, ...] = ()
    map_over: str | None = None  # a dependency, or "run"; None for a single step
    required: Json = None
    forbidden: Json = None
    predicate: MoreThan | None = None
    when_unmet: Mode = "skip"
    when_exhausted: Mode = "fail"
    max_attempts: int | None = None
    base_delay: int | None = None
    max_delay: int | None = None
    timeout: int | None = None
    start_delay: int | None = None
    priority: int | None = None
    retry_on: tuple[str, ...] | None = None

    @property
    def is_conditional(self) -> bool:
        return any(condition is not None for condition in (self.required, self.forbidden, self.predicate))


@dataclass(frozen=True, repr=False)
class Version(_Terse):
    """One shape of a flow: its steps come after the steps they depend on."""

    flow: str
    number: int
    steps: tuple[Step, ...]
    output_step: str | None = None

    @property
    def fingerprint(self) -> str:
        return f"{self.flow}-{self.number}"

    def dependents(self, slug: str) -> list[str]:
        return [step.slug for step in self.steps if slug in step.deps]

    def downstream(self, slug: str) -> set[str]:
        """All transitive dependents."""
        found: set[str] = set()
        for step in self.steps:
            if slug in step.deps or found & set(step.deps):
                found.add(step.slug)
        return found


@dataclass(frozen=True, repr=False)
class Options(_Terse):
    """A flow's options, in seconds."""

    max_attempts: int = 3
    base_delay: int = 0
    max_delay: int = 3600
    timeout: int = 60
    priority: int = 0
    deadline: int | None = None


@dataclass
class Flow:
    options: Options
    versions: list[Version] = field(default_factory=list)
    steps: dict[tuple[int, str], Step] = field(default_factory=dict)  # as their options are now


@dataclass(frozen=True)
class Claim:
    """A task in a worker's hands, and the number of the claim that put it there."""

    run: int
    step: str
    index: int
    fence: int


@dataclass(frozen=True, repr=False)
class Error(_Terse):
    message: str
    classes: tuple[str, ...] = ("ValueError",)
    retryable: bool = True
    retry_after: int | None = None


@dataclass(frozen=True)
class Backoff:
    """Due between these two; which of them, the database chooses."""

    earliest: int
    latest: int


@dataclass
class Task:
    priority: int
    ready_since: int  # number of the operation in which it became ready
    status: str = "queued"
    element: Json = NOTHING
    attempts: int = 0
    requeued: int = 0
    stalled_for_good: bool = False
    output: Json = NOTHING
    error: str | None = None
    due: int | Backoff | None = None  # None: ready
    fence: int = 0
    worker: str | None = None
    started_at: int = 0
    message: int | None = None  # the number under which it was read, until it becomes ready under a fresh one
    reads: int = 0


@dataclass
class State:
    """Where a step of a run stands."""

    status: str = "created"
    skip_reason: str | None = None
    output: Json = NOTHING
    error: str | None = None
    tasks: list[Task] = field(default_factory=list)


@dataclass
class Run:
    version: Version
    input: Json
    deadline_at: int | None
    status: str = "started"
    output: Json = NOTHING
    end_reason: str | None = None
    retried: int = 0
    states: dict[str, State] = field(default_factory=dict)
    attempts: list[tuple[str, int, int, str, str]] = field(default_factory=list)
    """What went wrong: step, task index, attempt, outcome, class of the error."""

    def is_done(self, slug: str) -> bool:
        return self.states[slug].status in DONE

    def remaining_steps(self) -> int:
        return sum(not self.is_done(slug) for slug in self.states)

    def missing_deps(self, step: Step) -> int:
        return sum(not self.is_done(dep) for dep in step.deps)

    def ready_steps(self) -> list[Step]:
        """The steps that wait for nothing but their own beginning."""
        return [
            step
            for step in self.version.steps
            if self.states[step.slug].status == "created" and self.missing_deps(step) == 0
        ]

    def skips_what_depends_on(self, slug: str) -> bool:
        """Was the step skipped by a cascade, or as its origin?"""
        (step,) = (step for step in self.version.steps if step.slug == slug)
        modes = {"condition_unmet": step.when_unmet, "handler_failed": step.when_exhausted}
        reason = self.states[slug].skip_reason
        return reason is not None and modes.get(reason, "skip-cascade") == "skip-cascade"

    def dep_outputs(self, step: Step) -> dict[str, Json]:
        """The outputs of the completed dependencies; SQL NULL becomes null inside of JSON."""
        return {
            dep: None if self.states[dep].output is NOTHING else self.states[dep].output
            for dep in step.deps
            if self.states[dep].status == "completed"
        }

    def elements(self, step: Step) -> list[Json] | None:
        """What a map runs over, or None as long as that is not known. A skipped dependency counts as []."""
        if step.map_over == "run":
            return list(self.input)
        assert step.map_over is not None
        source = self.states[step.map_over]
        if source.status == "skipped":
            return []
        return list(source.output) if source.status == "completed" else None

    def condition_is_met(self, step: Step) -> bool:
        judged = {"run": self.input, **self.dep_outputs(step)} if step.deps else self.input
        return (
            (step.required is None or contains(judged, step.required))
            and (step.forbidden is None or not contains(judged, step.forbidden))
            and (step.predicate is None or step.predicate.holds(judged))
        )


@dataclass
class Worker:
    shapes: frozenset[str]  # fingerprints of the versions it serves
    lease: int | None
    beat_at: int
    stopped: bool = False
    isolating: bool = False  # it holds a suspect, and nothing else


class Model:
    """The engine. Every public method is one call of the core."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.operation = 0
        self.flows: dict[str, Flow] = {}
        self.runs: dict[int, Run] = {}
        self.workers: dict[str, Worker] = {}

    # --- definitions ---

    def define(self, version: Version, options: Options) -> None:
        flow = self.flows.setdefault(version.flow, Flow(options))
        flow.versions.append(version)
        flow.steps |= {(version.number, step.slug): step for step in version.steps}

    def set_options(self, flow: str, options: Options) -> None:
        """From now on; where a started run stands does not change."""
        self.flows[flow].options = options

    def options_of(self, run: Run, slug: str) -> Step:
        """The step with all of its options, as they are now."""
        flow = self.flows[run.version.flow]
        step = flow.steps[run.version.number, slug]
        inherited = ("max_attempts", "base_delay", "max_delay", "timeout", "priority")
        return replace(step, **{n: getattr(flow.options, n) for n in inherited if getattr(step, n) is None})

    # --- starting ---

    def start(self, flow: str, inputs: Sequence[Json], run_ids: Sequence[int]) -> None:
        """One run per input, or none; a run id that is there already starts nothing."""
        options, version = self.flows[flow].options, self.flows[flow].versions[-1]
        if any(step.map_over == "run" for step in version.steps) and any(type(i) is not list for i in inputs):
            raise Refused("PF422")
        for run_id, value in zip(run_ids, inputs, strict=True):
            known = self.runs.get(run_id)
            if known and (known.version.flow != flow or not same(known.input, value)):
                raise Refused("PF410")
        for run_id, value in zip(run_ids, inputs, strict=True):
            if run_id not in self.runs:
                run = Run(version, value, self._deadline(options))
                run.states = {step.slug: State() for step in version.steps}
                self.runs[run_id] = run
                self._carry_on(run)

    def _deadline(self, options: Options) -> int | None:
        return None if options.deadline is None else self.now + options.deadline * SECOND

    # --- workers ---

    def register(self, worker: str, shapes: Iterable[str], lease_seconds: int | None) -> None:
        self.workers[worker] = Worker(
            frozenset(shapes), None if lease_seconds is None else lease_seconds * SECOND, self.now
        )

    def heartbeat(self, worker: str) -> None:
        if self.workers[worker].stopped:
            raise Refused("PF412")
        self.workers[worker].beat_at = self.now

    def stop(self, worker: str) -> None:
        self.workers[worker].stopped = True

    def has_lost_its_lease(self, worker: Worker) -> bool:
        return worker.stopped or (worker.lease is not None and worker.beat_at + worker.lease < self.now)

    def held(self, worker: str) -> list[tuple[Claim, Task]]:
        return [
            (Claim(run_id, slug, i, task.fence), task)
            for run_id, slug, i, task in self._tasks()
            if task.status == "started" and task.worker == worker
        ]

    def _tasks(self) -> Iterator[tuple[int, str, int, Task]]:
        for run_id, run in self.runs.items():
            for slug, state in run.states.items():
                for i, task in enumerate(state.tasks):
                    yield run_id, slug, i, task

    # --- claiming ---

    def is_ready(self, task: Task) -> bool:
        due = task.due.latest if isinstance(task.due, Backoff) else task.due
        return task.status == "queued" and (due is None or due <= self.now)

    def claim(self, worker_id: str, most: int, taken: Sequence[Claim]) -> None:
        """Lease the tasks that the database took to the worker, if it was right to take them."""
        worker = self.workers[worker_id]
        if most <= 0:
            _demand(not taken, "claimed, though nothing was asked for")
            return
        if worker.stopped:
            raise Refused("PF412")
        self._check_choice(worker_id, most, [(c.run, c.step, c.index) for c in taken])
        for claim in taken:
            task = self.runs[claim.run].states[claim.step].tasks[claim.index]
            worker.isolating = worker.isolating or self._is_suspect(task)
            self._begin_attempt(task, worker_id, claim.fence)

    def _begin_attempt(self, task: Task, worker_id: str, fence: int) -> None:
        task.status, task.due, task.worker = "started", None, worker_id
        task.fence, task.started_at = fence, self.now
        task.attempts += 1

    def _is_suspect(self, task: Task) -> bool:
        return task.requeued >= 2

    def _check_choice(self, worker_id: str, most: int, keys: list[tuple[int, str, int]]) -> None:
        """As many as there are, by priority, within a lane who was ready first; suspects alone, and before all others.

        While suspects wait, the database may let a busy worker run empty for them, or let it go on.
        """
        worker = self.workers[worker_id]
        held = [task for _, task in self.held(worker_id)]
        holds_suspect = any(map(self._is_suspect, held))
        worker.isolating = worker.isolating and holds_suspect
        ready = [
            (run_id, slug, i, task)
            for run_id, slug, i, task in self._tasks()
            if self.runs[run_id].version.fingerprint in worker.shapes
            and self.is_ready(task)
            # a suspect that becomes ready in this very claim is for the next one: others may be taken already
            and (task.due is None or not self._is_suspect(task))
        ]
        if self.has_lost_its_lease(worker) or worker.isolating:
            ready = []
        suspects = self._lanes(each for each in ready if self._is_suspect(each[3]))
        others = self._lanes(each for each in ready if not self._is_suspect(each[3]))
        if suspects and not held:
            allowed, most = suspects, 1
        else:
            allowed = others
        there = {key for tasks in allowed.values() for key in tasks}
        _demand(len(set(keys)) == len(keys), "a task was claimed twice in one call")
        _demand(set(keys) <= there, f"not for this worker at this moment: {set(keys) - there}")
        if keys or not (held and (suspects or holds_suspect)):
            _demand(len(keys) == min(most, len(there)), f"{len(keys)} claimed of {len(there)}, asked for {most}")
            self._check_order(allowed, keys)

    def _lanes(self, ready: Iterable[tuple[int, str, int, Task]]) -> dict[Lane, dict[Key, Task]]:
        lanes: dict[Lane, dict[Key, Task]] = {}
        for run_id, slug, i, task in ready:
            version = self.runs[run_id].version
            lanes.setdefault((-task.priority, version.flow, version.number), {})[run_id, slug, i] = task
        return lanes

    def _check_order(self, lanes: dict[Lane, dict[Key, Task]], keys: Sequence[Key]) -> None:
        """Higher priorities first; within a lane first who was ready first."""
        last = max((lane[0] for lane, tasks in lanes.items() for key in tasks if key in keys), default=0)
        for lane, tasks in lanes.items():
            left = [self._ready_since(task) for key, task in tasks.items() if key not in keys]
            _demand(lane[0] >= last or not left, "a higher priority waits")
            newest = max((self._ready_since(task) for key, task in tasks.items() if key in keys), default=0)
            _demand(all(newest <= since for since in left), "an older task of the lane waits")

    def _ready_since(self, task: Task) -> int:
        return task.ready_since if task.due is None else self.operation

    def input_of(self, claim: Claim) -> Json:
        """What every task of the step is given: the run's input and the outputs of the dependencies it has."""
        run = self.runs[claim.run]
        step = self.options_of(run, claim.step)
        given = {dep: output for dep, output in run.dep_outputs(step).items() if dep != step.map_over}
        return given if step.map_over == "run" else {"run": run.input, **given}

    # --- the road in two phases, for foreign workers ---

    def read(self, flow: str, seconds: int, most: int, taken: dict[Key, int]) -> None:
        """Reserve ready tasks for some time. Told are the tasks that the database chose, and their message numbers."""
        ready = [
            (run_id, slug, i, task)
            for run_id, slug, i, task in self._tasks()
            if self.runs[run_id].version.flow == flow and self.is_ready(task)
        ]
        lanes = self._lanes(ready)
        _demand(set(taken) <= {key for tasks in lanes.values() for key in tasks}, "what was read was not ready")
        _demand(len(taken) == min(most, len(ready)), f"{len(taken)} read of {len(ready)} ready, asked for {most}")
        self._check_order(lanes, list(taken))
        for (run_id, slug, i), message in taken.items():
            task = self.runs[run_id].states[slug].tasks[i]
            if task.due is not None:
                self.make_ready(task)
            task.message, task.due = message, self.now + seconds * SECOND if seconds else None
            task.reads += 1

    def start_tasks(self, flow: str, messages: Sequence[int], worker_id: str, fence: int) -> list[Claim]:
        """Begin what was read: each message once, as long as nobody made its task ready anew."""
        worker = self.workers[worker_id]
        if worker.stopped:
            raise Refused("PF412")
        claims = []
        for run_id, slug, i, task in self._tasks() if not self.has_lost_its_lease(worker) else ():
            if task.status == "queued" and task.message in messages and self.runs[run_id].version.flow == flow:
                self._begin_attempt(task, worker_id, fence)
                claims.append(Claim(run_id, slug, i, fence))
        return claims

    def promote_due_tasks(self) -> int:
        due = [task for *_, task in self._tasks() if task.due is not None and self.is_ready(task)]
        for task in due:
            self.make_ready(task)
        return len(due)

    def make_ready(self, task: Task) -> None:
        """At the end of the line, under a fresh message number."""
        task.due, task.message, task.ready_since = None, None, self.operation

    # --- handing in ---

    def _find(self, claim: Claim) -> Task | None:
        state = self.runs[claim.run].states[claim.step]
        return state.tasks[claim.index] if claim.index < len(state.tasks) else None

    def _taken(self, claims: Iterable[Claim]) -> list[tuple[Claim, Task]]:
        """Those that are current; the same one twice counts once."""
        found = ((claim, self._find(claim)) for claim in dict.fromkeys(claims))
        return [
            (claim, task) for claim, task in found if task and (task.status, task.fence) == ("started", claim.fence)
        ]

    def _refusals(self, claims: Iterable[Claim], statuses: Sequence[str]) -> dict[Claim, str]:
        """Why results are not taken. One that was taken before, and is handed in again, is not refused.

        To be asked before anything changes.
        """
        refusals = {}
        for claim in claims:
            task = self._find(claim)
            if not (task and task.fence == claim.fence and _outcome(task) in ("started", *statuses)):
                refusals[claim] = "lease_lost" if self.runs[claim.run].status == "started" else "run_ended"
        return refusals

    def complete(self, results: Sequence[tuple[Claim, Json]]) -> dict[Claim, str]:
        outputs = dict(results)
        refusals = self._refusals(outputs, ("completed", "violated"))
        taken = self._taken(outputs)
        for claim, task in taken:
            task.status, task.output = "completed", outputs[claim]
        for run_id in dict.fromkeys(claim.run for claim, _ in taken):
            run = self.runs[run_id]
            for slug in dict.fromkeys(claim.step for claim, _ in taken if claim.run == run_id):
                self._finish_step(run, slug)
            self._carry_on(run)
        return refusals

    def _finish_step(self, run: Run, slug: str) -> None:
        """Complete the step if that was its last task."""
        state, step = run.states[slug], self.options_of(run, slug)
        if not all(task.status == "completed" for task in state.tasks):
            return
        if step.map_over is not None:
            state.status = "completed"
            state.output = [None if task.output is NOTHING else task.output for task in state.tasks]
        elif type(state.tasks[0].output) is not list and any(s.map_over == slug for s in run.version.steps):
            (task,) = state.tasks
            task.status = state.status = "failed"
            task.error = state.error = TYPE_VIOLATION
            run.attempts.append((slug, 0, task.attempts, "failed", "TypeViolation"))
        else:
            state.status, state.output = "completed", state.tasks[0].output

    def fail(self, results: Sequence[tuple[Claim, Error]]) -> dict[Claim, str]:
        errors = dict(results)
        refusals = self._refusals(errors, ("queued", "failed"))
        taken = self._taken(errors)
        for claim, task in taken:
            error, run = errors[claim], self.runs[claim.run]
            step = self.options_of(run, claim.step)
            assert step.max_attempts is not None
            task.error = error.message
            run.attempts.append((claim.step, claim.index, task.attempts, "failed", error.classes[0]))
            worth_it = step.retry_on is None or bool(set(step.retry_on) & set(error.classes))
            if error.retryable and worth_it and task.attempts < step.max_attempts:
                task.status, task.due = "queued", self._backoff(step, task, error)
                task.priority = step.priority or 0
            else:
                task.status = "failed"
        self._exhaust([claim for claim, task in taken if task.status == "failed"])
        return refusals

    def _backoff(self, step: Step, task: Task, error: Error) -> int | Backoff:
        if error.retry_after is not None:
            return self.now + error.retry_after * SECOND
        assert step.base_delay is not None
        assert step.max_delay is not None
        delay = min(step.base_delay * 2**task.attempts, max(step.max_delay, step.base_delay)) * SECOND
        return Backoff(self.now + delay, self.now + delay + delay // 10)

    def is_superseded(self, claim: Claim) -> bool:
        """Is the task in somebody else's hands by now?"""
        task = self._find(claim)
        return task is not None and task.status == "started" and task.fence != claim.fence

    def lost(self, claims: Sequence[Claim]) -> dict[Claim, str]:
        """Which of these are not current any more, and why."""
        return self._refusals(claims, ())

    def release(self, claims: Sequence[Claim]) -> dict[Claim, str]:
        refusals = self._refusals(claims, ())
        for claim, task in self._taken(claims):
            self._give_back(claim, task)
        return refusals

    def _give_back(self, claim: Claim, task: Task) -> None:
        """Queue the task again, ready at once and without an attempt used."""
        task.status, task.fence = "queued", 0
        task.attempts -= 1
        self.make_ready(task)
        task.priority = self.options_of(self.runs[claim.run], claim.step).priority or 0

    # --- tasks that were lost ---

    def recover(self) -> int:
        """Take back what lost workers hold. The third loss is the task's own doing."""
        lost = [
            held for name, worker in self.workers.items() if self.has_lost_its_lease(worker) for held in self.held(name)
        ]
        self._take_back(lost, most=2, error_class="LeaseLost", message="lost…")
        return len(lost)

    def requeue_stalled(self) -> int:
        """Take back what was started longer ago than its timeout and half a minute. The fourth time is once too often."""
        stalled = [
            (claim, task)
            for name in self.workers
            for claim, task in self.held(name)
            if task.started_at + (self.options_of(self.runs[claim.run], claim.step).timeout or 0) * SECOND + STALL_GRACE
            < self.now
        ]
        self._take_back(stalled, most=3, error_class="Stalled", message="stalled…")
        return len(stalled)

    def _take_back(self, lost: list[tuple[Claim, Task]], most: int, error_class: str, message: str) -> None:
        exhausted = []
        for claim, task in lost:
            self.runs[claim.run].attempts.append((claim.step, claim.index, task.attempts, "lost", error_class))
            task.requeued += 1
            if task.requeued <= most:
                self._give_back(claim, task)
            else:
                task.status, task.fence, task.stalled_for_good, task.error = "failed", 0, True, message
                exhausted.append(claim)
        self._exhaust(exhausted)

    def _exhaust(self, claims: Sequence[Claim]) -> None:
        """What follows from tasks that have failed for good. A run that fails skips nothing any more."""
        for run_id in dict.fromkeys(claim.run for claim in claims):
            run = self.runs[run_id]
            steps = {claim.step: self.options_of(run, claim.step) for claim in claims if claim.run == run_id}
            fails = any(step.when_exhausted == "fail" for step in steps.values())
            for slug, step in steps.items():
                state = run.states[slug]
                error = next(
                    t.error
                    for c in sorted(claims, key=lambda c: c.index)
                    if c.run == run_id and c.step == slug
                    for t in [state.tasks[c.index]]
                )
                if step.when_exhausted == "fail":
                    state.status, state.error = "failed", error
                elif not fails:
                    state.error = error
                    self._skip(run, slug, "handler_failed", cascade=step.when_exhausted == "skip-cascade")
            self._carry_on(run)

    # --- what follows by itself ---

    def _carry_on(self, run: Run, to_judge: Sequence[Step] = ()) -> None:
        """Judge and begin what is ready, and what becomes ready by that, until only tasks can get on.

        A round judges the conditions of the steps that became ready in the round before, and begins those that passed
        together with the newly ready ones that have none. Who comes first matters in runs that fail by a condition:
        a retry keeps what was done before.
        """
        while run.status == "started":
            passed = self._judge(run, to_judge)
            if any(state.status == "failed" for state in run.states.values()):
                self._end(run, "failed")
            elif run.remaining_steps() == 0:
                run.status, run.output, run.deadline_at = "completed", self._output(run), None
            else:
                ready = [step for step in run.ready_steps() if step not in passed]
                if not ready and not passed:
                    return
                for step in [*passed, *(step for step in ready if not step.is_conditional)]:
                    self._begin(run, step)
                to_judge = [step for step in ready if step.is_conditional]

    def _judge(self, run: Run, steps: Sequence[Step]) -> list[Step]:
        """Skip or fail those of the steps whose condition is unmet; the others have passed. Failing comes first."""
        unmet = [step for step in steps if not run.condition_is_met(step)]
        failing = [step for step in unmet if step.when_unmet == "fail"]
        for step in failing:
            run.states[step.slug].status, run.states[step.slug].error = "failed", "Condition not met"
            run.attempts.append((step.slug, 0, 0, "failed", "ConditionNotMet"))
        for step in unmet if not failing else ():
            self._skip(run, step.slug, "condition_unmet", cascade=step.when_unmet == "skip-cascade")
        return [step for step in steps if step not in unmet]

    def _begin(self, run: Run, step: Step) -> None:
        """Give the step its tasks; a map that runs over nothing is complete."""
        state, options = run.states[step.slug], self.options_of(run, step.slug)
        elements = [NOTHING] if step.map_over is None else run.elements(step)
        assert elements is not None
        due = self.now + options.start_delay * SECOND if options.start_delay else None
        state.status = "started"
        state.tasks = [Task(options.priority or 0, self.operation, element=each, due=due) for each in elements]
        if not elements:
            state.status, state.output = "completed", []

    def _skip(self, run: Run, slug: str, reason: str, *, cascade: bool) -> None:
        reasons = {slug: reason}
        if cascade:
            reasons |= dict.fromkeys(run.version.downstream(slug), "dependency_skipped")
        for each, why in reasons.items():
            state = run.states[each]
            if state.status in OPEN:
                state.status, state.skip_reason = "skipped", why
                for task in state.tasks:
                    if task.status in ("queued", "started"):
                        task.status, task.due = "skipped", None

    def _end(self, run: Run, status: str, reason: str | None = None) -> None:
        """End the run with everything that is open in it."""
        run.status, run.end_reason, run.deadline_at = status, reason, None
        for state in run.states.values():
            if state.status in OPEN:
                state.status = "cancelled"
            for task in state.tasks:
                if task.status in ("queued", "started"):
                    task.status, task.due = "cancelled", None

    def _output(self, run: Run) -> Json:
        if run.version.output_step is not None:
            return run.states[run.version.output_step].output
        leaves = [step.slug for step in run.version.steps if not run.version.dependents(step.slug)]
        outputs = {leaf: run.states[leaf].output for leaf in leaves if run.states[leaf].status == "completed"}
        return {leaf: None if output is NOTHING else output for leaf, output in outputs.items()} or NOTHING

    # --- ending and retrying runs ---

    def cancel(self, run_id: int, reason: str | None) -> None:
        run = self.runs[run_id]
        if run.status == "started":
            self._end(run, "cancelled", reason)

    def enforce_deadlines(self) -> int:
        overdue = [run for run in self.runs.values() if run.deadline_at is not None and run.deadline_at <= self.now]
        for run in overdue:
            self._end(run, "failed", "deadline of…")
        return len(overdue)

    def retry(self, run_id: int, from_step: str | None) -> None:
        """Take an ended run up again: where it broke, or from a step on with all that depends on it."""
        run = self.runs[run_id]
        if run.status == "started" or (run.status == "completed" and from_step is None):
            raise Refused("PF415")
        if from_step is not None and from_step not in run.states:
            raise Refused("PF407")
        again = {from_step, *run.version.downstream(from_step)} if from_step is not None else set()
        for slug, state in run.states.items():
            if slug in again or (state.status in ("failed", "cancelled") and not state.tasks):
                run.states[slug] = State()
            elif state.status in ("failed", "cancelled"):
                state.status, state.error = "started", None
                priority = self.options_of(run, slug).priority or 0
                state.tasks = [
                    task
                    if task.status == "completed"
                    else Task(priority, self.operation, element=task.element, reads=task.reads)
                    for task in state.tasks
                ]
        run.status, run.output, run.end_reason = "started", NOTHING, None
        run.retried += 1
        run.deadline_at = self._deadline(self.flows[run.version.flow].options)
        for step in run.version.steps:
            if run.states[step.slug].status == "created" and any(run.skips_what_depends_on(dep) for dep in step.deps):
                self._skip(run, step.slug, "dependency_skipped", cascade=True)
        self._carry_on(run, to_judge=run.ready_steps())


def _outcome(task: Task) -> str:
    """The task's status, and "violated" if it failed for an output that was taken."""
    is_violated = task.error == TYPE_VIOLATION and task.status == "failed"
    return "violated" if is_violated else task.status


def _demand(is_right: bool, problem: str) -> None:
    if not is_right:
        raise Forbidden(problem)
