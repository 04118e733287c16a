"""`pgflow runs` and `pgflow flows`: what there is."""

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.options import DatabaseUrl, Json
from flowdsl.types import RunStatus

if TYPE_CHECKING:
    from flowdsl.gateway.rows import FlowRow, RunRow

LIMIT_MAX = 10_000


def runs_command(
    flow: Annotated[str | None, typer.Option("--flow", metavar="SLUG", help="Only runs of this flow.")] = None,
    status: Annotated[RunStatus | None, typer.Option("--status", help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=LIMIT_MAX, help="How many at most.")] = 20,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List runs, newest first."""
    from flowdsl.cli.output import brief_moment, columns, duration, note, out, print_json, status_text

    rows = asyncio.run(_runs(flow, status, limit, database_url))
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    if not rows:
        note(
            "There are no such runs." if flow or status else "There are no runs yet. Start one with: pgflow start FLOW"
        )
        return
    now = datetime.now(UTC)
    table = columns("RUN", "FLOW", "STATUS", "LEFT", "STARTED", "TOOK")
    for row in rows:
        table.add_row(
            str(row.run_id),
            f"{row.flow_slug} v{row.flow_version}",
            status_text(row.status),
            str(row.remaining_steps or ""),
            brief_moment(row.started_at, now),
            duration((row.ended_at or now) - row.started_at),
        )
    out().print(table)


def flows_command(as_json: Json = False, database_url: DatabaseUrl = None) -> None:
    """List the flows compiled into the database, with their runs and living workers."""
    from flowdsl.cli.output import columns, note, out, print_json

    rows = asyncio.run(_flows(database_url))
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    if not rows:
        note("There are no flows in this database. Bring yours: pgflow compile, then alembic upgrade head")
        return
    table = columns("FLOW", "VERSION", "STEPS", "WORKERS", *(status.upper() for status in RunStatus))
    for row in rows:
        counts = (str(row.runs.get(status, 0)) for status in RunStatus)
        table.add_row(
            row.flow_slug,
            f"{row.flow_version}{_version_note(row)}",
            str(row.steps_count),
            str(row.live_workers),
            *counts,
        )
    out().print(table)


def _version_note(row: "FlowRow") -> str:
    notes = [*([] if row.is_current else ["old"]), *(["retired"] if row.retired_at is not None else [])]
    return f" ({', '.join(notes)})" if notes else ""


async def _runs(flow: str | None, status: RunStatus | None, limit: int, url: str | None) -> "list[RunRow]":
    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.gateway.calls import list_runs

    async with connected(chosen_database(url), "runs") as conn:
        return await list_runs(conn, flow, status, limit)


async def _flows(url: str | None) -> "list[FlowRow]":
    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.gateway.calls import list_flows

    async with connected(chosen_database(url), "flows") as conn:
        return await list_flows(conn)
