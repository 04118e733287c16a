"""Types as a reader of an error message would write them."""

import types
import typing
from collections.abc import Callable
from typing import Any, get_args, get_origin


def type_name(declared: Any) -> str:
    """Return the source form of a type, without module paths.

    >>> type_name(list[dict[str, int | None]])
    'list[dict[str, int | None]]'
    >>> type_name(type(None))
    'None'
    """
    if declared is None or declared is types.NoneType:
        return "None"
    if declared is ...:
        return "..."
    if declared is Any:
        return "Any"
    if isinstance(declared, str):
        return declared
    if isinstance(declared, list):
        return f"[{_names(declared)}]"
    origin, args = get_origin(declared), get_args(declared)
    if origin is None:
        return str(getattr(declared, "__name__", None) or declared).removeprefix("typing.")
    return _generic_name(declared, origin, args)


def _generic_name(declared: Any, origin: Any, args: tuple[Any, ...]) -> str:
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in args)
    if origin is typing.Annotated:
        return type_name(args[0])
    if origin is typing.Literal:
        return f"Literal[{', '.join(repr(arg) for arg in args)}]"
    if origin is Callable:
        return f"Callable[{_names(args)}]"
    name = getattr(origin, "__name__", None) or str(declared)
    return f"{name}[{_names(args)}]"


def _names(args: Any) -> str:
    return ", ".join(type_name(arg) for arg in args)
