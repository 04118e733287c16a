"""What may be compared with what: where the verdict on the JSON would not be Python's, it is refused with the way out."""

import json
import math
from collections.abc import Iterable
from enum import Enum
from numbers import Number
from typing import Any, Final
from uuid import UUID

from flowdsl.model.predicates.expressions import Constant, Operator
from flowdsl.model.predicates.kinds import Kind, Node, Scalar, family_of
from flowdsl.model.predicates.mistakes import PredicateError, impossible, pointless, untraceable
from flowdsl.suggest import closest

_ORDERS: Final = ("<", "<=", ">", ">=")
_LIST: Final = "Look into it with any_, all_, in_, count or an index."


def constant_of(node: Node, operator: Operator, value: Any, shown: str) -> Constant:
    """Return a constant as it is written where a value of the type is; refuse what is never equal or not comparable."""
    kind = node.kind
    check_comparable(kind, operator, shown)
    check_text(value)
    family = family_of(value)
    fitting = [scalar for scalar in kind.scalars if scalar.family == family]
    if not fitting:
        raise _unlike(kind, operator, value, shown)
    check_order(kind, fitting, operator, shown)
    alike = [scalar for scalar in kind.scalars if scalar.json_type == fitting[0].json_type]
    _check_families(alike, shown, shown)
    for scalar in fitting:
        if scalar.refusal:
            raise _refused(shown, scalar, scalar.refusal)
    written = _written(node, fitting[0], value, operator, shown)
    listed = [scalar.values for scalar in fitting]
    if operator in ("==", "!=") and None not in listed and not any(written in (known or ()) for known in listed):
        raise _never(kind, operator, value, shown, [known for values in listed for known in values or ()])
    return Constant(written, repr(value.value if isinstance(value, Enum) else value))


def check_comparable(kind: Kind, operator: Operator, shown: str) -> None:
    """Refuse what has no simple value to be compared."""
    if kind.opaque:
        raise untraceable(f"{shown} cannot be compared: {kind.opaque}.", _way_out(kind))
    if kind.is_scalar:
        return
    if kind.is_array or kind.is_union:
        raise untraceable(f"{shown} is {kind.name}, which cannot be compared as a whole.", _LIST)
    if kind.fields or kind.values is not None:
        known = ", ".join(kind.fields) or "its keys"
        raise untraceable(
            f"{shown} is {kind.name}, which cannot be compared as a whole.", f"Compare parts of it: {known}."
        )
    raise untraceable(f"{shown} is None, always.", f"Leave the comparison with {operator} out.")


def check_order(kind: Kind, scalars: Iterable[Scalar], operator: Operator, shown: str) -> None:
    """Refuse an order where there is none, or where that of the JSON is another one."""
    if operator not in _ORDERS:
        return
    if kind.is_union:
        what = f"{shown} is {kind.name}, which {operator} cannot compare."
        raise untraceable(what, "Give it one type, or compare with == and !=.")
    for scalar in scalars:
        if scalar.disorder:
            raise _refused(shown, scalar, scalar.disorder)


def check_pair(one: Kind, other: Kind, operator: Operator, shown: tuple[str, str]) -> None:
    """Refuse to compare two inputs whose values are never equal, or whose JSON says something else than they do."""
    for kind, name in zip((one, other), shown, strict=True):
        check_comparable(kind, operator, name)
        if kind.is_array:
            raise untraceable(f"{name} may be a list, and lists cannot be compared.", _LIST)
    left, right = ({scalar.family for scalar in kind.scalars} for kind in (one, other))
    if not left & right:
        what = f"{shown[0]} is {one.name}, and {shown[1]} is {other.name}"
        if operator in _ORDERS:
            raise untraceable(f"{what}, which {operator} cannot compare.", "Compare values of one type.")
        raise _decided(operator, f"{what}, which are never equal", "Compare values of one type.")
    for kind, name in zip((one, other), shown, strict=True):
        check_order(kind, kind.scalars, operator, name)
        for scalar in kind.scalars:
            if scalar.refusal:
                raise _refused(name, scalar, scalar.refusal)
    for json_type in ("string", "number", "boolean"):
        _check_families([s for s in (*one.scalars, *other.scalars) if s.json_type == json_type], *shown)
    listed = [[scalar.values for scalar in kind.scalars] for kind in (one, other)]
    if None not in listed[0] and None not in listed[1] and operator in ("==", "!="):
        values = [{value for known in part for value in known or ()} for part in listed]
        if not values[0] & values[1]:
            what = f"{shown[0]} is {one.name}, and {shown[1]} is {other.name}, which are never equal"
            raise _decided(operator, what, "Compare values that can be equal.")


def check_text(value: Any) -> None:
    """Refuse text that PostgreSQL cannot hold."""
    if not isinstance(value, str):
        return
    if "\0" in value:
        raise untraceable(f"{value!r} holds the character U+0000, which PostgreSQL cannot store.", "Leave it out.")
    try:
        value.encode()
    except UnicodeEncodeError:
        fix = "Give whole characters."
        raise untraceable(f"{value!r} holds half of a surrogate pair, which is no character.", fix) from None


def _written(node: Node, scalar: Scalar, value: Any, operator: Operator, shown: str) -> Any:
    if scalar.family == "number":
        plain = value.value if isinstance(value, Enum) else value
        return _number(plain, node.kind, shown)
    if scalar.family in (str, bool) or scalar.values is not None:
        plain = value.value if isinstance(value, Enum) else value
        return str(plain) if isinstance(plain, str) else plain
    try:
        return node.written(value)
    except Exception as error:  # the type does not take it: a datetime with a zone where there is none, for instance
        raise _unlike(node.kind, operator, value, shown) from error


def _number(value: int | float, kind: Kind, shown: str) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise untraceable(f"{value!r} is no number JSON can hold.", "Compare with a finite number.")
    if isinstance(value, int) and value.bit_length() > 14_000:
        raise untraceable("a number of more than 4000 digits cannot be compared.", "Compare with a smaller one.")
    names = {known.name for known in kind.scalars if known.family == "number"}
    if len(names) > 1 and abs(value) > 2**53:
        what = f"{shown} is {kind.name}, and beyond 2**53 the two are written too differently for {value!r}."
        raise untraceable(what, "Give it one of the two types.")
    return float(value) if isinstance(value, float) else int(value)


def _check_families(scalars: Iterable[Scalar], one: str, other: str) -> None:
    names = {scalar.family: scalar.name for scalar in scalars}
    if len(names) > 1:
        place = one if one == other else f"{one} and {other}"
        what = f"{place} cannot be compared: JSON does not tell {' from '.join(names.values())}."
        raise untraceable(what, "Give it one of the types.")


def _refused(shown: str, scalar: Scalar, reason: str) -> PredicateError:
    why, _, fix = reason.partition(" (")
    return untraceable(
        f"{shown} is {scalar.name}: {why}.", (fix.rstrip(")")[:1].upper() + fix.rstrip(")")[1:] or "Use ==") + "."
    )


def _way_out(kind: Kind) -> str:
    return "Declare its type: a model, a TypedDict, str, int, …" if kind.name == "Any" else "Compare another field."


def _unlike(kind: Kind, operator: Operator, value: Any, shown: str) -> PredicateError:
    what = f"{shown} is {kind.name}, never {value!r}"
    families = {scalar.family for scalar in kind.scalars}
    fix = "Compare with a value of that type."
    refused = next((scalar for scalar in kind.scalars if scalar.refusal), None)
    if refused is not None and len(kind.scalars) == 1:
        return _refused(shown, refused, refused.refusal)
    if isinstance(value, bool) and "number" in families:
        fix = "Compare with a number: in JSON True is not 1."
    elif bool in families and family_of(value) == "number":
        fix = f"It is a condition by itself: {shown}, or not_({shown})."
    elif isinstance(value, Number) and not isinstance(value, (int, float, complex)) and "number" in families:
        return untraceable(f"{shown} is {kind.name} and cannot be compared with {value!r}.", "Give an int or float.")
    elif (known := _members(kind)) and (member := known.get(value if isinstance(value, str) else "")):
        fix = f"Write {member}."
    elif UUID in families and isinstance(value, str):
        fix = f"Write UUID({value!r})."
    if operator in _ORDERS:
        return untraceable(f"{shown} is {kind.name}, which {operator} cannot compare with {value!r}.", fix)
    error = _decided(operator, what, fix)
    if isinstance(value, str) and "number" in families and _is_number(value):
        error.replaced = (value, json.loads(value))
    elif str in families and isinstance(value, (int, float)) and not isinstance(value, bool):
        error.replaced = (value, str(value))
    return error


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and isinstance(json.loads(text), (int, float))
    except ValueError:
        return False


def _members(kind: Kind) -> dict[str, str]:
    enums = [scalar.family for scalar in kind.scalars if isinstance(scalar.family, type)]
    classes = [family for family in enums if issubclass(family, Enum)]
    return {str(member.value): f"{cls.__name__}.{member.name}" for cls in classes for member in cls}


def _never(kind: Kind, operator: Operator, value: Any, shown: str, known: list[Any]) -> PredicateError:
    match = closest(value, [text for text in known if isinstance(text, str)]) if isinstance(value, str) else None
    values = ", ".join(map(repr, known))
    fix = f"Did you mean {match!r}?" if match is not None else f"Its values: {values}."
    error = _decided(operator, f"{shown} is {kind.name}, never {value!r}", fix)
    error.replaced = None if match is None else (value, match)
    return error


def _decided(operator: Operator, what: str, fix: str) -> PredicateError:
    return impossible(f"{what}.", fix) if operator == "==" else pointless(f"{what}.", fix)
