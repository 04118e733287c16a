"""The JSON Schemas of a flow: what each step is given and what it writes, what starts a run and what comes of it.

Inputs are described as they are read and outputs as they are written (see `generators`), so that one question answers
whether a change of types is safe: is all that the one side writes among what the other reads?
"""

from collections.abc import Callable
from typing import Any

from flowdsl.model.adapters import ValueAdapter, describing_adapter
from flowdsl.model.canonical import ANYTHING, Canonical, array_of, object_of, optional
from flowdsl.model.definition import Definition
from flowdsl.model.schemas import Schema
from flowdsl.model.step import StepSpec


class TypeSchemas:
    """Schemas of the types of one flow, each made once: most types are used by several steps."""

    def __init__(self) -> None:
        self._schemas: dict[tuple[str, Any], Canonical] = {}

    def run_input(self, definition: Definition) -> Schema:
        """Return the schema of what starts a run."""
        return self._reading(definition.input_type).schema()

    def run_output(self, definition: Definition, *, read: bool = False) -> Schema:
        """Return the schema of a completed run's output: that of a step, or an object of the leaf steps' by slug.

        As it is written, or with `read` as callers read it.
        """
        if definition.output_step is not None:
            step = next(step for step in definition.steps if step.slug == definition.output_step)
            output = self._output(step, read=read)
            return (optional(output) if definition.output_is_maybe else output).schema()
        waited_for = {slug for step in definition.steps for slug in step.dependency_slugs}
        leaves = [step for step in definition.steps if step.slug not in waited_for]
        always = [step.slug for step in leaves if not step.can_be_skipped]
        whole = object_of({step.slug: self._output(step, read=read) for step in leaves}, always)
        return (whole if always else optional(whole)).schema()  # without a leaf that completed there is no output

    def step_input(self, step: StepSpec) -> Schema:
        """Return the schema of the object of all that a step is given whole, and of the list a map step maps over."""
        properties = {dep.slug: self._reading(dep.type) for dep in step.deps}
        required = [dep.slug for dep in step.deps if not dep.is_maybe]
        if step.map_over is not None:
            properties[step.map_over.slug] = array_of(self._reading(step.element_type))
            required.append(step.map_over.slug)
        return object_of(properties, required).schema()

    def step_output(self, step: StepSpec, *, read: bool = False) -> Schema:
        """Return the schema of a whole step's output, as it is written, or with `read` as others read it."""
        return self._output(step, read=read).schema()

    def _output(self, step: StepSpec, *, read: bool) -> Canonical:
        output = (self._reading if read else self._writing)(step.output_type)
        return array_of(output) if step.is_map else output

    def _reading(self, declared: Any) -> Canonical:
        return self._described("read", declared, ValueAdapter.input_schema)

    def _writing(self, declared: Any) -> Canonical:
        return self._described("written", declared, ValueAdapter.output_schema)

    def _described(self, how: str, declared: Any, schema_of: Callable[[ValueAdapter], Any]) -> Canonical:
        try:
            known = self._schemas.get((how, declared))
        except TypeError:  # some annotations have no hash
            return _canonical(declared, schema_of)
        if known is None:
            known = self._schemas[how, declared] = _canonical(declared, schema_of)
        return known


def _canonical(declared: Any, schema_of: Callable[[ValueAdapter], Any]) -> Canonical:
    try:
        return Canonical.of(schema_of(describing_adapter(declared)))
    except Exception:  # hooks of users' types may raise anything; such a type is taken as it comes
        return ANYTHING
