"""What a flow's callers have to know, read from the flow itself or from what the database says of it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flowdsl.errors import ConfigError
from flowdsl.model.flow import Flow
from flowdsl.model.step import is_valid_slug
from flowdsl.references.soundness import UnsoundSchemaError, sound, unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDescription:
    """A step: its slug and the JSON Schema of its whole output."""

    slug: str
    output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDescription:
    """A flow as its callers see it, in JSON Schemas.

    `output` is None where a run's output is an object of those of the steps in `leaves`. `version` is None for a flow of a
    module, whose schemas name the types they describe; those of the database do not. `fingerprint` is None where a flow was
    made without one.
    """

    slug: str
    fingerprint: str | None
    version: int | None
    input: Any
    output: Any
    leaves: tuple[str, ...]
    steps: tuple[StepDescription, ...]


def described_by_flow(flow: Flow[Any, Any]) -> FlowDescription:
    """Describe a flow that is at hand, with the names of its types."""
    waited_for = {slug for step in flow.steps for slug in step.dependency_slugs}
    return FlowDescription(
        slug=flow.slug,
        fingerprint=flow.fingerprint,
        version=None,
        input=_schema(flow.input_adapter.input_schema),
        output=None if flow.returns_leaves else _schema(flow.output_adapter.output_schema),
        leaves=tuple(step.slug for step in flow.steps if step.slug not in waited_for) if flow.returns_leaves else (),
        steps=tuple(
            StepDescription(slug=step.slug, output=_schema(step.step_output.output_schema)) for step in flow.steps
        ),
    )


def described_by_database(found: Mapping[str, Any]) -> FlowDescription:
    """Describe a flow by what `describe_flow` says of it.

    Raises:
        ConfigError: it was compiled by a flowdsl that did not store schemas yet, or holds names that cannot be.
    """
    slug, steps = found["slug"], found["steps"]
    _refuse_odd_names(found)
    if found["inputSchema"] is None:
        raise ConfigError(
            f"the database has no schemas of flow '{slug}': an earlier flowdsl compiled it.",
            hint="Compile it again (pgflow compile, then alembic upgrade head), or name its module: "
            f"pgflow client MODULE:{slug}",
        )
    waited_for = {dep for step in steps for dep in step["dependencies"]}
    has_leaves = found["outputStep"] is None
    return FlowDescription(
        slug=slug,
        fingerprint=found["fingerprint"],
        version=found["version"],
        input=found["inputSchema"],
        output=None if has_leaves else _known(found["outputSchema"]),
        leaves=tuple(step["slug"] for step in steps if step["slug"] not in waited_for) if has_leaves else (),
        steps=tuple(StepDescription(slug=step["slug"], output=_known(step["outputSchema"])) for step in steps),
    )


def sound_description(flow: FlowDescription) -> FlowDescription:
    """Return the description with schemas that can be relied on.

    Raises:
        ConfigError: naming the flow, and the step, whose schema is none.
    """
    return replace(
        flow,
        input=_usable(flow, None, "input", flow.input),
        output=None if flow.output is None else _usable(flow, None, "output", flow.output),
        steps=tuple(replace(step, output=_usable(flow, step.slug, "output", step.output)) for step in flow.steps),
    )


def _usable(flow: FlowDescription, step_slug: str | None, subject: str, schema: Any) -> Any:
    try:
        return sound(schema)
    except UnsoundSchemaError as error:
        raise unusable(flow.slug, step_slug, subject, error) from error


def _refuse_odd_names(found: Mapping[str, Any]) -> None:
    """Refuse names that flowdsl never gave, and that would be code in the file: not all databases check them."""
    slug, steps = found["slug"], found["steps"]
    slugs = [slug, *(step["slug"] for step in steps), *(dep for step in steps for dep in step["dependencies"])]
    for name in slugs:
        if not is_valid_slug(name):
            raise ConfigError(f"flow {slug!r} of the database: {name!r} can name no flow and no step.", hint=_ODD)
    fingerprint = found["fingerprint"]
    if fingerprint is not None and not (isinstance(fingerprint, str) and _FINGERPRINT.fullmatch(fingerprint)):
        raise ConfigError(f"flow '{slug}' of the database: {fingerprint!r} is no fingerprint of a flow.", hint=_ODD)


_FINGERPRINT: Final = re.compile(r"[0-9A-Fa-f]{1,128}")
_ODD: Final = (
    "flowdsl did not write this. See who did, and compile the flow again: pgflow compile, then alembic upgrade head."
)


def _schema(made: Callable[[], Any]) -> Any:
    try:
        return made()
    except Exception:  # hooks of users' types may raise anything; such a type is taken as it comes
        return True


def _known(schema: Any) -> Any:
    return True if schema is None else schema
