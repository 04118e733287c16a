"""`pgflow graph`: a flow's steps and edges, as text or Mermaid; asks no database."""

from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.options import Json

if TYPE_CHECKING:
    from flowdsl.model.shape import FlowShape, StepShape

RUN = "run"


def graph_command(
    flow: Annotated[
        str, typer.Argument(metavar="FLOW", help="Slug of a configured flow, or MODULE:FLOW.", show_default=False)
    ],
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    as_json: Json = False,
) -> None:
    """Show a flow's steps and what each one needs."""
    from flowdsl.cli.lookup import find_flow
    from flowdsl.cli.output import print_json
    from flowdsl.model.typenames import type_name

    chosen = find_flow(flow)
    shape = chosen.shape()
    if as_json:
        print_json({**shape.to_json(), "fingerprint": shape.fingerprint, "levels": levels(shape)})
    elif mermaid:
        typer.echo(mermaid_text(shape))
    else:
        types: dict[str, str] = {step.slug: type_name(step.step_output_type) for step in chosen.steps}
        typer.echo(f"{shape.slug}({type_name(chosen.input_type)})")
        typer.echo(graph_text(shape, types))


def levels(shape: "FlowShape") -> list[list[str]]:
    """Return the steps' slugs by level: each step stands one level below the lowest of those it waits for."""
    level_of: dict[str, int] = {}
    for step in shape.steps:
        level_of[step.slug] = 1 + max((level_of[dep] for dep in step.deps), default=-1)
    deepest = max(level_of.values(), default=-1)
    return [[slug for slug, level in level_of.items() if level == wanted] for wanted in range(deepest + 1)]


def graph_text(shape: "FlowShape", types: dict[str, str]) -> str:
    """Return one line per step, level by level: its slug, its output's type, and what it needs."""
    steps: dict[str, StepShape] = {step.slug: step for step in shape.steps}
    rows = [
        (str(number) if place == 0 else "", slug, types.get(slug, ""), _needs(steps[slug], shape))
        for number, level in enumerate(levels(shape), start=1)
        for place, slug in enumerate(level)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{row[0]:>{widths[0] + 2}}  {row[1]:<{widths[1]}}  {row[2]:<{widths[2]}}  <- {row[3]}" for row in rows
    ) + ("" if shape.output_step is None else f"\n{'':>{widths[0] + 2}}  returns {shape.output_step}")


def _needs(step: "StepShape", shape: "FlowShape") -> str:
    maps = {other.slug for other in shape.steps if other.map_over is not None}
    whole = [f"collect({dep})" if dep in maps else dep for dep in step.deps if dep != step.map_over]
    each = [] if step.map_over is None else [f"each of {step.map_over}"]
    run = [RUN] if step.uses_run_input else []
    return ", ".join([*each, *run, *whole]) or "nothing"


def mermaid_text(shape: "FlowShape") -> str:
    """Return a Mermaid flowchart; a map step has a double frame, and a thick edge brings its elements."""
    # Ids carry a prefix, for a step may be called `end`, which Mermaid takes for a keyword.
    lines = ["flowchart TD", f"    {RUN}([{shape.slug}])"]
    for step in shape.steps:
        frame = ("[[", "]]") if step.map_over is not None else ("[", "]")
        lines.append(f"    step_{step.slug}{frame[0]}{step.slug}{frame[1]}")
    for step in shape.steps:
        lines += [f"    {_node(dep)} {_arrow(step, dep)} step_{step.slug}" for dep in _sources(step)]
    if shape.output_step is not None:
        lines += ["    output([output])", f"    step_{shape.output_step} --> output"]
    return "\n".join(lines)


def _sources(step: "StepShape") -> list[str]:
    from_run = step.uses_run_input or step.map_over == RUN
    return [*([RUN] if from_run else []), *step.deps]


def _node(dep: str) -> str:
    return RUN if dep == RUN else f"step_{dep}"


def _arrow(step: "StepShape", dep: str) -> str:
    return "==>|each|" if step.map_over == dep else "-->"
