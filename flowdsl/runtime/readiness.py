"""Executors that can tell before the first claim whether they will do: those for clusters.

They connect when a worker starts, not when they are made: that is when a module with flows is imported, and `pgflow check`, a
migration or a program that only starts runs has no use for a cluster.
"""

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol, runtime_checkable

from flowdsl.errors import ClusterError, ConfigError
from flowdsl.runtime.remote import RemoteCall


@runtime_checkable
class Reachable(Protocol):
    """An executor with a way to go before it can call anything."""

    def connect(self) -> None:
        """Connect, unless that is done."""
        ...

    def check(self, functions: Iterable[Callable[..., Any]]) -> None:
        """Make sure that functions can be loaded over there."""
        ...


async def make_ready(given: Sequence[tuple[Executor, RemoteCall]]) -> None:
    """Connect the executors that have to, and make sure that they know the handlers.

    Raises:
        ConfigError, ClusterError: what the executor raised, with the flows and steps that need it.
    """
    for executor in {id(executor): executor for executor, _ in given}.values():
        if isinstance(executor, Reachable):
            calls = [call for other, call in given if other is executor]
            await asyncio.to_thread(_try, executor, calls)


def _try(executor: Reachable, calls: Sequence[RemoteCall]) -> None:
    _naming(calls, executor.connect)
    for call in calls:
        _naming([call], functools.partial(executor.check, [call]))


def _naming(calls: Sequence[RemoteCall], action: Callable[[], None]) -> None:
    try:
        action()
    except (ClusterError, ConfigError) as error:
        spec, others = calls[0].spec, len(calls) - 1
        more = f", and {others} more step{'' if others == 1 else 's'}" if others else ""
        where = f"flow '{spec.flow_slug}', step '{spec.slug}' ({spec.location}){more}"
        raise type(error)(f"{where}: {error.message}", hint=error.hint) from error
