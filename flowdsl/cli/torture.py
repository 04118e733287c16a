"""`pgflow torture`: kill workers, connections and the server under load, and tell what held."""

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from flowdsl.cli.exits import ExitCode
from flowdsl.cli.options import Json
from flowdsl.cli.output import columns, duration, err, harmless, out, print_json

if TYPE_CHECKING:
    from flowdsl.torture.drill import Progress
    from flowdsl.torture.report import Report, Times

LINE_SECONDS = 5.0


def torture_command(
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long to go on killing.")] = 60,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Worker processes at any time.")] = 3,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Repeat the choices of an earlier torture.", show_default="any")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            metavar="URL",
            help="A server to do it on, in a database made for it and dropped at the end.",
            show_default="a scratch server",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Kill workers, connections and the server under load, and check that nothing is lost and nothing runs twice.

    Runs of flows that use everything are started all the time. Meanwhile workers are killed, before and after the commit of
    each of their calls and at random, frozen and told to stop, connections are cut, and the server is stopped with
    `-m immediate`. At the end everything may finish, and every run, step, task and attempt is checked.

    It makes a PostgreSQL server of its own in a temporary directory and removes it at the end; DATABASE_URL is not looked at.
    A server named with --database-url is not stopped; only connections to the database made for this are.

    Exit codes: 0 everything held, 1 something did not.
    """
    from flowdsl.database import plain_url
    from flowdsl.torture.drill import Plan, torture

    plan = Plan(
        seconds=seconds,
        workers=workers,
        seed=random.SystemRandom().randrange(2**31) if seed is None else seed,
        url=None if database_url is None else plain_url(database_url, source="--database-url"),
    )
    # It warns of every connection that cannot be had, and here hardly any can at times.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    with _shown(plan.seconds) as listener:
        report = asyncio.run(torture(plan, listener))
    if as_json:
        print_json(report.json())
    else:
        out().print(Group(*_parts(report)))
    if not report.held:
        raise typer.Exit(ExitCode.FAILED)


@contextmanager
def _shown(seconds: float) -> "Iterator[Callable[[Progress], None]]":
    """Show progress on stderr: one line drawn over in place, or, without a terminal, a line now and then."""
    console = err()
    if not sys.stderr.isatty():
        yield _lines(console, seconds)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda progress: live.update(_line(progress, seconds), refresh=True)


def _lines(console: Console, seconds: float) -> "Callable[[Progress], None]":
    said: tuple[str, int] | None = None

    def show(progress: "Progress") -> None:
        nonlocal said
        now = (progress.phase, int(progress.seconds / LINE_SECONDS))
        if now != said:
            said = now
            console.print(_line(progress, seconds))

    return show


def _line(progress: "Progress", seconds: float) -> Text:
    limit = f" of {seconds:.0f}" if progress.seconds <= seconds else ""
    return Text(
        f"{progress.phase}: {progress.seconds:.0f}{limit} s, {progress.kills} blows, "
        f"{progress.runs} runs started, {progress.open_runs} open",
        style="dim",
    )


def _parts(report: "Report") -> "Iterator[RenderableType]":
    kills = columns("WHAT WAS DONE", "TIMES")
    for what, times in {**report.blows, **report.did}.items():
        kills.add_row(what, str(times))
    yield kills
    recovery = columns("RECOVERY", "COUNT", "P50", "P95", "MAX")
    for what, measured in report.recovery.items():
        recovery.add_row(what, *_cells(measured))
    yield Text()
    yield recovery
    claims = columns("CLAIM", "CHECKED", "HELD")
    for claim in report.claims:
        held = Text("yes", style="green") if claim.held else Text("NO", style="bold red")
        claims.add_row(claim.claim, str(claim.checked), held)
    yield Text()
    yield claims
    for claim in report.claims:
        for text in claim.evidence:
            yield Text(f"  {claim.claim}: {harmless(text)}", style="red")
    runs = ", ".join(f"{count} {status}" for status, count in report.runs.items())
    yield Text()
    late = f", {report.late_starts} of them late, without knowing it" if report.late_starts else ""
    yield Text(
        f"{sum(report.runs.values())} runs ({runs}), {report.steps} steps and {report.tasks} tasks completed, "
        f"{report.handlers} handlers started{late}."
    )
    yield Text(f"{report.server}; {report.workers} workers; {report.seconds:.0f} s in all.")
    for note in report.notes:
        yield Text(harmless(note), style="yellow")
    verdict = "Everything held." if report.held else "NOT everything held."
    yield Text.assemble((verdict, "bold green" if report.held else "bold red"), f" Repeat with --seed {report.seed}.")


def _cells(times: "Times") -> list[str]:
    return [
        str(times.count),
        *("" if value is None else duration(timedelta(seconds=value)) for value in (times.p50, times.p95, times.max)),
    ]
