"""`pgflow bench`: measure what runs, steps and backlogs cost on a server."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from flowdsl.cli.options import Json
from flowdsl.cli.output import columns, note, out, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowdsl.bench.figures import Figure
    from flowdsl.bench.report import Report, Result


def bench_command(
    database_url: Annotated[
        str,
        typer.Option(
            "--database-url", metavar="URL", help="The server, in databases made for this only.", show_default=False
        ),
    ],
    only: Annotated[
        str, typer.Option("--only", metavar="W1,W3", help="Measure these workloads only.", show_default="all")
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Measure less, in two minutes.")] = False,
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

    Targets are those for two shared cores; a missed one is no error.
    """
    from flowdsl.bench.report import Report
    from flowdsl.bench.suite import Plan, chosen, run
    from flowdsl.bench.workload import Scale
    from flowdsl.database import plain_url

    plan = Plan(
        url=plain_url(database_url, source="--database-url"),
        workloads=chosen([name.strip() for name in only.split(",") if name.strip()]),
        scale=Scale.QUICK if quick else Scale.FULL,
        rounds=repeat,
        keep=keep,
        soak_seconds=soak,
    )
    report = Report(results=tuple(run(plan, note)))
    if as_json:
        print_json(report.json())
    else:
        out().print(Group(*_parts(report)))


def _parts(report: "Report") -> "Iterator[RenderableType]":
    from flowdsl.bench.targets import verdicts

    for result in report.results:
        yield from _result(result)
    table = columns("TARGET ON TWO SHARED CORES", "", "BOUND", "MEASURED", "MET")
    for verdict in verdicts(report):
        met = Text("yes", style="green") if verdict.is_met else Text("no", style="yellow")
        target = verdict.target
        table.add_row(target.workload, target.label, target.bound, target.said(verdict.value), met)
    if table.row_count:
        yield table


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
