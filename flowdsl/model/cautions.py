"""Warnings: what works, but perhaps not as its author thinks."""

from collections.abc import Iterator
from dataclasses import replace

from flowdsl.errors import Problem
from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.definition import Definition
from flowdsl.model.losses import losses
from flowdsl.model.problems import WHY, Code
from flowdsl.model.step import StepSpec
from flowdsl.model.typenames import type_name


def warnings_of(definition: Definition) -> tuple[Problem, ...]:
    """Return the warnings of a flow without problems, in the order of its definition."""
    return (
        *_lossy(definition, None, definition.location, "its input", ValueAdapter(definition.input_type)),
        *(warning for step in definition.steps for warning in _of_step(definition, step)),
    )


def dropped(definition: Definition, location: str) -> Problem:
    """Return the warning about a call whose flow nobody keeps."""
    what = f"the flow that this call returns is not kept, so '{definition.slug}' stays as it was."
    fix = "Assign it, flow = flow.step(…), or write all calls in one chain."
    return warning(Code.DROPPED_FLOW, definition, None, location, what, fix)


def caught(problem: Problem) -> Problem:
    """Return a problem as a warning: its module goes on without the flow that it is about."""
    return replace(problem, what=f"{problem.what} The module catches the error and goes on.", severity="warning")


def warning(
    code: Code, definition: Definition, step_slug: str | None, location: str | None, what: str, fix: str
) -> Problem:
    """Make a warning about a flow, or one of its steps."""
    return Problem(
        code=code,
        flow_slug=definition.slug,
        step_slug=step_slug,
        location=location,
        what=what,
        fix=fix,
        why=WHY[code],
        severity="warning",
    )


def _of_step(definition: Definition, step: StepSpec) -> Iterator[Problem]:
    yield from _lossy(definition, step.slug, step.location, "its output", step.step_output)
    if _is_unread(definition, step):
        what = f"nobody reads its output ({type_name(step.step_output_type)})"
        if definition.output_step is not None:
            what += f": the run's output is that of '{definition.output_step}', which does not need it"
        fix = "Depend on it, return it with .returns(…), leave the step out, or let its handler return None."
        yield warning(Code.UNREAD_OUTPUT, definition, step.slug, step.location, f"{what}.", fix)


def _lossy(
    definition: Definition, step_slug: str | None, location: str, subject: str, adapter: ValueAdapter
) -> Iterator[Problem]:
    for loss in losses(adapter):
        place = f" in {loss.where}" if loss.where else ""
        what = f"{subject} ({type_name(adapter.declared)}) holds{place} {loss.what}."
        yield warning(Code.LOSSY_JSON, definition, step_slug, location, what, loss.fix)


def _is_unread(definition: Definition, step: StepSpec) -> bool:
    """Tell whether a step's output goes nowhere, although it has one. Without `.returns` every leaf is the run's output."""
    if definition.output_step in (None, step.slug) or step.output_type in (None, type(None)):
        return False
    return not any(step.slug in other.dependency_slugs for other in definition.steps)
