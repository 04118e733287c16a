"""The pydantic model of what a step is given: one field per whole dependency, by slug, and `run`."""

import keyword
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from flowdsl.model.adapters import JSON_CONFIG
from flowdsl.model.step import StepSpec


def input_model_of(step: StepSpec) -> type[BaseModel]:
    """Return the model of a step's inputs; a map step's element is not among them."""
    fields: dict[str, Any] = {}
    for dep in step.deps:
        name = _field_name(dep.slug)
        fields[name] = (dep.type, ... if name == dep.slug else Field(alias=dep.slug))
    config = ConfigDict(**JSON_CONFIG, populate_by_name=True, protected_namespaces=(), serialize_by_alias=True)
    return create_model(f"{step.slug}_input", __config__=config, **fields)


def _field_name(slug: str) -> str:
    """Return a name pydantic accepts as a field: not private, no keyword, none of a model's own attributes."""
    name = slug.lstrip("_") or "field"
    if name != slug or keyword.iskeyword(slug) or hasattr(BaseModel, slug):
        return f"{name}_{'_' * (len(slug) - len(name))}"
    return slug
