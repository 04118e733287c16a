"""`pgflow show`: everything about one run, once or as it goes."""

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.options import DatabaseUrl, Json, RunName

if TYPE_CHECKING:
    from rich.console import Console

    from flowdsl.cli.description import AttemptPart, Description
    from flowdsl.gateway.rows import RunOutcome
    from flowdsl.types import JsonValue, RunId

TASKS_SHOWN = 30
ATTEMPTS_SHOWN = 10
TASKS_ASKED = 200


def show_command(
    run: RunName,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it as it goes; exit 1 when the run fails or is cancelled.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show whole tracebacks, inputs and outputs.")
    ] = False,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Show a run: steps, tasks, attempts, timings, errors."""
    if watch:
        asyncio.run(_watch(run, as_json=as_json, url=database_url))
    else:
        asyncio.run(_show(run, as_json=as_json, verbose=verbose, url=database_url))


async def _show(name: str, *, as_json: bool, verbose: bool, url: str | None) -> None:
    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.cli.description import described, find_run
    from flowdsl.cli.output import out, print_json
    from flowdsl.gateway.calls import describe_run

    async with connected(chosen_database(url), "show") as conn:
        document = await describe_run(conn, await find_run(conn, name), TASKS_ASKED)
    if as_json:
        print_json(document)
    else:
        print_description(out(), described(document), verbose=verbose)


async def _watch(name: str, *, as_json: bool, url: str | None) -> None:
    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.cli.description import find_run
    from flowdsl.cli.following import Follower
    from flowdsl.cli.output import note, out
    from flowdsl.cli.progress import JsonLinesView, view_on
    from flowdsl.cli.start import run_failure

    database = chosen_database(url)
    async with connected(database, "show") as conn:
        run_id = await find_run(conn, name)
    follower = Follower(
        database=database,
        command="show",
        view=JsonLinesView() if as_json else view_on(out()),
        max_tasks=TASKS_ASKED if as_json else 0,
        on_no_worker=lambda slug: note(f"No worker serves flow '{slug}' at present; the run waits for one."),
    )
    outcome = await follower.follow(run_id)
    _end_of_watch(run_id, outcome, as_json=as_json)
    failure = run_failure(run_id, outcome)
    if failure is not None:
        raise failure


def _end_of_watch(run_id: "RunId", outcome: "RunOutcome", *, as_json: bool) -> None:
    from flowdsl.errors import RunCancelled
    from flowdsl.types import RunStatus

    if outcome.status is RunStatus.CANCELLED:
        raise RunCancelled(run_id, outcome.flow_slug, outcome.reason)
    if outcome.status is RunStatus.COMPLETED and not as_json:
        typer.echo(f"completed: {run_id}")


def print_description(console: "Console", description: "Description", *, verbose: bool = False) -> None:
    """Print the run, its steps, the tasks that are not simply done, and the attempts that failed."""
    _print_run(console, description, verbose=verbose)
    _print_steps(console, description)
    _print_tasks(console, description)
    _print_attempts(console, description.attempts, verbose=verbose)


def _print_run(console: "Console", description: "Description", *, verbose: bool) -> None:
    from rich.text import Text

    from flowdsl.cli.output import duration, moment, one_line, status_text

    run, now = description.run, datetime.now(UTC)
    took = duration((run.ended_at or now) - run.started_at)
    head = Text.assemble(f"{run.run_id}  {run.flow_slug} v{run.flow_version}  ", status_text(run.status), f"  {took}")
    console.print(head, soft_wrap=True)
    console.print(f"started  {moment(run.started_at)}")
    if run.ended_at is not None:
        console.print(f"ended    {moment(run.ended_at)}")
    if run.end_reason is not None:
        console.print(f"because  {one_line(run.end_reason, 1000)}", soft_wrap=True)
    if run.deadline_at is not None:
        left = f"in {duration(run.deadline_at - now)}" if run.deadline_at > now else "overdue"
        console.print(f"deadline {moment(run.deadline_at)}  ({left})")
    if run.retried_count:
        console.print(f"retried  {run.retried_count} time{'s' if run.retried_count > 1 else ''}")
    console.print(f"input    {_json_text(run.input, verbose=verbose)}", soft_wrap=True)
    if run.output is not None:
        console.print(f"output   {_json_text(run.output, verbose=verbose)}", soft_wrap=True)


def _print_steps(console: "Console", description: "Description") -> None:
    from flowdsl.cli.output import brief_moment, columns, duration, one_line, status_text

    now = datetime.now(UTC)
    table = columns("STEP", "STATUS", "TASKS", "RETRYING", "STARTED", "TOOK", "NEEDS", "")
    for step in description.steps:
        total = step.initial_tasks
        done = step.tasks.completed + step.tasks.failed + step.tasks.skipped + step.tasks.cancelled
        table.add_row(
            step.step_slug,
            status_text(step.status),
            "" if total is None else f"{done}/{total}",
            str(step.tasks.retrying or ""),
            brief_moment(step.started_at, now),
            duration(step.took(now)),
            ", ".join(step.deps),
            one_line("; ".join(part for part in (step.skipped_because, step.error_message) if part), 80),
        )
    console.print()
    console.print(table)


def _print_tasks(console: "Console", description: "Description") -> None:
    from flowdsl.cli.output import brief_moment, columns, duration, harmless, one_line, status_text
    from flowdsl.types import TaskStatus

    telling = [
        task
        for task in description.tasks
        if task.status in {TaskStatus.FAILED, TaskStatus.STARTED}
        or (task.status is TaskStatus.QUEUED and (task.attempts_count or task.requeued_count))
    ]
    if not telling:
        return
    now = datetime.now(UTC)
    element = ["ELEMENT"] if any(task.element_hint for task in telling) else []
    table = columns("TASK", *element, "STATUS", "ATTEMPTS", "STARTED", "TOOK", "")
    for task in telling[:TASKS_SHOWN]:
        waits = task.status is TaskStatus.QUEUED and task.visible_at is not None and task.visible_at > now
        took = None if task.started_at is None or waits else (task.ended_at or now) - task.started_at
        remarks = [
            f"next attempt {brief_moment(task.visible_at, now)}" if waits else "",
            f"lost {task.requeued_count} times" if task.requeued_count else "",
            one_line(task.error_message or "", 80),
        ]
        table.add_row(
            f"{task.step_slug}[{task.task_index}]",
            *(one_line(task.element_hint or "", 40) for _ in element),
            status_text("retrying" if task.status is TaskStatus.QUEUED else task.status),
            str(task.attempts_count),
            brief_moment(task.started_at, now),
            duration(took),
            harmless("; ".join(remark for remark in remarks if remark)),
        )
    console.print()
    console.print(table)
    if len(telling) > TASKS_SHOWN:
        console.print(f"… and more; all of them with --json (tasks in all: {description.tasks_total})")


def _print_attempts(console: "Console", attempts: "list[AttemptPart]", *, verbose: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from flowdsl.cli.output import duration, harmless, moment, one_line, status_text

    shown = attempts if verbose else attempts[:ATTEMPTS_SHOWN]
    if shown:
        console.print()
        console.print("Attempts that failed, latest first:", style="dim")
    for place, attempt in enumerate(shown):
        took = duration(None if attempt.started_at is None else attempt.ended_at - attempt.started_at)
        head = Text.assemble(
            f"{attempt.step_slug}[{attempt.task_index}] attempt {attempt.attempt} ",
            status_text(attempt.outcome),
            f" {moment(attempt.ended_at)}" + (f" after {took}" if took else ""),
        )
        console.print(head, soft_wrap=True)
        console.print(f"  {attempt.error_class}: {one_line(attempt.error_message, 500)}", soft_wrap=True)
        # The latest one is most likely what the reader came for; the others are one option away.
        if attempt.traceback and (verbose or place == 0):
            console.print(
                Padding(Text(harmless(attempt.traceback.rstrip()), style="dim"), (0, 0, 0, 4)), soft_wrap=True
            )
    if len(attempts) > len(shown):
        console.print(f"… and {len(attempts) - len(shown)} more; with their tracebacks: --verbose", style="dim")


def _json_text(value: "JsonValue", *, verbose: bool) -> str:
    from flowdsl.cli.output import one_line

    return one_line(json.dumps(value, ensure_ascii=False), 100_000 if verbose else 300)
