"""How a step is referred to in the user's source."""

from collections.abc import Mapping
from typing import Any

from flowdsl.model.refs import Named, handler_name, same_handler
from flowdsl.model.step import StepSpec


def written_ref(step: StepSpec, nearby: Mapping[str, Any]) -> str:
    """Return the name of a step's handler where the flow is being written; `nearby` are the names known there."""
    name = handler_name(step.handler)
    if isinstance(step.ref, Named):
        own = (known for known, value in nearby.items() if isinstance(value, Named) and value == step.ref)
        return next(own, None) or f'named("{step.slug}", {name})'
    if same_handler(nearby.get(name), step.handler):
        return name
    return next((known for known, value in nearby.items() if same_handler(value, step.handler)), name)


def written_whole(step: StepSpec, nearby: Mapping[str, Any], *, is_maybe: bool) -> str:
    """Return how all of a step's output is asked for: with `collect` for a map step, and with `maybe` if so wished."""
    name = written_ref(step, nearby)
    whole = f"collect({name})" if step.is_map else name
    return f"maybe({whole})" if is_maybe else whole
