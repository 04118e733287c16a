"""Whether a value fits a JSON Schema, for those who have no types: `jsonschema` judges, we say it in our words.

Nothing is fetched: a schema that refers to anything but its own definitions is refused.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from jsonschema import FormatChecker
from pydantic import TypeAdapter, ValidationError
from referencing import Registry

from flowdsl.errors import ValueProblem
from flowdsl.model.adapters import JSON_CONFIG
from flowdsl.references.keywords import JUDGED, Judge
from flowdsl.references.soundness import sound

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError as SchemaProblem

# What pydantic reads of a text; a format it has no type for is taken as it comes.
_FORMATS: Final[Mapping[str, Any]] = {
    "date": date,
    "time": time,
    "date-time": datetime,
    "duration": timedelta,
    "decimal": Decimal,
    "uuid": UUID,
    "base64url": bytes,
}
_SHOWN: Final = 60
TOO_DEEP: Final = ValueProblem(location="", message="it is nested too deeply to be checked")


def validator_of(schema: Any) -> "Draft202012Validator":
    """Return what judges values by a schema.

    Raises:
        UnsoundSchemaError: it is no schema, or not one by itself.
    """
    validator: Draft202012Validator = Judge(sound(schema), registry=Registry(), format_checker=_formats())
    return validator


def problems_of(validator: "Draft202012Validator", value: Any) -> tuple[ValueProblem, ...]:
    """Return each place of a JSON value that does not fit; nothing when the whole does."""
    token = JUDGED.set({})
    try:
        found = [problem for error in validator.iter_errors(value) for problem in _problems(error)]
    except RecursionError:
        return (TOO_DEEP,)
    finally:
        JUDGED.reset(token)
    return tuple(sorted(dict.fromkeys(found), key=lambda problem: problem.location))


def _problems(error: "SchemaProblem", above: str = "") -> Iterable[ValueProblem]:
    # Not `absolute_path`: what is below an error may be below others too, and knows but one of them.
    location = ".".join([*([above] if above else []), *map(str, error.relative_path)])
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        # One error for each missing name, in their order.
        return [ValueProblem(location=_at(location, name), message="it is missing") for name in missing]
    if error.validator == "anyOf":
        return _of_nearest(error, location)
    return [ValueProblem(location=location, message=_words(error))]


def _of_nearest(error: "SchemaProblem", location: str) -> list[ValueProblem]:
    """Tell what is wrong by the only alternative of the value's kind; with several such, which there are."""
    of_kind: dict[int, list[SchemaProblem]] = {}
    for part in error.context or ():
        of_kind.setdefault(int(part.schema_path[0]), []).append(part)
    near = [parts for parts in of_kind.values() if not any(_is_other_kind(part) for part in parts)]
    if len(near) == 1:
        return [problem for part in near[0] for problem in _problems(part, location)]
    allowed = ", ".join(dict.fromkeys(_kind(member) for member in error.validator_value))
    return [ValueProblem(location=location, message=f"{_shown(error.instance)} fits none of: {allowed}")]


def _is_other_kind(part: "SchemaProblem") -> bool:
    at_top = not part.relative_path
    is_tag = len(part.relative_path) == 1 and part.validator == "enum" and len(part.validator_value) == 1
    return (at_top and part.validator in ("type", "enum")) or is_tag


def _words(error: "SchemaProblem") -> str:
    given, allowed = _shown(error.instance), error.validator_value
    match error.validator:
        case "type":
            return f"{given} is no {allowed if isinstance(allowed, str) else ' or '.join(allowed)}"
        case "enum":
            return f"{given} is not one of: {', '.join(map(_shown, allowed))}"
        case "format":
            return f"{given} is no {allowed}"
        case "otherKeys":
            known = error.schema.get("properties", {})
            return f"{', '.join(map(_shown, allowed))} is not among its keys: {', '.join(known) or 'none'}"
        case "pattern":
            return f"{given} does not match {allowed}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" | "multipleOf":
            return f"{given} is not {_BOUNDS[error.validator]} {allowed}"
        case "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties":
            return f"its length is {len(error.instance)}, which is not {_BOUNDS[error.validator[:3]]} {allowed}"
    return str(error.message)


_BOUNDS: Final = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
    "min": "at least",
    "max": "at most",
}


def _kind(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "anything"
    if "enum" in schema:
        return ", ".join(map(_shown, schema["enum"]))
    tags = [part["enum"][0] for part in schema.get("properties", {}).values() if len(_enum(part)) == 1]
    said = str(schema.get("format", schema.get("type", "object")))
    return f"{said} with {', '.join(map(_shown, tags))}" if tags else said


def _enum(schema: Any) -> list[Any]:
    return list(schema.get("enum", ())) if isinstance(schema, dict) else []


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _at(location: str, name: str) -> str:
    return f"{location}.{name}" if location else name


@cache
def _formats() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, kind in _FORMATS.items():
        checker.checks(name, raises=ValidationError)(_reads(kind))
    return checker


def _reads(kind: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=JSON_CONFIG)

    def fits(value: object) -> bool:
        if isinstance(value, str):
            adapter.validate_json(json.dumps(value))
        return True

    return fits
