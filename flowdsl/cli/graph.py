"""`pgflow graph`: a flow's steps and edges, as text or Mermaid; asks no database."""

import re
from collections.abc import Collection
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
    """Show a flow's steps, what each one needs, and when it is skipped."""
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
    steps = {other.slug: other for other in shape.steps}
    whole = [_dependency(steps[dep]) for dep in step.deps if dep != step.map_over]
    each = [] if step.map_over is None else [f"each of {step.map_over}"]
    run = [RUN] if step.uses_run_input else []
    return "; ".join([", ".join([*each, *run, *whole]) or "nothing", *conditions(step)])


def _dependency(dep: "StepShape") -> str:
    whole = f"collect({dep.slug})" if dep.map_over is not None else dep.slug
    return f"maybe({whole})" if _may_be_missing(dep) else whole


def _may_be_missing(step: "StepShape") -> bool:
    found = (step.required_input_pattern, step.forbidden_input_pattern, step.input_predicate)
    is_conditional = any(condition is not None for condition in found)
    return (is_conditional and step.when_unmet == "skip") or step.when_exhausted == "skip"


def conditions(step: "StepShape") -> list[str]:
    """Return when a step runs and what else becomes of it, each in a few words; empty for one that always runs."""
    lines = []
    if step.required_input_pattern is not None:
        lines.append(f"when {step.required_input_pattern}")
    if step.forbidden_input_pattern is not None:
        lines.append(f"unless {step.forbidden_input_pattern}")
    if step.input_predicate is not None:
        lines.append(f"when {step.input_predicate}")
    if lines:
        lines.append(f"when unmet: {step.when_unmet}")
    if step.when_exhausted != "fail":
        lines.append(f"when exhausted: {step.when_exhausted}")
    return lines


def mermaid_text(shape: "FlowShape") -> str:
    """Return a Mermaid flowchart.

    A map step has a double frame, and a thick edge brings its elements; a dotted one comes from a step that may be skipped.
    """
    # Ids carry a prefix, for a step may be called `end`, which Mermaid takes for a keyword.
    lines = ["flowchart TD", f"    {RUN}([{shape.slug}])"]
    for step in shape.steps:
        frame = ("[[", "]]") if step.map_over is not None else ("[", "]")
        lines.append(f"    step_{step.slug}{frame[0]}{_label(step)}{frame[1]}")
    missing = {step.slug for step in shape.steps if _may_be_missing(step)}
    for step in shape.steps:
        lines += [f"    {_node(dep)} {_arrow(step, dep, missing)} step_{step.slug}" for dep in _sources(step)]
    if shape.output_step is not None:
        lines += ["    output([output])", f"    step_{shape.output_step} --> output"]
    return "\n".join(lines)


def _sources(step: "StepShape") -> list[str]:
    from_run = step.uses_run_input or step.map_over == RUN
    return [*([RUN] if from_run else []), *step.deps]


def _node(dep: str) -> str:
    return RUN if dep == RUN else f"step_{dep}"


def _label(step: "StepShape") -> str:
    lines = conditions(step)
    if not lines:
        return step.slug
    # Inside of quotes Mermaid takes entities, written with # for &.
    escaped = (re.sub(r"[^\w ,.:/-]", lambda found: f"#{ord(found.group())};", line) for line in lines)
    return '"' + "<br/>".join([step.slug, *escaped]) + '"'


def _arrow(step: "StepShape", dep: str, missing: Collection[str]) -> str:
    if step.map_over == dep:
        return "==>|each|"
    return "-.->" if dep in missing else "-->"
