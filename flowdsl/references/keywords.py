"""The keywords of JSON Schema judged as the worker will judge them, and in a time that grows with the value alone.

`jsonschema` searches patterns with Python's own expressions, which know others than pydantic's and may take for ever, compares
each item with each other, computes multiples in binary, and judges the members of unions again at each level.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from pydantic_core import SchemaError, SchemaValidator, core_schema

Judged = dict[tuple[int, int], list[ValidationError]]
JUDGED: Final[ContextVar[Judged]] = ContextVar("JUDGED")
"""What is wrong with each object and array, by the reference it was judged by, while one value is judged."""

_FOLLOW: Final = Draft202012Validator.VALIDATORS["$ref"]


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and _matches(pattern, instance) is False:
        yield ValidationError("it does not match")


def _matches(pattern: str, text: str) -> bool | None:
    """Tell whether it matches; None where pydantic has the model's own engine judge, as the worker then does."""
    engine = _engine(pattern)
    return None if engine is None else bool(engine.isinstance_python(text))


@lru_cache(maxsize=256)
def _engine(pattern: str) -> SchemaValidator | None:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return None


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for pattern, part in patterns.items():
            for key, value in instance.items():
                if _matches(pattern, key):
                    yield from validator.descend(value, part, path=key, schema_path=pattern)


def _additional_properties(validator: Any, others: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", ()), schema.get("patternProperties", ())
    # A key of which it is not known whether it matches is left to the worker.
    extra = [
        key for key in instance if key not in known and all(_matches(pattern, key) is False for pattern in patterns)
    ]
    if others is False and extra:
        yield ValidationError("other keys", validator="otherKeys", validator_value=extra)
    elif isinstance(others, dict):
        for key in extra:
            yield from validator.descend(instance[key], others, path=key)


def _multiple_of(validator: Any, step: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "number"):
        return
    if isinstance(instance, int) and isinstance(step, int):
        fits = instance % step == 0
    else:
        try:
            fits = _multiples(float(step)).isinstance_python(float(instance))
        except OverflowError:  # no float is as large, which the worker will say as well
            return
    if not fits:
        yield ValidationError("it is no multiple")


@lru_cache(maxsize=256)
def _multiples(step: float) -> SchemaValidator:
    return SchemaValidator(core_schema.float_schema(multiple_of=step))


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not wanted or not validator.is_type(instance, "array"):
        return
    first: dict[Any, int] = {}
    for index, item in enumerate(instance):
        before = first.setdefault(_identity(item), index)
        if before != index:
            yield ValidationError(f"its items {before} and {index} are the same")
            return


def _identity(value: Any) -> Any:
    """Return something that is equal for values that are the same in JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, list):
        return (list, tuple(map(_identity, value)))
    if isinstance(value, dict):
        return (dict, frozenset((key, _identity(part)) for key, part in value.items()))
    return value


def _reference(validator: Any, ref: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Judge each part once by each reference: the members of a union may all lead to the same ones below."""
    if not isinstance(instance, (dict, list)):  # the same number or text may stand in many places
        yield from _FOLLOW(validator, ref, instance, schema)
        return
    judged, key = JUDGED.get(), (id(instance), id(schema))
    if key not in judged:
        judged[key] = list(_FOLLOW(validator, ref, instance, schema))
    yield from map(_copy, judged[key])


def _copy(error: ValidationError) -> ValidationError:
    """Copy an error, whose path is added to on its way up."""
    return ValidationError(
        error.message,
        validator=error.validator,
        path=deque(error.relative_path),
        context=error.context or (),
        validator_value=error.validator_value,
        instance=error.instance,
        schema=error.schema,
        schema_path=deque(error.relative_schema_path),
    )


_OWN: Final[Mapping[str, Any]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "multipleOf": _multiple_of,
    "uniqueItems": _unique_items,
    "$ref": _reference,
}
Judge: Final[Any] = extend(Draft202012Validator, _OWN)
