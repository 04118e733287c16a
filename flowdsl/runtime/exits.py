"""A handler that calls sys.exit() in a task of its own must not end the worker.

asyncio lets SystemExit and KeyboardInterrupt out of the event loop, whichever task they are raised in, and nobody who awaits
that task can prevent it. So tasks that are made by handlers, and by their tasks, are wrapped. No other task is.
"""

import asyncio
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_in_handler: ContextVar[bool] = ContextVar("flowdsl_in_handler", default=False)


class HandlerExited(RuntimeError):  # noqa: N818 - a name for people who read it in a run's error
    """A task of a handler raised SystemExit or KeyboardInterrupt."""


def enter_handler() -> None:
    """Say that from here on the current task runs a handler; the tasks it makes inherit that."""
    _in_handler.set(True)


@contextmanager
def contained(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Inside of the context, tasks made by handlers of this loop cannot end the loop."""
    before = loop.get_task_factory()

    def make(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any
    ) -> Any:
        if _in_handler.get() and asyncio.iscoroutine(coroutine):
            coroutine = _contain(coroutine)
        return (before or _task)(loop, coroutine, **options)

    loop.set_task_factory(make)
    try:
        yield
    finally:
        if loop.get_task_factory() is make:
            loop.set_task_factory(before)


def _task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)


async def _contain(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise HandlerExited(f"a task of the handler raised {error!r}") from error
