"""What stands for a step when another step, a flow or a run refers to it.

Mostly that is the handler itself. Three wrappers say more than a bare function can: `collect` (all results of a map
step), `maybe` (None when the step was skipped) and `named` (the same function as a second step).
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any, Generic, TypeAlias, TypeVar, cast, overload

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])

# `Callable[..., R]` alone would make an async handler a maker of coroutines: the narrower member has to come first.
Maker: TypeAlias = Callable[..., Coroutine[Any, Any, R]] | Callable[..., R]

Handler: TypeAlias = Callable[..., Any]


def NO_HANDLER() -> None:  # noqa: N802 - a constant, which has to be a handler for type checkers
    """Stand for the handler that was not given."""


@dataclass(frozen=True, slots=True)
class Ref(Generic[R_co]):
    """What `collect` and `maybe` return: a dependency whose type differs from its handler's."""

    handler: Handler
    collects: bool = False
    is_maybe: bool = False

    # Declares the type in the one form all checkers infer from: a callable that makes it.
    def __call__(self, *args: Any) -> R_co:
        """Refuse: a reference stands for results, it is no function."""
        raise TypeError(f"{handler_name(self)} stands for results and cannot be called")


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """What `named` returns: a handler under a slug of its own; equal to any other with the same slug and handler."""

    slug: str
    handler: Handler

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the handler, as if it had not been named."""
        return self.handler(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and self.slug == other.slug and same_handler(self.handler, other.handler)

    def __hash__(self) -> int:
        return hash((Named, self.slug))


@overload
def collect(handler: Callable[..., Coroutine[Any, Any, R]], /) -> Ref[list[R]]: ...
@overload
def collect(handler: Callable[..., R], /) -> Ref[list[R]]: ...
def collect(handler: Handler, /) -> Ref[Any]:
    """Refer to all results of the map step `handler`: a list, in the order of the elements."""
    return Ref(handler, collects=True)


@overload
def maybe(handler: Callable[..., Coroutine[Any, Any, R]], /) -> Ref[R | None]: ...
@overload
def maybe(handler: Callable[..., R], /) -> Ref[R | None]: ...
def maybe(handler: Handler, /) -> Ref[Any]:
    """Refer to the output of a step that can be skipped: its value, or None when it was.

    `maybe(collect(handler))` are all results of a map step, or None when the whole step was skipped.
    """
    if isinstance(handler, Ref) and not handler.is_maybe:
        return replace(handler, is_maybe=True)
    return Ref(handler, is_maybe=True)


def named(slug: str, handler: F, /) -> F:
    """Let `handler` be a step under another slug, so that one function can be several steps.

    Other steps refer to that step by what `named` returned, or by an equal `named(slug, handler)`.
    """
    return cast("F", Named(slug, handler))


def same_handler(one: object, other: object) -> bool:
    """Tell whether two handlers are the same; a bound method is a new object at each access, so identity is not enough."""
    if one is other:
        return True
    if isinstance(one, Named) or isinstance(other, Named):
        # Never `one == other` with anything else on the left: it may compare in ways of its own.
        return isinstance(one, Named) and one == other
    return isinstance(one, MethodType) and isinstance(other, MethodType) and _same_method(one, other)


def _same_method(one: MethodType, other: MethodType) -> bool:
    return one.__self__ is other.__self__ and one.__func__ is other.__func__


def handler_name(handler: object) -> str:
    """Return the name a handler goes by: its own, for a partial that of the function inside, else its class's."""
    if isinstance(handler, str):  # given by mistake for the function of that name
        return handler
    while hasattr(handler, "func") and not hasattr(handler, "__name__"):
        handler = handler.func
    if isinstance(handler, Named):
        return handler.slug
    if isinstance(handler, Ref):
        name = handler_name(handler.handler)
        name = f"collect({name})" if handler.collects else name
        return f"maybe({name})" if handler.is_maybe else name
    return str(getattr(handler, "__name__", None) or type(handler).__name__)
