"""Which step's output is asked for, by `.returns` and by typed look-ups, and what is wrong with the way it is asked for."""

from dataclasses import replace
from typing import Any, Optional

from flowdsl.model.definition import Definition
from flowdsl.model.dependencies import skip_reasons
from flowdsl.model.findings import Findings
from flowdsl.model.mending import Argument, Inner, Unwrapped
from flowdsl.model.problems import Code
from flowdsl.model.refs import Handler, Ref, handler_name
from flowdsl.model.step import StepSpec
from flowdsl.model.typenames import type_name


def asked_for(handler: Handler) -> Ref[Any]:
    """Return the reference, whether it was written as one or as the bare handler."""
    return handler if isinstance(handler, Ref) else Ref(handler)


def read_output(definition: Definition, handler: Handler, findings: Findings) -> StepSpec | None:
    """Find the step whose output is asked for; a map step has to be asked for as `collect(handler)`."""
    asked = asked_for(handler)
    step = definition.find(asked.handler)
    if step is None:
        findings.unknown(asked.handler, Code.UNKNOWN_STEP, 0)
        return None
    if step.is_map and not asked.collects:
        right = handler_name(replace(asked, collects=True))
        what, fix = f"'{step.slug}' is a map step, whose results are a list.", f"Ask for {right}."
        findings.add(Code.COLLECT_FORGOTTEN, what, fix, Inner(0, "collect({})"))
    elif asked.collects and not step.is_map:
        name = handler_name(asked.handler)
        what, fix = f"'{step.slug}' is no map step, so there is nothing to collect.", f"Ask for {name} itself."
        findings.add(Code.COLLECT_OF_NO_MAP, what, fix, Unwrapped(0, "collect"))
    return step


def check_returned(definition: Definition, step: StepSpec, handler: Handler, findings: Findings) -> None:
    """Find what keeps a step's output from being the run's: another one is, or `maybe` is missing or too much."""
    if definition.output_step is not None:
        what = f"the run's output is that of '{definition.output_step}' already."
        findings.add(Code.RETURNS_TWICE, what, "Keep one .returns(…) and leave out the other.")
    asked = asked_for(handler)
    if step.has_unknown_mode:
        return
    if asked.is_maybe and not step.can_be_skipped:
        right = handler_name(replace(asked, is_maybe=False)) if asked.collects else handler_name(asked.handler)
        what = f"{handler_name(asked)} is never None: '{step.slug}' is never skipped."
        why = "Readers of the output would take care of a None that never comes."
        findings.add(Code.MAYBE_WITHOUT_SKIP, what, f"Return {right} itself.", Unwrapped(0, "maybe"), why=why)
    elif not asked.is_maybe and step.can_be_skipped:
        right, optional = handler_name(replace(asked, is_maybe=True)), type_name(Optional[step.step_output_type])  # noqa: UP045 - of any type
        what = f"'{step.slug}' can be skipped ({skip_reasons(step)}), and then the run has no output."
        fix = f"Return {right}: the run's output is {optional} then."
        findings.add(Code.MAYBE_FORGOTTEN, what, fix, Argument(0, "maybe({})"))
