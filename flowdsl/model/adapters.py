"""Between Python values and JSON bytes, through pydantic: one adapter per type, built once.

What goes out is checked strictly (a handler that returns something else than it declares is an error, not a
conversion) and what comes in leniently, for it may come from other languages. A value that came out of `encode` goes
back into `decode` unharmed, or `encode` refuses it.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NewType, NotRequired

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json
from typing_extensions import TypedDict

from flowdsl.errors import ValueProblem
from flowdsl.model.generators import InputJsonSchema, OutputJsonSchema, QuietJsonSchema, WrittenJsonSchema
from flowdsl.model.storable import Obstacle, obstacle_in, obstacle_of, parts_of

JSON_CONFIG: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False)
"""Arbitrary bytes survive; NaN and Infinity, which JSON lacks, are refused. A model's own configuration comes first."""

# An odd number of backslashes before u0000 makes it the character and not the text.
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_FIELDS: Final = frozenset({"model-field", "dataclass-field", "typed-dict-field"})
# What travels as a JSON string without being one, so that a union with another of them may read it as the other.
_TEXT_LIKE: Final = frozenset(
    {
        *(
            "bytes",
            "uuid",
            "decimal",
            "date",
            "time",
            "datetime",
            "timedelta",
            "complex",
            "url",
            "multi-host-url",
            "enum",
        ),
        *("lax-or-strict", "json-or-python"),  # paths, addresses and other types made of text
    }
)
_TEXT: Final = _TEXT_LIKE | {"str", "literal"}
# Python and pydantic read no longer integers; half of it, so that a longer one holds at least one aligned block of digits.
_DIGITS_MAX: Final = 4300
_BLOCK: Final = _DIGITS_MAX // 2


class MisfitError(Exception):
    """A value does not fit its type; callers know which value of which step it is and raise the public error."""

    def __init__(self, problems: tuple[ValueProblem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class ValueAdapter:
    """Between values of one type and JSON."""

    __slots__ = ("_adapter", "_by_alias", "_dump", "_is_ambiguous", "_parse", "_validate", "declared")

    def __init__(self, declared: Any) -> None:
        self.declared = declared
        # Behind a new type, the configuration reaches dataclasses and typed dicts too; bare ones refuse it.
        make: Any = NewType
        self._adapter: TypeAdapter[Any] = TypeAdapter(make("Value", declared), config=JSON_CONFIG)
        parts = list(parts_of(self._adapter.core_schema))
        self._by_alias = all(_accepts(part) for part in parts if part["type"] in _FIELDS)
        self._is_ambiguous = any(map(_is_ambiguous, parts))
        # Called for every task: the adapter's own methods only pass a dozen arguments on, for 0.5 µs of 2.4 (encode) and
        # 1.3 of 2.4 (decode).
        self._validate = self._adapter.validator.validate_python
        self._parse = self._adapter.validator.validate_json
        self._dump = self._adapter.serializer.to_json

    def encode(self, value: object) -> bytes:
        """Check a value strictly and return its JSON."""
        try:
            valid = self._checked(value)
            # Of this "error" costs 1.1 µs, as any word would; True would warn, which nobody can catch in threads.
            data = self._dump(valid, by_alias=self._by_alias, round_trip=True, warnings="error")
        except ValidationError as error:
            raise MisfitError(tuple(_validation_problems(error))) from error
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise MisfitError((_serialization_problem(error),)) from error
        self._refuse_what_json_lacks(valid, data)
        if self._is_ambiguous:
            problems = tuple(_changes(valid, self.decode(data), ""))
            if problems:
                raise MisfitError(problems)
        return data

    def _checked(self, value: object) -> Any:
        try:
            return self._validate(value, strict=True)
        except ValidationError as error:
            if not _is_about_bools(error):
                raise
        # In Python a bool is an int, and all type checkers take it for one; strict pydantic does not.
        return self._validate(value, strict=False)

    def decode(self, data: bytes) -> Any:
        """Return the value of a JSON text."""
        try:
            return self._parse(data, by_alias=True, by_name=True)
        except ValidationError as error:
            raise MisfitError(tuple(_validation_problems(error))) from error

    @property
    def core_schema(self) -> Any:
        """What pydantic made of the type: keys, defaults and types of everything in it."""
        return self._adapter.core_schema

    @property
    def by_alias(self) -> bool:
        """Whether keys are written as the aliases of their fields."""
        return self._by_alias

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what `encode` returns, which is also what `decode` takes."""
        return self._adapter.json_schema(by_alias=self._by_alias, schema_generator=QuietJsonSchema)

    def written_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of nothing but what `encode` returns; anything goes where pydantic does not know that."""
        return self._adapter.json_schema(
            by_alias=self._by_alias, mode="serialization", schema_generator=WrittenJsonSchema
        )

    def output_schema(self) -> dict[str, Any]:
        """Return `written_schema` as a promise to readers: which keys are always there, which text is a number or a date."""
        return self._adapter.json_schema(
            by_alias=self._by_alias, mode="serialization", schema_generator=OutputJsonSchema
        )

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what writers may send: all that `encode` returns, and what is left to its defaults."""
        return self._adapter.json_schema(by_alias=self._by_alias, schema_generator=InputJsonSchema)

    def _refuse_what_json_lacks(self, valid: Any, data: bytes) -> None:
        # Searching bytes is cheap; the slow looks below happen only for values that may be wrong.
        if b"\\u0000" in data and _NUL.search(data):
            what = "text with the character U+0000, which PostgreSQL cannot store"
            raise MisfitError((ValueProblem(location="", message=what),))
        if len(data) >= _DIGITS_MAX and _has_endless_integer(data):
            what = f"an integer of more than {_DIGITS_MAX} digits, which cannot be read again (send it as text)"
            raise MisfitError((ValueProblem(location="", message=what),))
        if b"null" in data or b"NaN" in data or b"Infinity" in data:
            problems = tuple(self._lost_numbers(valid, data))
            if problems:
                raise MisfitError(problems)

    def _lost_numbers(self, valid: Any, data: bytes) -> Iterator[ValueProblem]:
        """Find the floats that became null: models write NaN so by default, and a reader could not tell it from None."""
        plain = self._adapter.dump_python(valid, by_alias=self._by_alias, round_trip=True, warnings=False)
        found = list(_not_finite(plain, ""))
        if found and _nulls_of_json(data) > _nulls(plain):
            for location, number in found:
                yield ValueProblem(location=location, message=f"{number} is no number JSON can hold")


class InputsAdapter:
    """From the JSON object of a step's inputs to the values, in the order of the given names.

    An `optional` input that is absent is None.
    """

    __slots__ = ("_names", "_parse")

    def __init__(self, declared: Mapping[str, Any], optional: Collection[str] = ()) -> None:
        self._names = tuple(declared)
        may_lack: Any = NotRequired
        fields = typed_dict(
            "Inputs", {name: may_lack[type_] if name in optional else type_ for name, type_ in declared.items()}
        )
        fields.__pydantic_config__ = JSON_CONFIG
        self._parse: Callable[..., dict[str, Any]] = TypeAdapter(fields).validator.validate_json

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """Return the values of a JSON object, parsed and checked in one pass."""
        try:
            values = self._parse(data, by_alias=True, by_name=True)
        except ValidationError as error:
            raise MisfitError(tuple(_validation_problems(error))) from error
        return tuple(map(values.get, self._names))


def typed_dict(name: str, fields: Mapping[str, Any], *, total: bool = True) -> Any:
    """Make a TypedDict of fields known only now, which type checkers cannot follow."""
    make: Any = TypedDict
    return make(name, dict(fields), total=total)


def why_not_json(declared: Any) -> Obstacle | None:
    """Return why pydantic cannot turn values of a type into JSON and back, or None when it can."""
    try:
        return _why_one_way(declared) if _is_hashable(declared) else _why_one_way.__wrapped__(declared)
    except (PydanticUserError, TypeError, NameError) as error:
        return obstacle_of(error)


def _is_hashable(declared: Any) -> bool:
    try:
        hash(declared)
    except TypeError:  # such as Annotated[int, []]
        return False
    return True


# Many steps of a flow share their types. What raises is not kept: a class that is missing now may be there later.
@lru_cache(maxsize=1024)
def _why_one_way(declared: Any) -> Obstacle | None:
    adapter = describing_adapter(declared)
    adapter.json_schema()
    return obstacle_in(adapter.core_schema)


def describing_adapter(declared: Any) -> ValueAdapter:
    """Return an adapter to describe values with, the same for equal types.

    It is not for converting them: `bytes | str` equals `str | bytes`, but a text is read by their order.
    """
    return _describing_adapter(declared) if _is_hashable(declared) else ValueAdapter(declared)


_describing_adapter = lru_cache(maxsize=1024)(ValueAdapter)


def _validation_problems(error: ValidationError) -> Iterator[ValueProblem]:
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        yield ValueProblem(location=".".join(map(str, detail["loc"])), message=detail["msg"])


def _is_about_bools(error: ValidationError) -> bool:
    details = error.errors(include_url=False, include_context=False)
    return all(detail["type"] in ("int_type", "float_type") and isinstance(detail["input"], bool) for detail in details)


def _serialization_problem(error: Exception) -> ValueProblem:
    message = str(error).removeprefix("Error serializing to JSON: ")
    if "utf-8" in message and "surrogate" not in message:
        message += (
            " (for bytes in a model, set ser_json_bytes='base64' and val_json_bytes='base64' in its model_config)"
        )
    return ValueProblem(location="", message=" ".join(message.split()))


def _accepts(field: Mapping[str, Any]) -> bool:
    """Tell whether a field that is written under an alias would be found under that alias again."""
    written, read = field.get("serialization_alias"), field.get("validation_alias")
    if written is None or written == read:
        return True
    return isinstance(read, list) and [written] in [list(path) if isinstance(path, list) else [path] for path in read]


def _is_ambiguous(part: Mapping[str, Any]) -> bool:
    """Tell whether JSON may not say which member of a union a value was, as with `UUID | str` or `dict[int | str, …]`."""
    if part["type"] == "dict":
        return len(_members(part.get("keys_schema", {"type": "str"}))) > 1
    kinds = [member["type"] for member in _members(part)] if part["type"] == "union" else []
    return sum(kind in _TEXT for kind in kinds) > 1 and any(kind in _TEXT_LIKE for kind in kinds)


def _members(part: Any) -> list[Mapping[str, Any]]:
    """Return the members of a union, with those of unions inside; a type that is none is its own only member."""
    if part["type"] == "union":
        choices = (choice[0] if isinstance(choice, tuple) else choice for choice in part["choices"])
        return [member for choice in choices for member in _members(choice)]
    if part["type"] == "nullable":
        return [{"type": "none"}, *_members(part["schema"])]
    return _members(part["schema"]) if part["type"].startswith("function-") and "schema" in part else [part]


def _changes(before: Any, after: Any, location: str) -> Iterator[ValueProblem]:
    """Find what came back as another type than it was, or was lost because two keys are the same in JSON."""
    one, other = _content(before), _content(after)
    if one is not None and other is not None and len(one) == len(other):
        for (key, part), (read, again) in zip(one, other, strict=True):
            place = f"{location}.{key}" if location else str(key)
            if type(key) is not type(read):
                yield _change(f"the key {key!r}", key, read, place)
            else:
                yield from _changes(part, again, place)
    elif one is not None and other is not None and type(before) is type(after):
        what = "two keys are the same in JSON (use keys of one type)"
        yield ValueProblem(location=location, message=what)
    elif type(before) is not type(after) and before != after:
        yield _change("it", before, after, location)


def _change(subject: str, before: object, after: object, location: str) -> ValueProblem:
    what = (
        f"{subject} is a {type(before).__name__} and would come back as a {type(after).__name__}, for JSON tells the types "
        "of the union not apart (use one type, or a model for each with a field that says which)"
    )
    return ValueProblem(location=location, message=what)


def _content(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, BaseModel):
        return [(name, getattr(value, name)) for name in type(value).model_fields]
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else None


def _has_endless_integer(data: bytes) -> bool:
    if not any(data[at : at + _BLOCK].isdigit() for at in range(0, len(data) - _BLOCK + 1, _BLOCK)):
        return False
    try:  # it may be a text of digits
        from_json(data)
    except ValueError as error:
        return "number out of range" in str(error)
    return False


def _nulls_of_json(data: bytes) -> float:
    try:
        return _nulls(from_json(data, allow_inf_nan=False))
    except ValueError:  # a bare NaN, which a model may ask for and JSON does not know
        return math.inf


def _nulls(value: Any) -> int:
    if value is None:
        return 1
    if isinstance(value, dict):
        return sum(map(_nulls, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return sum(map(_nulls, value))
    return 0


def _not_finite(value: Any, location: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield location, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _not_finite(part, f"{location}.{key}" if location else str(key))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, part in enumerate(value):
            yield from _not_finite(part, f"{location}.{index}" if location else str(index))
