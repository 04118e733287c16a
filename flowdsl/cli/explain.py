"""`pgflow explain`: why a run does not move, a line for each open step and task."""

import asyncio
import dataclasses
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from flowdsl.cli.options import DatabaseUrl, Json, RunName

if TYPE_CHECKING:
    from flowdsl.gateway.rows import Explanation

TASKS_SHOWN = 5
"""Of each step, without --json; its own line counts them all."""


def explain_command(run: RunName, as_json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Tell what each open step and task of a run waits for: a dependency, a backoff, a worker, the worker that has it."""
    from flowdsl.cli.output import brief_moment, columns, harmless, out, print_json

    found = asyncio.run(_explained(run, database_url))
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return
    now = datetime.now(UTC)
    table = columns("STEP", "WAITS FOR", "SINCE", "UNTIL", "")
    for _, group in groupby(found, key=lambda one: one.step_slug):
        rows = list(group)
        shown = rows[: TASKS_SHOWN + 1]
        for one in shown:
            index = "" if one.task_index is None else f"[{one.task_index}]"
            table.add_row(
                f"{one.step_slug or ''}{index}",
                one.waits_for.replace("_", " "),
                brief_moment(one.since, now),
                brief_moment(one.until, now),
                harmless(one.detail),
            )
        if len(rows) > len(shown):
            table.add_row("…", "", "", "", "more of its tasks with --json")
    out().print(table)


async def _explained(name: str, url: str | None) -> "list[Explanation]":
    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.cli.description import find_run
    from flowdsl.gateway.calls import explain_run

    async with connected(chosen_database(url), "explain") as conn:
        return await explain_run(conn, await find_run(conn, name))
