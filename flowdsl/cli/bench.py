"""`pgflow bench`: measure what runs, steps and backlogs cost on a server."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from flowdsl.cli.options import Json
from flowdsl.cli.output import columns, note, out, print_json
from flowdsl.errors import ConfigError

NOT_JUDGED = "-"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowdsl.bench.figures import Figure
    from flowdsl.bench.report import Report, Result
    from flowdsl.bench.workload import Workload


def bench_command(
    database_url: Annotated[
        str,
        typer.Option(
            "--database-url",
            metavar="URL",
            help="The server, in databases made for this only. DATABASE_URL is not read.",
            show_default=False,
        ),
    ],
    only: Annotated[
        str | None, typer.Option("--only", metavar="W1,W3", help="Measure these workloads only.", show_default="all")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure less, in under 2 minutes.")] = False,
    repeat: Annotated[
        int | None,
        typer.Option("--repeat", min=1, metavar="N", help="How many rounds.", show_default="3, or 1 with --quick"),
    ] = None,
    soak: Annotated[
        float | None,
        typer.Option(
            "--soak-seconds", min=1, metavar="SECONDS", help="How long the soak (W7) takes.", show_default="20 minutes"
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Do not drop the databases.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how many runs and steps a second a server carries, how fast, and at what cost.

    It makes databases of its own on the server, names them, and drops them at the end; nothing else is touched. But the
    server is kept busy for as long as it takes, so it should not be one that others depend on. The role must be allowed to
    create databases. What is measured, and how, is told in docs/benchmarks.md.

    Targets are those for two shared cores, so on another server only ratios and counts are judged, and speeds are shown beside
    theirs. A missed one is no error.
    """
    from flowdsl.bench.report import Report
    from flowdsl.bench.suite import Plan, run
    from flowdsl.bench.workload import Scale
    from flowdsl.database import plain_url

    plan = Plan(
        url=plain_url(database_url, source="--database-url"),
        workloads=_workloads(only),
        scale=Scale.QUICK if quick else Scale.FULL,
        rounds=repeat,
        keep=keep,
        soak_seconds=soak,
    )
    # The pool's own lines about a server that goes away; the error says it once.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    report = Report(results=tuple(run(plan, note)))
    if as_json:
        print_json(report.json())
    else:
        out().print(Group(*_parts(report)))


def _workloads(only: str | None) -> "list[Workload]":
    from flowdsl.bench.suite import WORKLOADS, chosen

    names = [] if only is None else [name.strip() for name in only.split(",") if name.strip()]
    if only is not None and not names:
        raise typer.BadParameter(f"no workload is named. Workloads: {', '.join(WORKLOADS)}.", param_hint="'--only'")
    try:
        return chosen(names)
    except ConfigError as error:
        raise typer.BadParameter(f"{error.message} {error.hint}", param_hint="'--only'") from None


def _parts(report: "Report") -> "Iterator[RenderableType]":
    from flowdsl.bench.targets import verdicts

    for result in report.results:
        yield from _result(result)
    table = columns("TARGET ON TWO SHARED CORES", "", "BOUND", "MEASURED", "MET")
    for verdict in verdicts(report):
        target = verdict.target
        met = Text("yes", style="green") if verdict.is_met else Text("no", style="yellow")
        table.add_row(
            target.workload, target.label, target.bound, target.said(verdict.value),
            Text(NOT_JUDGED, style="dim") if target.is_of_the_machine else met,
        )  # fmt: skip
    if table.row_count:
        yield table
        yield Text(
            f"{NOT_JUDGED}: a speed; the bound is for two shared cores, and says nothing of another machine.",
            style="dim",
        )


def _result(result: "Result") -> "Iterator[RenderableType]":
    table = columns(f"{result.key}  {result.title}", "MEDIAN", "MIN - MAX", "UNIT")
    for figure in result.figures:
        table.add_row(figure.label, *_cells(figure), figure.unit)
    yield table
    for text in result.notes:
        yield Text(text, style="dim")
    yield Text()


def _cells(figure: "Figure") -> tuple[str, str]:
    from flowdsl.bench.figures import said

    spread = "" if len(figure.values) == 1 else f"{said(figure.low)} - {said(figure.high)}"
    return said(figure.median), spread
