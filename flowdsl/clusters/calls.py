"""A call as bytes that do the call when they are unpickled.

A scheduler unpickles what it hands on, and a Dask worker that meets a module it does not have while it reads its
scheduler's messages ends itself: one handler that is not installed over there takes down worker after worker. Bytes are
opaque to everybody but the `pickle.loads` that is the function the cluster is asked to call; what is missing there is then
an ordinary error of that one call. Nothing of ours has to be installed on the scheduler either.
"""

import pickle
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from flowdsl.errors import ClusterError, ConfigError

Dumps: TypeAlias = Callable[[object], bytes]

do: Callable[[bytes], Any] = pickle.loads
"""What a cluster is asked to call with the bytes."""


INSTALL_THERE = (
    "Install your project, and the same version of flowdsl, on every worker of the cluster, or start them where its "
    "modules can be imported (PYTHONPATH)."
)


class Call:
    """A function and its arguments; the function is called when the pickled form is loaded, and that yields its result."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._function = function
        self._arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._function, self._arguments


def pack(function: Callable[..., Any], arguments: Iterable[object], by_value: Dumps) -> bytes:
    """Return the bytes of a call.

    What has no name by which it could be imported over there (a lambda, what lives in `__main__`) is left to the pickler of
    the cluster's library, which sends its code.

    Raises:
        Exception: that cannot pickle it either.
    """
    call = Call(function, *arguments)
    try:
        data = pickle.dumps(call, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return by_value(call)
    return by_value(call) if b"__main__" in data else data


def check(function: Callable[..., Any], by_value: Dumps) -> bytes:
    """Return the bytes of a call that finds out whether a function can be loaded, without calling it."""
    return pack(callable, (function,), by_value)


def name_of(function: Callable[..., Any]) -> str:
    """Return what a call is called on a cluster's dashboard."""
    return str(getattr(function, "__name__", type(function).__name__))


def explained(error: BaseException, name: str, place: str) -> BaseException:
    """Return the error a call ended with over there, with what to do when the place does not know the handler.

    What a handler raises comes back as a value, so an error that is raised has to do with the way there.
    """
    if not isinstance(error, (ImportError, AttributeError)):
        return error
    described = ClusterError(cannot_load(name, place, error), hint=INSTALL_THERE)
    described.__cause__ = error
    return described


def cannot_load(name: str, place: str, error: BaseException) -> str:
    """Return the sentence for a place that does not know a handler."""
    return f"{place} cannot load the handler of step '{name}': {type(error).__name__}: {error}."


def not_installed(library: str, extra: str) -> ConfigError:
    """Return the error that says how to install what is needed."""
    return ConfigError(
        f"Handlers can run on a {library} cluster only where {library} is installed.",
        hint=f"Install it: pip install 'flowdsl[{extra}]', or in a checkout of flowdsl: pip install '.[{extra}]'",
    )
