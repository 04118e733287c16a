"""The worker's side of one child process: how it is started, spoken to, and ended.

The interpreter is started anew, as with multiprocessing's "spawn": a fork of a process with threads may deadlock. Messages
are pickles over a pair of sockets that live in the worker's event loop.
"""

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from flowdsl.errors import ConfigError, ProcessDied
from flowdsl.model.context import Context
from flowdsl.runtime.child import HEADER
from flowdsl.runtime.remote import Outcome

logger = logging.getLogger(__name__)

# Only the standard library until the paths are those of the worker (-P: and not what lies in the working directory).
_BOOTSTRAP: Final = (
    "import pickle, socket, sys; s = socket.socket(fileno=int(sys.argv.pop())); s.set_inheritable(False);"
    " f = s.makefile('rb');"
    " sys.path[:] = pickle.load(f); sys.argv[:] = pickle.load(f);"
    " from flowdsl.runtime.child import main; main(s, f)"
)
_EXIT_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.005
_LAST_WORDS_SECONDS: Final = 0.1


class ChildProcess(asyncio.Protocol):
    """One child. It runs one call at a time; when it dies, that call is what fails."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_fields: Mapping[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._log_fields = log_fields
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._number = 0
        self._ready: asyncio.Future[dict[int, str]] = self._loop.create_future()
        self._answer: asyncio.Future[Outcome] | None = None
        self._stack: asyncio.Future[str] | None = None
        self._end: asyncio.Task[None] | None = None
        self._pidfd: int | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the process has ended and all who waited for it have been told."""
        self.is_dead = False
        self.loading = ""
        """What it is importing or has imported last, in words."""

    @classmethod
    async def start(cls, setup: bytes, log_fields: Mapping[str, Any]) -> "ChildProcess":
        """Start the interpreter; `setup` is the pickled Setup. It is not ready before `wait_ready` says so.

        Raises:
            OSError: the system has no room for another process.
        """
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            command = [sys.executable, *_interpreter_flags(), "-P", "-c", _BOOTSTRAP, str(theirs.fileno())]
            # A group of its own: no signals from the terminal, and whatever its handler started can be ended with it.
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - starting takes milliseconds; our own interpreter
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], process_group=0
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        child = cls(process, log_fields)
        try:
            await loop.create_connection(lambda: child, sock=ours)
        except BaseException:
            child.kill()
            process.wait()
            ours.close()
            raise
        child._write(sys.path, sys.argv)
        child._write_raw(setup)
        return child

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it has taken calls, or can."""
        return self._ready.done() and self._ready.exception() is None

    async def wait_ready(self) -> dict[int, str]:
        """Wait until it can take calls; return why it cannot run some of them, by their index.

        Raises:
            ProcessDied: it ended before.
        ConfigError: what it imports starts a worker.
        """
        return await asyncio.shield(self._ready)

    async def call(self, index: int, input: bytes | None, element: bytes | None, context: Context) -> Outcome:
        """Have a step's handler run. After a cancellation it goes on, until `stop` or the end.

        Raises:
            ProcessDied: the process ended meanwhile.
        """
        self._number += 1
        self._stack = None
        self._answer = answer = self._loop.create_future()
        answer.add_done_callback(_retrieved)
        if self.is_dead:
            raise self._died()
        self._write(("call", self._number, index, input, element, context))
        outcome: Outcome = await asyncio.shield(answer)
        self._answer = None  # an idle child keeps no output
        return outcome

    async def stop(self, *, grace_seconds: float, stack_seconds: float) -> tuple[Outcome | None, str]:
        """Cancel the call that runs. If it does not end within the grace time, the process is killed.

        Returns what it ended with, if it did, and where it stood when it was cancelled.
        """
        answer = self._answer
        assert answer is not None, "there is a call to stop"  # noqa: S101 - a defect of ours, not an input
        self._stack = stack = self._loop.create_future()
        self._write(("cancel", self._number))
        give_up_at = self._loop.time() + grace_seconds
        try:
            await asyncio.wait(
                (answer, stack), timeout=max(grace_seconds, stack_seconds), return_when="FIRST_COMPLETED"
            )
            if not answer.done() and (left := give_up_at - self._loop.time()) > 0:
                await asyncio.wait((answer,), timeout=left)
        finally:
            where = stack.result() if stack.done() else ""
            if not answer.done():
                self.kill()
        outcome = answer.result() if answer.done() and answer.exception() is None else None
        return outcome, where

    def kill(self) -> None:
        """End the process now, and the processes its handler started."""
        self.is_dead = True
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Let an idle process end in order; one that does not is killed."""
        self.is_dead = True
        if self._transport is not None:
            self._transport.close()
        if not await self._exited(_EXIT_SECONDS):
            self.kill()
            await self._exited(_EXIT_SECONDS)
        await self.ended

    # -- the protocol's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and watch the process."""
        self._transport = cast("asyncio.Transport", transport)  # those of uvloop are no instances of the class
        # What a handler has forked may keep the connection open when the process itself is gone.
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self._pidfd = os.pidfd_open(self._process.pid)
                self._loop.add_reader(self._pidfd, self._ended_alone)

    def data_received(self, data: bytes) -> None:
        """Take messages apart."""
        self._data += data
        while len(self._data) >= HEADER.size:
            (length,) = HEADER.unpack_from(self._data)
            end = HEADER.size + length
            if len(self._data) < end:
                return
            with memoryview(self._data) as view:
                message = pickle.loads(view[HEADER.size : end])  # noqa: S301 - from our own child
            del self._data[:end]
            self._told(*message)

    def connection_lost(self, error: Exception | None) -> None:
        """Find out how the process ended: that is the answer to whoever waits for one."""
        self.is_dead = True
        self._unwatch()
        self._end = self._loop.create_task(self._find_end())

    def _told(self, kind: str, *rest: Any) -> None:
        if kind == "done" and rest[0] == self._number and self._answer is not None and not self._answer.done():
            self._answer.set_result(rest[1])
        elif kind == "stack" and rest[0] == self._number and self._stack is not None and not self._stack.done():
            self._stack.set_result(rest[1])
        elif kind == "log":
            self._log(rest[0])
        elif kind == "loading":
            self.loading = rest[0]
        elif kind == "ready" and not self._ready.done():
            self._ready.set_result(rest[0])
        elif kind == "unguarded" and not self._ready.done():
            self._ready.add_done_callback(_retrieved)
            self._ready.set_exception(_unguarded(self.loading))

    def _log(self, fields: dict[str, Any]) -> None:
        record = logging.makeLogRecord(fields)
        there = logging.getLogger(record.name)
        # A filter may raise, which is no fault of the child that waits for us to listen.
        with contextlib.suppress(Exception):
            if there.isEnabledFor(record.levelno):
                there.handle(record)

    # -- the end

    def _ended_alone(self) -> None:
        self.is_dead = True
        self._unwatch()
        if self._answer is not None and not self._answer.done() and self._process.returncode is None:
            # What the handler had started must not meet the next attempt. The group's number is still ours: nobody has
            # waited for the process yet.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._transport is not None:
            # Its last words may not have been read yet.
            self._loop.call_later(_LAST_WORDS_SECONDS, self._transport.abort)

    def _unwatch(self) -> None:
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)

    async def _find_end(self) -> None:
        if not await self._exited(_EXIT_SECONDS):  # it closed the connection and lives
            self.kill()
            await self._exited(_EXIT_SECONDS)
        died = self._died()
        for waiting in (self._ready, self._answer):
            if waiting is not None and not waiting.done():
                waiting.add_done_callback(_retrieved)
                waiting.set_exception(died)
        if not self.ended.done():
            self.ended.set_result(None)

    async def _exited(self, seconds: float) -> bool:
        give_up_at = self._loop.time() + seconds
        while self._process.poll() is None:
            if self._loop.time() >= give_up_at:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def _died(self) -> ProcessDied:
        did = "ran the handler"
        if not self._ready.done():
            did = f"imported {self.loading} to find handlers" if self.loading else "was to find handlers"
        return ProcessDied(self._process.pid, self._process.poll(), did=did)

    def _write(self, *messages: Any) -> None:
        for message in messages:
            self._write_raw(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    def _write_raw(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _unguarded(what: str) -> ConfigError:
    return ConfigError(
        'A script that starts a worker needs `if __name__ == "__main__":` around that, and around all that it does besides.',
        hint=f"Child processes import {what} to find its handlers, so without it the whole script would run again in each of"
        " them.",
    )


def _retrieved(future: "asyncio.Future[Any]") -> None:
    """Keep asyncio from complaining about an error that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


def _interpreter_flags() -> list[str]:
    """Return the flags of this interpreter, so that a child warns, optimises and looks for modules as the worker does."""
    flags: Callable[[], list[str]] = subprocess._args_from_interpreter_flags  # type: ignore[attr-defined] # noqa: SLF001 - what multiprocessing uses
    return flags()
