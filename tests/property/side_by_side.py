"""The SQL core in the reference model's vocabulary, and the comparison of the two.

One example is one transaction that is rolled back: every example begins with an empty database, whatever the sweeps over
whole tables find is its own, and runs may have the ids 1, 2, 3.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.sql.engine import Engine, Row

from .reference_json import NOTHING, Json, same
from .reference_model import Backoff, Claim, Error, Model, Options, Run, State, Step, Task, Version

EPOCH = "timestamptz '2030-01-01 00:00:00+00'"

SNAPSHOT = f"""
select
  (select json_agg(json_build_array(
    r.run_id, r.status, r.output::text, r.remaining_steps, r.end_reason, r.retried_count,
    (extract(epoch from r.deadline_at - {EPOCH}) * 1000000)::bigint,
    num_nonnulls(r.completed_at, r.failed_at, r.cancelled_at) = 1 and case r.status
      when 'completed' then r.completed_at when 'failed' then r.failed_at when 'cancelled' then r.cancelled_at
    end is not null)) from pgflow.runs r) as runs,
  (select json_agg(json_build_array(
    st.run_id, st.step_slug, st.status, st.skip_reason, st.output::text, st.error_message, st.remaining_deps,
    st.initial_tasks, st.remaining_tasks,
    num_nonnulls(st.completed_at, st.failed_at, st.skipped_at, st.cancelled_at) = 1 and case st.status
      when 'completed' then st.completed_at when 'failed' then st.failed_at when 'skipped' then st.skipped_at
      when 'cancelled' then st.cancelled_at
    end is not null)) from pgflow.step_states st) as states,
  (select json_agg(json_build_array(
    t.run_id, t.step_slug, t.task_index, t.status, t.attempts_count, t.requeued_count, t.output::text, t.error_message,
    t.permanently_stalled_at is not null, case when t.status = 'started' then t.fence end,
    case when t.status = 'queued' then (extract(epoch from t.visible_at - {EPOCH}) * 1000000)::bigint end,
    num_nonnulls(t.completed_at, t.failed_at, t.skipped_at, t.cancelled_at) = 1 and case t.status
      when 'completed' then t.completed_at when 'failed' then t.failed_at when 'skipped' then t.skipped_at
      when 'cancelled' then t.cancelled_at
    end is not null)) from pgflow.step_tasks t) as tasks,
  (select json_agg(json_build_array(
    a.run_id, a.step_slug, a.task_index, a.attempt, a.outcome, a.error_class) order by a.attempt_id)
    from pgflow.task_attempts a) as attempts
"""
RUN_FIELDS = ("status", "output", "remaining_steps", "end_reason", "retried_count", "deadline_at", "has its end's time")
STATE_FIELDS = (
    *("status", "skip_reason", "output", "error_message", "remaining_deps", "initial_tasks", "remaining_tasks"),
    "has its end's time",
)
TASK_FIELDS = (
    *("status", "attempts_count", "requeued_count", "output", "error_message", "stalled for good", "fence", "due"),
    "has its end's time",
)
UNSPECIFIED = object()
Rows = dict[tuple[Any, ...], tuple[Any, ...]]


class Database(Engine):
    """The core's functions, called with the model's words."""

    def begin(self, now: int) -> None:
        self.conn.execute("begin")
        self.conn.execute("select setseed(0)")  # the same example has the same jitter and order of lanes each time
        self.set_now(now)

    def rollback(self) -> None:
        self.conn.execute("rollback")

    def set_now(self, now: int) -> None:
        self.conn.execute(
            f"select set_config('pgflow.now', ({EPOCH} + %s * interval '1 microsecond')::text, true)", (now,)
        )

    def refused(self, call: Callable[[], object]) -> str | None:
        """Make a call that will probably be refused, and say with which SQLSTATE."""
        self.conn.execute("savepoint before")
        try:
            call()
        except psycopg.Error as error:
            self.conn.execute("rollback to savepoint before")
            return error.sqlstate
        return None

    def define(self, version: Version, options: Options) -> None:
        self.conn.execute(
            """select pgflow.create_flow(
                 %s, %s, %s, %s, %s, priority => %s, version => %s, fingerprint => %s, output_step => %s, deadline => %s)""",
            (
                *(version.flow, options.max_attempts, options.base_delay, options.timeout, options.max_delay),
                *(options.priority, version.number, version.fingerprint, version.output_step, options.deadline),
            ),
        )
        for step in version.steps:
            self.conn.execute(
                """select pgflow.add_step(%s, %s, %s::text[], %s, %s, %s, %s, %s, %s, %s, %s, %s, map_over => %s,
                     max_delay => %s, retry_on => %s::text[], priority => %s, input_predicate => %s::jsonpath)""",
                (
                    *(version.flow, step.slug, list(step.deps), step.max_attempts, step.base_delay, step.timeout),
                    *(step.start_delay, "single" if step.map_over is None else "map"),
                    *(_jsonb(NOTHING if p is None else p) for p in (step.required, step.forbidden)),
                    *(step.when_unmet, step.when_exhausted, step.map_over, step.max_delay),
                    None if step.retry_on is None else list(step.retry_on),
                    step.priority,
                    None if step.predicate is None else str(step.predicate),
                ),
            )

    def set_options(self, flow: str, options: Options) -> None:
        self.conn.execute(
            "select pgflow.set_flow_options(%s, %s, %s, %s, %s, priority => %s, deadline => %s)",
            (
                *(flow, options.max_attempts, options.base_delay, options.timeout, options.max_delay),
                *(options.priority, options.deadline),
            ),
        )

    def start_runs(self, flow: str, inputs: Sequence[Json], run_ids: Sequence[int]) -> None:
        self.conn.execute(
            "select pgflow.start_flows(%s, %s::jsonb[], %s::uuid[])",
            (flow, [Jsonb(each) for each in inputs], [uuid.UUID(int=each) for each in run_ids]),
        )

    def register(self, worker: str, versions: Sequence[Version], lease_seconds: int) -> None:
        self.conn.execute(
            "select pgflow.register_worker(%s, %s, %s, lease_seconds => %s)",
            (worker_id(worker), [v.flow for v in versions], [v.fingerprint for v in versions], lease_seconds),
        )

    def claim_rows(self, worker: str, most: int) -> list[dict[str, Any]]:
        return self.rows(
            "select *, element::text as element_text from pgflow.claim_tasks(%s, %s)", worker_id(worker), most
        )

    def register_by_hand(self, worker: str) -> None:
        self.conn.execute("insert into pgflow.workers (worker_id) values (%s)", (worker_id(worker),))

    def read(self, flow: str, seconds: int, most: int) -> list[Row]:
        return self.rows("select * from pgflow.read_with_poll(%s, %s, %s, 0)", flow, seconds, most)

    def start_messages(self, flow: str, messages: Sequence[int], worker: str) -> list[Row]:
        return self.rows(
            "select *, input::text as input_text from pgflow.start_tasks(%s, %s::bigint[], %s) order by run_id, step_slug, task_index",
            *(flow, list(messages), worker_id(worker)),
        )

    def complete_and_claim(
        self, worker: str, most: int, results: Sequence[tuple[Claim, Json]]
    ) -> tuple[dict[Claim, str], list[dict[str, Any]]]:
        rows = self.rows(
            """select *, element::text as element_text
               from pgflow.complete_and_claim_tasks(%s, %s, %s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])""",
            *(worker_id(worker), most, *_keys([claim for claim, _ in results])),
            [_jsonb(output) for _, output in results],
        )
        refused = [{**row, "reason": row["refusal"]} for row in rows if row["refusal"] is not None]
        return _refusals(refused), [row for row in rows if row["refusal"] is None]

    def complete_claims(self, results: Sequence[tuple[Claim, Json]]) -> dict[Claim, str]:
        return _refusals(
            self.rows(
                "select * from pgflow.complete_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])",
                *_keys([claim for claim, _ in results]),
                [_jsonb(output) for _, output in results],
            )
        )

    def fail_claims(self, results: Sequence[tuple[Claim, Error]]) -> dict[Claim, str]:
        return _refusals(
            self.rows(
                "select * from pgflow.fail_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])",
                *_keys([claim for claim, _ in results]),
                [_error(error) for _, error in results],
            )
        )

    def release_claims(self, claims: Sequence[Claim]) -> dict[Claim, str]:
        return _refusals(
            self.rows(
                "select * from pgflow.release_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[])", *_keys(claims)
            )
        )

    def call(self, function: str) -> Any:
        (answer,) = self.conn.execute(f"select pgflow.{function}()").fetchone() or (None,)
        return answer

    def call_on_run(self, function: str, run_id: int, argument: str | None) -> None:
        self.conn.execute(f"select pgflow.{function}(%s, %s)", (uuid.UUID(int=run_id), argument))

    def call_transitions(self, run_id: int) -> None:
        self.conn.execute(
            """select pgflow.cascade_resolve_conditions(r.id), pgflow.cascade_complete_taskless_steps(r.id),
                 pgflow.start_ready_steps(r.id), pgflow.maybe_complete_run(r.id) from (select %s::uuid as id) r""",
            (uuid.UUID(int=run_id),),
        )

    def lost_claims(self, claims: Sequence[Claim]) -> dict[Claim, str]:
        return _refusals(
            self.rows(
                "select * from pgflow.lost_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[])", *_keys(claims)
            )
        )

    def broken_invariants(self) -> list[Row]:
        if self.value("select to_regprocedure('pgflow.check_invariants()')") is None:
            return []
        return self.rows("select * from pgflow.check_invariants()")

    def snapshot(self) -> tuple[Rows, Rows, Rows, dict[int, list[Any]]]:
        row = self.row(SNAPSHOT)
        runs = {(_run(r[0]),): (r[1], _value(r[2]), *r[3:]) for r in row["runs"] or ()}
        states = {(_run(r[0]), r[1]): (*r[2:4], _value(r[4]), *r[5:]) for r in row["states"] or ()}
        tasks = {(_run(r[0]), r[1], r[2]): (*r[3:6], _value(r[6]), *r[7:]) for r in row["tasks"] or ()}
        attempts: dict[int, list[Any]] = {}
        for run_id, *attempt in row["attempts"] or ():
            attempts.setdefault(_run(run_id), []).append(tuple(attempt))
        return runs, states, tasks, attempts


def worker_id(name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, name)


def claim_of(row: dict[str, Any]) -> Claim:
    return Claim(row["run_id"].int, row["step_slug"], row["task_index"], row["fence"])


def _run(text: str) -> int:
    return uuid.UUID(text).int


def _value(text: str | None) -> Json:
    return NOTHING if text is None else json.loads(text)


def _jsonb(value: Json) -> Jsonb | None:
    return None if value is NOTHING else Jsonb(value)


def _error(error: Error) -> Jsonb:
    told = {"class": error.classes[0], "classes": list(error.classes), "message": error.message}
    optional = {"retryable": None if error.retryable else False, "retry_after": error.retry_after}
    return Jsonb(told | {name: value for name, value in optional.items() if value is not None})


def _keys(claims: Sequence[Claim]) -> tuple[list[Any], ...]:
    return (
        [uuid.UUID(int=claim.run) for claim in claims],
        [claim.step for claim in claims],
        [claim.index for claim in claims],
        [claim.fence for claim in claims],
    )


def _refusals(rows: Iterable[dict[str, Any]]) -> dict[Claim, str]:
    return {claim_of(row): row["reason"] for row in rows}


# --- the comparison ---


def differences(model: Model, database: Database) -> list[str]:
    """Where the two do not agree, a line each. The model learns the due times that the database chose."""
    runs, states, tasks, attempts = database.snapshot()
    _learn_due_times(model, tasks)
    return [
        *_compare("run", RUN_FIELDS, {(i,): _expected_run(run) for i, run in model.runs.items()}, runs),
        *_compare("step", STATE_FIELDS, _expected_states(model), states),
        *_compare("task", TASK_FIELDS, _expected_tasks(model), tasks),
        *(
            f"run {i}: attempts are {attempts.get(i, [])}, should be {sorted(run.attempts)}"
            for i, run in model.runs.items()
            if sorted(attempts.get(i, [])) != sorted(run.attempts)
        ),
    ]


def _learn_due_times(model: Model, tasks: Rows) -> None:
    """Take over when the database made a backoff end, and that it made due tasks ready, if it was allowed to."""
    for (run_id, slug, index), row in tasks.items():
        state = model.runs[run_id].states[slug] if run_id in model.runs else State()
        task = state.tasks[index] if index < len(state.tasks) else None
        if task is None or task.status != "queued" or task.due is None:
            continue
        due = row[TASK_FIELDS.index("due")]
        if due is None and model.is_ready(task):
            model.make_ready(task)
        elif isinstance(task.due, Backoff) and due is not None and task.due.earliest <= due <= task.due.latest + 1:
            task.due = due


def _expected_run(run: Run) -> tuple[Any, ...]:
    counted = run.remaining_steps() if run.status in ("started", "completed") else UNSPECIFIED
    ended = run.status != "started"
    return run.status, run.output, counted, run.end_reason, run.retried, run.deadline_at, ended


def _expected_states(model: Model) -> Rows:
    return {
        (run_id, step.slug): _expected_state(run, step, run.states[step.slug])
        for run_id, run in model.runs.items()
        for step in run.version.steps
    }


def _expected_state(run: Run, step: Step, state: State) -> tuple[Any, ...]:
    missing_deps: object = UNSPECIFIED
    initial: object = UNSPECIFIED
    remaining: object = UNSPECIFIED
    if state.status in ("created", "started", "completed"):
        missing_deps = run.missing_deps(step)
        initial = 1
        if step.map_over is not None:
            elements = run.elements(step)
            initial = None if elements is None else len(elements)
    if state.status in ("created", "skipped"):
        remaining = None
    elif state.status in ("started", "completed"):
        remaining = sum(task.status != "completed" for task in state.tasks)
    ended = state.status not in ("created", "started")
    return state.status, state.skip_reason, state.output, state.error, missing_deps, initial, remaining, ended


def _expected_tasks(model: Model) -> Rows:
    return {
        (run_id, slug, i): _expected_task(task)
        for run_id, run in model.runs.items()
        for slug, state in run.states.items()
        for i, task in enumerate(state.tasks)
    }


def _expected_task(task: Task) -> tuple[Any, ...]:
    fence = task.fence if task.status == "started" else None
    ended = task.status not in ("queued", "started")
    return (
        *(task.status, task.attempts, task.requeued, task.output, task.error, task.stalled_for_good, fence, task.due),
        ended,
    )


def _compare(what: str, fields: Sequence[str], expected: Rows, actual: Rows) -> list[str]:
    found = []
    for key in sorted(expected.keys() | actual.keys()):
        name = f"{what} {'/'.join(map(str, key))}"
        if key not in actual or key not in expected:
            found.append(f"{name}: {'is there, should not be' if key in actual else 'is missing'}")
            continue
        found += [
            f"{name}: {field} is {is_!r}, should be {should!r}"
            for field, is_, should in zip(fields, actual[key], expected[key], strict=True)
            if not _agree(is_, should)
        ]
    return found


def _agree(actual: object, expected: object) -> bool:
    if expected is UNSPECIFIED:
        return True
    if isinstance(expected, str) and expected.endswith("…"):
        return isinstance(actual, str) and actual.startswith(expected[:-1])
    if isinstance(expected, Backoff):
        return False
    return same(actual, expected)
