"""From a flow's definition to its shape: functions and types fall away, names and structure stay."""

from dataclasses import fields
from typing import Any

from flowdsl.model.definition import Definition
from flowdsl.model.options import NOT_STORED, FlowOptions, StepOptions, error_name
from flowdsl.model.shape import FlowShape, OptionValues, StepShape
from flowdsl.model.step import StepSpec
from flowdsl.model.type_schemas import TypeSchemas


def shape_of(definition: Definition) -> FlowShape:
    """Return the shape of a definition without problems."""
    schemas = TypeSchemas()
    written, read = (schemas.run_output(definition, read=read) for read in (False, True))
    return FlowShape(
        slug=definition.slug,
        output_step=definition.output_step,
        options=_values(definition.options),
        steps=tuple(_step_shape(step, schemas) for step in definition.steps),
        input_schema=schemas.run_input(definition),
        output_schema=written,
        output_read_schema=None if read == written else read,
    )


def _step_shape(step: StepSpec, schemas: TypeSchemas) -> StepShape:
    written, read = (schemas.step_output(step, read=read) for read in (False, True))
    return StepShape(
        slug=step.slug,
        step_type=step.step_type,
        deps=step.dependency_slugs,
        map_over=None if step.map_over is None else step.map_over.slug,
        uses_run_input=step.uses_run_input,
        options=_values(step.options),
        required_input_pattern=step.conditions.required,
        forbidden_input_pattern=step.conditions.forbidden,
        input_predicate=step.conditions.predicate,
        when_unmet=step.conditions.when_unmet,
        when_exhausted=step.conditions.when_exhausted,
        input_schema=schemas.step_input(step),
        output_schema=written,
        output_read_schema=None if read == written else read,
    )


def _values(options: FlowOptions | StepOptions) -> OptionValues:
    names = (field.name for field in fields(options) if field.name not in NOT_STORED)
    values: dict[str, Any] = {name: getattr(options, name) for name in names}
    if values.get("retry_on") is not None:
        values["retry_on"] = tuple(sorted(error_name(cls) for cls in values["retry_on"]))
    return OptionValues.of(values)
