"""What a handler's signature says: its parameters, their types, its output, whether it is async.

Annotations may be strings and may name classes that live only inside a function. So names are looked up where the
handler was written (its globals and closure) and, failing that, where the flow is being built.
"""

import collections.abc
import functools
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

from flowdsl.model.assignable import unwrapped
from flowdsl.model.context import Context

MISSING: Final = inspect.Parameter.empty
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_AWAITABLES: Final = (collections.abc.Coroutine, collections.abc.Awaitable)


class UnreadableHandlerError(Exception):
    """The handler has no signature to read, or is of a kind that cannot be a step."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One positional parameter; `type` is MISSING without annotation, `unresolved` the name that could not be found."""

    name: str
    type: Any
    has_default: bool = False
    unresolved: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A handler as a step sees it: positional parameters, the output of one call, how to call it."""

    parameters: tuple[Parameter, ...]
    variadic: Parameter | None
    keyword_only: tuple[str, ...]
    output: Parameter
    is_async: bool


def read_signature(handler: Any, nearby: Mapping[str, Any]) -> Signature:
    """Read a handler's signature; `nearby` are the names known where the flow is being built."""
    function = _function_of(handler)
    try:
        signature = inspect.signature(handler)
    except Exception as error:  # an object may do anything when it is looked at
        raise UnreadableHandlerError(
            "its signature cannot be read", "Wrap it in a function with annotated parameters."
        ) from error
    hints = _Hints(function, nearby)
    parameters = list(signature.parameters.values())
    output = hints.of("return", signature.return_annotation)
    awaited, output_type = _awaited(output.type)
    return Signature(
        parameters=tuple(
            hints.of(p.name, p.annotation, has_default=p.default is not MISSING)
            for p in parameters
            if p.kind in _POSITIONAL
        ),
        variadic=next((hints.of(p.name, p.annotation) for p in parameters if p.kind is p.VAR_POSITIONAL), None),
        keyword_only=tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is MISSING),
        output=Parameter(name="return", type=output_type, unresolved=output.unresolved),
        is_async=awaited or inspect.iscoroutinefunction(function),
    )


def takes_context(parameter: Parameter) -> bool:
    """Tell whether a parameter is a Context, or an optional one."""
    declared = unwrapped(parameter.type)
    return declared is Context or Context in get_args(declared)


def _function_of(handler: Any) -> Any:
    """Return the function that runs in the end, which is the one whose annotations count."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if inspect.isclass(handler):
        raise UnreadableHandlerError(
            f"{handler.__name__} is a class, not a function", "Write a function that returns it."
        )
    function: Any = handler
    if not inspect.isroutine(handler) and callable(handler):
        function = type(handler).__call__
    elif not callable(handler):
        raise UnreadableHandlerError(f"{handler!r} cannot be called", "Give a function.")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise UnreadableHandlerError("it is a generator", "Return a list instead of yielding its elements.")
    return function


def _awaited(declared: Any) -> tuple[bool, Any]:
    """Look through `Coroutine[Any, Any, T]` and `Awaitable[T]`, which a plain function may return as well."""
    if get_origin(unwrapped(declared)) in _AWAITABLES:
        return True, get_args(unwrapped(declared))[-1]
    return False, declared


class _Hints:
    """Resolves the annotations of one function, each by itself, so that an error can name the parameter."""

    def __init__(self, function: Any, nearby: Mapping[str, Any]) -> None:
        self._function = inspect.unwrap(getattr(function, "__func__", function))
        self._globals: dict[str, Any] = getattr(self._function, "__globals__", {})
        self._nearby = nearby

    def of(self, name: str, annotation: Any, *, has_default: bool = False) -> Parameter:
        if annotation is MISSING:
            return Parameter(name=name, type=MISSING, has_default=has_default)
        try:
            return Parameter(name=name, type=self._resolve(name, annotation), has_default=has_default)
        except NameError as error:
            return Parameter(name=name, type=Any, has_default=has_default, unresolved=error.name or str(annotation))
        except Exception:  # an annotation is any expression, so evaluating it can fail in any way
            return Parameter(name=name, type=Any, has_default=has_default, unresolved=str(annotation))

    def _resolve(self, name: str, annotation: Any) -> Any:
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints = get_type_hints(holder, self._globals, self._closure(), include_extras=True)
        except NameError:
            hints = get_type_hints(holder, self._globals, {**self._nearby, **self._closure()}, include_extras=True)
        return hints[name]

    def _closure(self) -> dict[str, Any]:
        code = getattr(self._function, "__code__", None)
        names: dict[str, Any] = {p.__name__: p for p in getattr(self._function, "__type_params__", ())}
        for free, cell in zip(
            getattr(code, "co_freevars", ()), getattr(self._function, "__closure__", None) or (), strict=False
        ):
            try:
                names[free] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        return names
