"""The pydantic model of what a step is given: one field per whole dependency, by slug, and `run`."""

import keyword
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from flowdsl.model.adapters import JSON_CONFIG
from flowdsl.model.step import StepSpec


def input_model_of(step: StepSpec) -> type[BaseModel]:
    """Return the model of a step's inputs; a map step's element is not among them, and what may be skipped may be None."""
    names = _field_names([dep.slug for dep in step.deps])
    fields: dict[str, Any] = {}
    for dep in step.deps:
        name = names[dep.slug]
        default = None if dep.is_maybe else ...
        fields[name] = (dep.type, default if name == dep.slug else Field(default, alias=dep.slug))
    config = ConfigDict(**JSON_CONFIG, populate_by_name=True, protected_namespaces=(), serialize_by_alias=True)
    return create_model(f"{step.slug}_input", __config__=config, **fields)


def _field_names(slugs: Sequence[str]) -> dict[str, str]:
    """Give each slug a name that pydantic takes for a field: its own wherever possible."""
    names = {slug: slug for slug in slugs if _can_be_a_field(slug)}
    for slug in slugs:
        name = slug.lstrip("_") or "field"
        while slug not in names and (name in names.values() or not _can_be_a_field(name)):
            name += "_"
        names.setdefault(slug, name)
    return names


def _can_be_a_field(name: str) -> bool:
    return not (name.startswith("_") or keyword.iskeyword(name) or hasattr(BaseModel, name))
