"""A pool of child processes that mends itself: a child that dies takes down the one attempt it was running.

`concurrent.futures.ProcessPoolExecutor` (and loky, which builds upon it) breaks as a whole when a process dies, so that
innocent attempts fail with the guilty one, and can end a handler that outlives its timeout only by ending all. pebble can do
both, but moves values through locks shared by all processes, which a process killed in the wrong moment keeps for good.
"""

import asyncio
import contextlib
import logging
import os
import pickle
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from flowdsl.errors import ConfigError, ProcessDied
from flowdsl.model.registry import BESIDE
from flowdsl.runtime.child import Setup
from flowdsl.runtime.childprocess import ChildProcess
from flowdsl.runtime.remote import RemoteCall, check_picklable

logger = logging.getLogger(__name__)

START_SECONDS: Final = 120.0
"""How long a child may take to be ready, once the first one was: the timeout of an attempt that waits does not run yet."""

_STARTS_MAX: Final = 3
_PATIENCE_SECONDS: Final = 5.0
"""After so long it is said what a child that is not ready is doing: nobody else would say why nothing happens."""


class ProcessPool:
    """At most `size` children, started when they are first needed and replaced when they are gone."""

    def __init__(self, calls: Sequence[RemoteCall], size: int, log_fields: Mapping[str, Any]) -> None:
        self._calls = tuple(calls)
        self.size = size
        """How many children there may be."""
        self._log_fields = log_fields
        self._setup = b""
        self._children: set[ChildProcess] = set()
        self._starting = 0
        self._dying: set[ChildProcess] = set()
        self._idle: list[ChildProcess] = []
        self._waiting: deque[asyncio.Future[ChildProcess | None]] = deque()
        self._closed = False
        self._start_seconds: float | None = None

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are there now."""
        return frozenset(child.pid for child in self._children)

    @property
    def has_idle(self) -> bool:
        """Whether a process waits for work."""
        return bool(self._idle)

    async def start(self) -> None:
        """Start the first child, to see that the handlers can be found in one.

        Raises:
            ConfigError: they cannot be, or no process can be started.
        """
        check_picklable(self._calls)
        self._setup = pickle.dumps(_setup(self._calls))
        try:
            async with self.lent() as child:
                self._refuse(await child.wait_ready())
        except OSError as error:
            raise ConfigError(f"no child process can be started for handlers: {error}") from error
        except ProcessDied as error:
            raise ConfigError(
                f"no child process can be started for handlers: {error}",
                hint="What ends the process must not be done on import; put a script's own work under"
                ' `if __name__ == "__main__":`.',
            ) from error
        self._start_seconds = START_SECONDS

    def _refuse(self, missing: Mapping[int, str]) -> None:
        if not missing:
            return
        specs = {index: self._calls[index].spec for index in missing}
        lines = "".join(
            f"\n  flow '{specs[index].flow_slug}', step '{specs[index].slug}' ({specs[index].location}): {why}"
            for index, why in missing.items()
        )
        raise ConfigError(
            f"these handlers cannot be found in a child process:{lines}",
            hint="A child process imports the module a handler is in, or runs the program's file under another name than"
            ' "__main__": define handlers and types at the top level, outside of `if __name__ == "__main__":`.',
        )

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[ChildProcess]:
        """Wait for an idle child and have it to oneself.

        Raises:
            ProcessDied, OSError: none can be started (TimeoutError: or not in time).
        """
        child = await self._acquired()
        try:
            yield child
        finally:
            self._release(child)

    async def close(self) -> None:
        """End all children."""
        self._closed = True
        children, self._idle = [*self._children, *self._dying], []
        self._children.clear()
        await asyncio.gather(*(child.close() for child in children))

    async def _acquired(self) -> ChildProcess:
        while True:
            child = self._idle.pop() if self._idle else None
            if child is None and len(self._children) + self._starting < self.size:
                return await self._started()
            if child is None:
                child = await self._turn()
            if child is not None:
                if not child.is_dead:
                    return child
                self._bury(child)

    async def _turn(self) -> ChildProcess | None:
        """Wait in line; return a child that is handed on, or None when there may be room to start one."""
        turn: asyncio.Future[ChildProcess | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._hand_on(turn.result())
            raise

    async def _started(self) -> ChildProcess:
        try:
            for _ in range(_STARTS_MAX - 1):
                try:
                    return await self._start_one()
                except ProcessDied as error:
                    # No handler has run in it yet, so no attempt is to blame.
                    logger.warning("a child process ended while it started: %s", error, extra=self._log_fields)
            return await self._start_one()
        except Exception as error:
            self._give_up(error)
            raise
        except BaseException:
            self._hand_on(None)
            raise

    def _give_up(self, error: Exception) -> None:
        """Let those who wait have the children that are there; if there is none, they need not try in vain one by one."""
        if any(child.is_ready for child in self._children):
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    async def _start_one(self) -> ChildProcess:
        self._starting += 1
        try:
            child = await ChildProcess.start(self._setup, self._log_fields)
        finally:
            self._starting -= 1
        self._children.add(child)
        patience = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._say_slow, child)
        try:
            async with asyncio.timeout(self._start_seconds):
                await child.wait_ready()
        except BaseException as error:
            child.kill()
            self._bury(child)
            if isinstance(error, TimeoutError):
                raise TimeoutError(
                    f"a child process was not ready within {self._start_seconds:g} s;"
                    f" something hangs while {child.loading or 'the modules of the handlers'} is imported"
                ) from None
            raise
        finally:
            patience.cancel()
        logger.debug("child process %d started", child.pid, extra=self._log_fields)
        return child

    def _say_slow(self, child: ChildProcess) -> None:
        logger.warning(
            "child process %d is still importing %s after %g s; handlers wait for it", child.pid,
            child.loading or "the modules of the handlers", _PATIENCE_SECONDS, extra=self._log_fields,
        )  # fmt: skip

    def _release(self, child: ChildProcess) -> None:
        if child.is_dead:
            self._bury(child)
            self._hand_on(None)
        else:
            self._hand_on(child)

    def _hand_on(self, child: ChildProcess | None) -> None:
        """Give a child, or the room for one, to the first in line."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(child)
                return
        if child is not None and not self._closed:
            self._idle.append(child)

    def _bury(self, child: ChildProcess) -> None:
        """Count a dead child no longer, but keep it until its end is known."""
        self._children.discard(child)
        self._dying.add(child)
        child.ended.add_done_callback(lambda _: self._dying.discard(child))


def default_size() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _main_module() -> dict[str, str]:
    """Return what `multiprocessing.spawn.prepare` needs to load the program's `__main__` under another name."""
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        return {"init_main_from_name": name}
    file = getattr(main, "__file__", None)
    return {} if file is None else {"init_main_from_path": os.path.abspath(file)}  # noqa: PTH100 - as it was started


def _module_of(call: RemoteCall) -> str:
    handler = call.spec.handler
    while isinstance(handler, partial):
        handler = handler.func
    name = getattr(handler, "__module__", None) or type(handler).__module__
    return f"the module {name}"


def _setup(remote_calls: Sequence[RemoteCall]) -> Setup:
    calls = [pickle.dumps(call) for call in remote_calls]
    is_in_main = any(b"__main__" in call for call in calls)
    loggers = {
        name: known for name, known in logging.root.manager.loggerDict.items() if isinstance(known, logging.Logger)
    }
    return Setup(
        parent=os.getpid(),
        main=_main_module() if is_in_main else {},
        files={
            name: file
            for name, module in list(sys.modules.items())
            if name.startswith(BESIDE) and (file := getattr(module, "__file__", None))
        },
        calls=calls,
        modules=[_module_of(call) for call in remote_calls],
        levels={
            "": logging.root.level,
            **{name: known.level for name, known in loggers.items() if known.level != logging.NOTSET},
        },
    )
