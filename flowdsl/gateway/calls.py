"""The only Python that speaks SQL: one typed function for each function of the core.

Every call takes the caller's connection first, whatever its row factory and commit mode, never commits or rolls back,
and raises this package's errors (`gateway.errors.translated`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb, JsonbBinaryLoader

from flowdsl.core.manifest import SCHEMA_VERSION
from flowdsl.errors import ConfigError, CoreVersionMismatch
from flowdsl.gateway.arrays import Int4Array, Int8Array, JsonbArray, TextArray, UuidArray
from flowdsl.gateway.errors import translated
from flowdsl.gateway.rows import (
    ClaimedTask,
    Completed,
    Explanation,
    Failed,
    FlowRow,
    Heartbeat,
    OpenRuns,
    Refusal,
    RunFailure,
    RunHead,
    RunOutcome,
    RunRow,
    SweepName,
    TaskRef,
)
from flowdsl.types import FlowSlug, JsonValue, RunId, RunStatus, StepStatus

Row = tuple[Any, ...]
Connection = AsyncConnection[Any]


class _JsonBytesLoader(JsonbBinaryLoader):
    """Keeps jsonb as JSON bytes: pydantic parses them later, once, with the type at hand."""

    def load(self, data: psycopg.abc.Buffer) -> bytes:
        return bytes(data[1:])  # the first byte is jsonb's format version; a slice of a view is no copy


async def _query(conn: Connection, query: LiteralString, params: Sequence[Any], *, raw_json: bool = True) -> list[Row]:
    if conn.info.encoding != "utf-8":
        raise ConfigError(
            f"the connection's client_encoding is {conn.info.encoding}; only UTF-8 keeps every text as it is",
            hint="Run `SET client_encoding TO 'UTF8'` on it, or connect with client_encoding=utf8.",
        )
    cursor: AsyncCursor[Row] = AsyncCursor(conn, row_factory=tuple_row)
    if raw_json:
        cursor.adapters.register_loader("jsonb", _JsonBytesLoader)
    with translated():
        await cursor.execute(query, params, binary=raw_json)
        rows = await cursor.fetchall()
        await cursor.close()
    return rows


async def check_core(conn: Connection) -> None:
    """Make sure that the installed core is the one this package speaks to.

    Raises:
        CoreNotInstalled: there is no core in this database.
        CoreVersionMismatch: its schema version is another one.
    """
    ((installed,),) = await _query(conn, "select pgflow.core_version()", ())
    if installed != SCHEMA_VERSION:
        raise CoreVersionMismatch(installed, SCHEMA_VERSION)


async def start_flows(
    conn: Connection,
    flow_slug: str,
    inputs: Sequence[bytes],
    run_ids: Sequence[UUID],
    fingerprint: str | None = None,
) -> None:
    """Start one run per input, all or none; a run id that exists with the same flow and input is left as it is.

    Raises:
        FlowNotFound: the database has no such flow.
        FlowNotCompiled: its current version serves no callers of the shape `fingerprint`.
        FlowRetired: the flow starts no new runs.
        InvalidInput: a map runs over the input, which is no array.
        RunConflict: a run id is taken.
    """
    await _query(
        conn,
        "select pgflow.start_flows(%s::text, %s, %s, %s::text)",
        (flow_slug, JsonbArray(inputs), UuidArray(run_ids), fingerprint),
    )


async def register_worker(
    conn: Connection,
    worker_id: UUID,
    flows: Sequence[tuple[str, str]],
    queues: Sequence[str] | None,
    name: str,
    lease_seconds: int,
) -> None:
    """Announce a worker that serves these flows, each given as (slug, fingerprint of its shape).

    Raises:
        FlowNotCompiled: a flow, or this shape of it, is not in the database.
    """
    await _query(
        conn,
        "select pgflow.register_worker(%s, %s, %s, %s::text[], %s::text, %s::int)",
        (
            worker_id,
            TextArray(slug for slug, _ in flows),
            TextArray(fingerprint for _, fingerprint in flows),
            None if queues is None else list(queues),
            name,
            lease_seconds,
        ),
    )


def heartbeat_worker(conn: psycopg.Connection[Any], worker_id: UUID, running: Sequence[TaskRef] = ()) -> Heartbeat:
    """Renew the worker's lease, and ask which of its running claims are not current any more, in one round trip.

    Synchronous: it is called from the heartbeat's own thread.

    Raises:
        WorkerNotFound, WorkerStopped: register again under another id.
    """
    with translated():
        rows = (
            psycopg.Cursor(conn, row_factory=tuple_row)
            .execute(
                "with beat as materialized (select pgflow.heartbeat_worker(%s) as deprecated)"
                " select beat.deprecated, lost.* from beat left join pgflow.lost_tasks(%s, %s, %s, %s) lost on true",
                (worker_id, *_keys(running)),
            )
            .fetchall()
        )
    return Heartbeat(deprecated=rows[0][0], lost=tuple(_refusal(row[1:]) for row in rows if row[1] is not None))


async def mark_worker_stopped(conn: Connection, worker_id: UUID) -> None:
    """Note that a worker has ended; whatever it still holds is free to be recovered."""
    await _query(conn, "select pgflow.mark_worker_stopped(%s)", (worker_id,))


def _claims(rows: list[Row]) -> tuple[list[ClaimedTask], list[Refusal]]:
    tasks: list[ClaimedTask] = []
    refusals: list[Refusal] = []
    shared: dict[tuple[UUID, str], bytes] = {}
    for row in rows:
        if row[11] is not None:
            refusals.append(_refusal((row[2], row[3], row[4], row[7], row[11])))
            continue
        # The core sends a step's whole inputs with the first of its tasks only.
        given = row[9]
        if given is None:
            row = (*row[:9], shared[row[2], row[3]], row[10])
        else:
            shared[row[2], row[3]] = given
            row = row[:11]
        tasks.append(ClaimedTask._make(row))
    return tasks, refusals


def _refusal(row: Row) -> Refusal:
    return Refusal(TaskRef._make(row[:4]), row[4])


async def claim_tasks(conn: Connection, worker_id: UUID, max_tasks: int) -> list[ClaimedTask]:
    """Lease up to `max_tasks` ready tasks of the worker's flows to it.

    Raises:
        WorkerNotFound, WorkerStopped.
    """
    rows = await _query(conn, "select * from pgflow.claim_tasks(%s, %s::int)", (worker_id, max_tasks))
    return _claims(rows)[0]


def _keys(tasks: Sequence[TaskRef]) -> tuple[UuidArray, TextArray, Int4Array, Int8Array]:
    return (
        UuidArray(t.run_id for t in tasks),
        TextArray(t.step_slug for t in tasks),
        Int4Array(t.task_index for t in tasks),
        Int8Array(t.fence for t in tasks),
    )


def _results(results: Sequence[Completed]) -> tuple[UuidArray, TextArray, Int4Array, Int8Array, JsonbArray]:
    return (*_keys([r.task for r in results]), JsonbArray(r.output for r in results))


async def complete_tasks(conn: Connection, results: Sequence[Completed]) -> list[Refusal]:
    """Hand in outputs; what the database did not take is returned, each with its reason."""
    rows = await _query(conn, "select * from pgflow.complete_tasks(%s, %s, %s, %s, %s)", _results(results))
    return [_refusal(row) for row in rows]


async def complete_and_claim_tasks(
    conn: Connection, worker_id: UUID, max_tasks: int, results: Sequence[Completed]
) -> tuple[list[ClaimedTask], list[Refusal]]:
    """Hand in outputs and lease the next tasks in one round trip and one commit."""
    rows = await _query(
        conn,
        "select * from pgflow.complete_and_claim_tasks(%s, %s::int, %s, %s, %s, %s, %s)",
        (worker_id, max_tasks, *_results(results)),
    )
    return _claims(rows)


def _failure_json(failed: Failed) -> Jsonb:
    error = failed.error
    return Jsonb(
        {
            "class": error.error_class,
            "classes": list(error.error_classes),
            "message": error.message,
            "traceback": error.traceback,
            "retryable": error.retryable,
            "retry_after": error.retry_after,
        }
    )


async def fail_tasks(conn: Connection, failures: Sequence[Failed]) -> list[Refusal]:
    """Hand in failed attempts: the core retries each after its backoff, or fails the task, its step and its run."""
    rows = await _query(
        conn,
        "select * from pgflow.fail_tasks(%s, %s, %s, %s, %s::jsonb[])",
        (*_keys([f.task for f in failures]), [_failure_json(f) for f in failures]),
    )
    return [_refusal(row) for row in rows]


async def release_tasks(conn: Connection, tasks: Sequence[TaskRef]) -> list[Refusal]:
    """Give leased tasks back unfinished; no attempt is used."""
    rows = await _query(conn, "select * from pgflow.release_tasks(%s, %s, %s, %s)", _keys(tasks))
    return [_refusal(row) for row in rows]


async def release_strays(conn: Connection, worker_id: UUID, fences: Sequence[int]) -> int:
    """Give back what this worker holds in the database under other fences than these: claims whose reply was lost."""
    ((count,),) = await _query(conn, "select pgflow.release_strays(%s, %s)", (worker_id, Int8Array(fences)))
    return int(count)


async def run_sweep(
    conn: Connection, sweep: SweepName, max_rows: int, retention: timedelta | None = None
) -> int | None:
    """Do a part of the upkeep, at most `max_rows` of it; returns how much, None when another worker is at it now."""
    ((count,),) = await _query(
        conn, "select pgflow.run_sweep(%s::text, %s::int, %s::interval)", (sweep, max_rows, retention)
    )
    return None if count is None else int(count)


def _run_head(row: Row) -> RunHead:
    return RunHead(run_id=RunId(row[0]), flow_slug=FlowSlug(row[1]), status=RunStatus(row[2]), end_reason=row[3])


async def cancel_run(conn: Connection, run_id: UUID, reason: str | None = None) -> RunHead:
    """End an open run with all that is open in it; a run that has ended stays as it is.

    Raises:
        RunNotFound.
    """
    (row,) = await _query(
        conn,
        "select r.run_id, r.flow_slug, r.status, r.end_reason from pgflow.cancel_run(%s, %s::text) r",
        (run_id, reason),
    )
    return _run_head(row)


async def retry_run(conn: Connection, run_id: UUID, from_step: str | None = None) -> RunHead:
    """Let an ended run go on: what failed or was cancelled again, or a step and all that depends on it.

    Raises:
        RunNotFound, StepNotFound.
        RunNotRetryable: it is open, or has completed and no step is named.
    """
    (row,) = await _query(
        conn,
        "select r.run_id, r.flow_slug, r.status, r.end_reason from pgflow.retry_run(%s, %s::text) r",
        (run_id, from_step),
    )
    return _run_head(row)


async def explain_run(conn: Connection, run_id: UUID, max_tasks: int = 1000) -> list[Explanation]:
    """What each open step, and at most `max_tasks` open tasks, of a run wait for, in the order of the flow's definition.

    Raises:
        RunNotFound.
    """
    rows = await _query(
        conn,
        "select e.step_slug, e.task_index, e.status, e.waits_for, e.detail, e.since, e.until, e.worker_id"
        " from pgflow.explain_run(%s, %s::int) e",
        (run_id, max_tasks),
    )
    return [
        Explanation(
            step_slug=step,
            task_index=index,
            status=status,
            waits_for=waits_for,
            detail=detail,
            since=since,
            until=until,
            worker_id=worker,
        )
        for step, index, status, waits_for, detail, since, until, worker in rows
    ]


async def watch_run(conn: Connection, run_id: UUID) -> RunStatus:
    """Ask for a NOTIFY on `pgflow_runs` when the run ends; returns its present status.

    Raises:
        RunNotFound.
    """
    ((status,),) = await _query(conn, "select pgflow.watch_run(%s)", (run_id,))
    return RunStatus(status)


async def run_outcome(conn: Connection, run_id: UUID) -> RunOutcome:
    """Where a run stands, with its output or with the attempt that failed it.

    Raises:
        RunNotFound.
    """
    (row,) = await _query(conn, "select * from pgflow.run_outcome(%s)", (run_id,))
    status, flow_slug, output, step, index, attempt, error_class, message, trace = row
    failure = RunFailure(
        step_slug=step,
        task_index=index,
        attempt=attempt,
        error_class=error_class,
        error_message=message,
        traceback=trace,
    )
    return RunOutcome(
        status=RunStatus(status),
        flow_slug=FlowSlug(flow_slug),
        output=output,
        failure=None if error_class is None else failure,
        reason=message if status == RunStatus.CANCELLED else None,
    )


async def step_output(conn: Connection, run_id: UUID, step_slug: str) -> tuple[StepStatus, bytes | None]:
    """A step's status and output (JSON) in a run.

    Raises:
        RunNotFound, StepNotFound.
    """
    ((status, output),) = await _query(conn, "select * from pgflow.step_output(%s, %s::text)", (run_id, step_slug))
    return StepStatus(status), output


async def describe_run(
    conn: Connection, run_id: UUID, max_tasks: int = 200, *, with_values: bool = True
) -> dict[str, JsonValue]:
    """Everything about a run for people: `run`, `steps`, the most telling `tasks`, failed `attempts`.

    Without `with_values` input and outputs are null: for those who look often, since outputs may be large.

    Raises:
        RunNotFound.
    """
    ((details,),) = await _query(
        conn,
        "select pgflow.describe_run(%s, %s::int, %s::bool)",
        (run_id, max_tasks, with_values),
        raw_json=False,
    )
    return dict(details)


async def find_runs(conn: Connection, prefix: str, limit: int = 2) -> list[RunId]:
    """Ids of runs that begin with `prefix` (lower-case hexadecimal, with dashes)."""
    rows = await _query(conn, "select pgflow.find_runs(%s::text, %s::int)", (prefix, limit))
    return [RunId(row[0]) for row in rows]


async def list_runs(
    conn: Connection,
    flow_slug: str | None = None,
    status: str | None = None,
    limit: int = 50,
    before: datetime | None = None,
    before_run: UUID | None = None,
) -> list[RunRow]:
    """Runs, newest first; `before` and `before_run` continue a listing at the `started_at` and id of its last row."""
    rows = await _query(
        conn,
        "select * from pgflow.list_runs(%s::text, %s::text, %s::int, %s::timestamptz, %s::uuid)",
        (flow_slug, status, limit, before, before_run),
    )
    return [
        RunRow(
            run_id=RunId(run_id),
            flow_slug=FlowSlug(slug),
            flow_version=version,
            status=RunStatus(state),
            remaining_steps=remaining,
            started_at=started,
            ended_at=ended,
        )
        for run_id, slug, version, state, remaining, started, ended in rows
    ]


async def list_flows(conn: Connection) -> list[FlowRow]:
    """Each flow's current version, and older ones with open runs or live workers; with runs by status and workers."""
    # Beside the function, whose columns stay what connections prepared for.
    rows = await _query(
        conn,
        "select l.*, f.retired_at from pgflow.list_flows() l left join pgflow.flows f on f.flow_slug = l.flow_slug"
        " order by l.flow_slug, l.flow_version desc",
        (),
        raw_json=False,
    )
    return [
        FlowRow(
            flow_slug=FlowSlug(slug),
            flow_version=version,
            is_current=is_current,
            steps_count=steps,
            runs=dict(runs),
            live_workers=workers,
            retired_at=retired_at,
        )
        for slug, version, is_current, steps, runs, workers, retired_at in rows
    ]


async def describe_flow(conn: Connection, flow_slug: str, version: int | None = None) -> dict[str, JsonValue] | None:
    """A flow's version (None: the current one) with its schemas and steps, as `describe_flow.sql` says; None if unknown."""
    try:
        ((found,),) = await _query(
            conn, "select pgflow.describe_flow(%s::text, %s::int)", (flow_slug, version), raw_json=False
        )
    except RecursionError as error:
        raise ConfigError(f"flow '{flow_slug}': a JSON Schema the database has of it is nested too deeply.") from error
    return None if found is None else dict(found)


async def open_run_counts(conn: Connection, flow_slugs: Sequence[str] | None = None) -> list[OpenRuns]:
    """How many runs of each version of these flows (None: of all) are open; versions without any are left out."""
    slugs = None if flow_slugs is None else list(flow_slugs)
    rows = await _query(conn, "select * from pgflow.open_runs(%s::text[])", (slugs,))
    return [OpenRuns(flow_slug=FlowSlug(slug), flow_version=version, count=count) for slug, version, count in rows]
