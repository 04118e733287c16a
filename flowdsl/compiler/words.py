"""Steps, conditions and options in words, the same in the diff, in the reasons of an impact and in a revision's docstring."""

from collections.abc import Mapping
from typing import Final

from flowdsl.model.conditions import SkipMode
from flowdsl.model.shape import FlowShape, OptionValue, StepShape

RUN: Final = "run"
LEAVES: Final = "the leaf steps"
FATES: Final[Mapping[SkipMode, str]] = {
    "skip": "skip it",
    "skip-cascade": "skip it and all that depend on it",
    "fail": "fail the run",
}


def counted(number: int, noun: str) -> str:
    """Return a number of things: `1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def versions_words(first: int, last: int) -> str:
    """Return versions in words: `version 2`, `versions 2 to 4`."""
    return f"version {last}" if first == last else f"versions {first} to {last}"


def kind_words(step: StepShape) -> str:
    """Return what a step is: `one task`, `a map over links`."""
    return "one task" if step.map_over is None else f"a map over {step.map_over}"


def given(step: StepShape) -> tuple[str, ...]:
    """Return what a step's handler is given whole, in order: `run` and steps."""
    return (*([RUN] if step.uses_run_input else []), *(dep for dep in step.deps if dep != step.map_over))


def given_words(step: StepShape) -> str:
    """Return what a step's handler is given whole."""
    return ", ".join(given(step)) or "nothing"


def step_words(step: StepShape) -> str:
    """Return a step on one line: `takes run, website`, `a map over links, takes run`."""
    if step.map_over is None:
        return f"takes {given_words(step)}"
    return f"{kind_words(step)}, takes {given_words(step)}" if given(step) else kind_words(step)


def sources(step: StepShape) -> tuple[str, ...]:
    """Return whatever a step reads: `run` and the steps it depends on."""
    reads_run = step.uses_run_input or step.map_over == RUN
    return (*([RUN] if reads_run else []), *step.deps)


def output_steps(shape: FlowShape) -> frozenset[str]:
    """Return the steps whose outputs a run returns: the chosen one, or those that no other depends on."""
    if shape.output_step is not None:
        return frozenset({shape.output_step})
    return frozenset(step.slug for step in shape.steps) - {dep for step in shape.steps for dep in step.deps}


def condition_words(step: StepShape) -> str:
    """Return when a step runs: `when site.url == 'x'`, `when {…} unless {…}`, `always`."""
    found = {
        "when": step.required_input_pattern,
        "unless": step.forbidden_input_pattern,
    }
    parts = [f"{word} {pattern}" for word, pattern in found.items() if pattern is not None]
    if step.input_predicate is not None:
        parts.append(f"when {step.input_predicate}")
    return " and ".join(parts) or "always"


def option_words(value: OptionValue) -> str:
    """Return the value of an option."""
    if value is None:
        return "default"
    return "[" + ", ".join(value) + "]" if isinstance(value, tuple) else repr(value)
