"""`pgflow check`: everything that is wrong with the flows, all of it at once; asks no database."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowdsl.cli.options import Json
from flowdsl.errors import ConfigError

if TYPE_CHECKING:
    from rich.text import Text

    from flowdsl.errors import Problem
    from flowdsl.model.registry import AnyFlow, Inspection

FlowSpecs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODULE[:FLOW]",
        show_default=False,
        help="Modules, files or single flows to check. Default: `flows` of [tool.pgflow] in pyproject.toml.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")]


def check_command(flows: FlowSpecs = None, strict: Strict = False, as_json: Json = False) -> None:
    """Tell everything that is wrong with the flows: all problems of all flows of all modules.

    A warning is about a flow that works, but perhaps not as its author thinks.

    Exit codes: 0 nothing is wrong; 1 there are problems, in flows or because a module cannot be imported (with --strict
    also for warnings); 3 no flows are named, or the configuration cannot be read. All other commands end with 3 when the
    flows they need are wrong.
    """
    from flowdsl.cli.output import print_json

    inspection = _inspection(flows or [])
    problems = in_order((*inspection.problems, *inspection.warnings()))
    if as_json:
        print_json([problem_json(problem) for problem in problems])
    else:
        _print(inspection.flows, problems)
    if any(strict or not problem.is_warning for problem in problems):
        raise typer.Exit(1)


def _inspection(specs: Sequence[str]) -> "Inspection":
    from flowdsl.database import project_config
    from flowdsl.model.registry import inspect_flows

    if specs:
        return inspect_flows(*specs)
    config = project_config()
    if not config.flows:
        raise ConfigError(
            "no flows to check: none are named, and [tool.pgflow] in pyproject.toml lists none",
            hint='Name a module, as in `pgflow check shop.flows`, or add flows = ["shop.flows"].',
        )
    return inspect_flows(*config.flows, directory=config.directory)


def in_order(problems: "Iterable[Problem]") -> "list[Problem]":
    """Return the problems file by file, as the files were met, and in each from top to bottom."""
    listed = list(dict.fromkeys(problems))
    files = list(dict.fromkeys(problem.file for problem in listed))
    return sorted(listed, key=lambda problem: (files.index(problem.file), problem.line or 0))


def problem_json(problem: "Problem") -> dict[str, Any]:
    """Return a problem for machines; what is not known is null."""
    return {
        "code": problem.code,
        "severity": problem.severity,
        "flow": problem.flow_slug,
        "step": problem.step_slug,
        "file": problem.file,
        "line": problem.line,
        "what": problem.what,
        "why": problem.why or None,
        "fix": problem.fix or None,
        "mended": problem.mended,
    }


# ---- for people -----------------------------------------------------------------------------------------------------


def _print(flows: "Sequence[AnyFlow]", problems: "Sequence[Problem]") -> None:
    from flowdsl.cli.output import out

    console = out()
    for problem in problems:
        console.print(problem_text(problem), soft_wrap=True)
        console.print()
    for flow in flows:
        if not flow.problems():
            console.print(_sound_flow(flow, problems), soft_wrap=True)
    console.print(_summary(flows, problems), soft_wrap=True)


def problem_text(problem: "Problem") -> "Text":
    """Return a problem as a block of lines: where, what, why, how to mend it, and the mended line."""
    from rich.text import Text

    from flowdsl.cli.output import harmless

    colour = "yellow" if problem.is_warning else "red"
    place = "" if problem.location is None else f"{problem.location}: "
    text = Text.assemble((harmless(place), "bold"), (problem.code, f"bold {colour}"), harmless(_subject(problem)))
    text.append(f"\n  {_indented(problem.what)}")
    for label, said, style in (
        ("why", problem.why, "dim"),
        ("fix", _fix(problem), ""),
        ("write", problem.mended or "", "green"),
    ):
        if said:
            text.append(f"\n  {label + ':':<7}", style="dim")
            text.append(_indented(said, width=9), style=style)
    return text


def _fix(problem: "Problem") -> str:
    # The mended line is shown whole, and so need not be shown in part.
    lines = (
        line
        for line in problem.fix.splitlines()
        if problem.mended is None or not line.startswith(("Write when=", "Write unless="))
    )
    return "\n".join(lines)


def _subject(problem: "Problem") -> str:
    warning = " (warning)" if problem.is_warning else ""
    flow = "" if problem.flow_slug is None else f" flow '{problem.flow_slug}'"
    step = "" if problem.step_slug is None else f", step '{problem.step_slug}'"
    return f"{warning}{flow}{step}"


def _indented(said: str, width: int = 2) -> str:
    from flowdsl.cli.output import harmless

    return f"\n{' ' * width}".join(harmless(said).splitlines())


def _sound_flow(flow: "AnyFlow", problems: "Sequence[Problem]") -> "Text":
    from rich.text import Text

    warnings = sum(problem.is_warning and problem.flow_slug == flow.slug for problem in problems)
    text = Text.assemble(("ok", "green"), f" {flow.slug}: {counted(len(flow.steps), 'step')}")
    if warnings:
        text.append(f", {counted(warnings, 'warning')}", style="yellow")
    text.append(f"  {flow.location}", style="dim")
    return text


def _summary(flows: "Sequence[AnyFlow]", problems: "Sequence[Problem]") -> "Text":
    from rich.text import Text

    warnings = sum(problem.is_warning for problem in problems)
    wrong = len(problems) - warnings
    slugs = {flow.slug for flow in flows} | {problem.flow_slug for problem in problems if problem.flow_slug}
    said = [counted(wrong, "problem") if wrong else "no problems"]
    said += [counted(warnings, "warning")] if warnings else []
    where = f" in {counted(len(slugs), 'flow')}" if slugs else ""
    return Text(f"{', '.join(said)}{where}", style="bold red" if wrong else "bold")


def counted(number: int, noun: str) -> str:
    """Return a number and its noun.

    >>> counted(1, "flow"), counted(2, "flow")
    ('1 flow', '2 flows')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
