"""The child process: runs the handlers it is told to, one at a time, until its worker is gone.

The main thread runs handlers, as it would in a program of its own; another thread listens to the worker, so that a handler
can be told that it is cancelled, and so that the process ends with its worker.
"""

import asyncio
import contextlib
import ctypes
import importlib.util
import io
import logging
import multiprocessing.spawn
import os
import pickle
import queue
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowdsl.errors import ConfigError
from flowdsl.model.context import Context
from flowdsl.runtime.failures import failure_of, message_of, stack_text
from flowdsl.runtime.remote import Outcome, RemoteCall, awaiting

HEADER: Final = struct.Struct("!Q")
"""Before each message to the worker: its length."""

_PARENT_GONE: Final = 1
_DEAF: Final = 70
_PR_SET_PDEATHSIG: Final = 1
_EXIT_SECONDS: Final = 5.0

_UNGUARDED: Final = 71

_is_child = False
_loading: "Child | None" = None


def refuse_in_child() -> None:
    """Keep a program that is imported by a child from starting its worker again, and that one its children, without end.

    Raises:
        ConfigError: this process is a child of a worker. While it loads the program, it tells the worker instead, and ends:
            the rest of the program would do its work once more.
    """
    if _loading is not None:
        _flush()
        _loading.send("unguarded")
        os._exit(_UNGUARDED)
    if _is_child:
        raise ConfigError(
            "a child process of a worker is about to start a worker itself, because it imports the program that does so",
            hint='Put what starts the worker under: if __name__ == "__main__":',
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a child has to know of its worker's program before it can find handlers.

    `main` is how to load the program's `__main__`, when handlers live there; `files` are the modules that were loaded from
    files under names nobody can import, `calls` the pickled steps, `modules` where their handlers are, in words, `levels` those
    of the loggers.
    """

    parent: int
    main: Mapping[str, Any]
    files: Mapping[str, str]
    calls: Sequence[bytes]
    modules: Sequence[str]
    levels: Mapping[str, int]


@dataclass(slots=True)
class _Job:
    number: int
    index: int
    input: bytes | None
    element: bytes | None
    context: Context
    task: "asyncio.Task[Any] | None" = None
    loop: asyncio.AbstractEventLoop | None = None

    def cancel(self) -> None:
        """Ask the handler to end; from any thread."""
        self.context.cancellation.requested = True
        loop, task = self.loop, self.task  # both are taken away when the handler ends, perhaps now
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)

    async def awaited(self, value: Awaitable[Any]) -> Any:
        self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
        if self.context.cancelled and self.task is not None:
            self.task.cancel()
        return await awaiting(value)


class Child:
    """The child's side of the conversation."""

    def __init__(self, sock: socket.socket, reader: io.BufferedReader) -> None:
        self._sock = sock
        self._reader = reader
        self._sending = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._current: _Job | None = None
        self._calls: list[RemoteCall | None] = []
        self._missing: dict[int, str] = {}
        self._runner: asyncio.Runner | None = None
        self._main_thread = threading.get_ident()

    def send(self, *message: Any) -> None:
        """Tell the worker something; from any thread."""
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        try:
            with self._sending:
                self._sock.sendall(HEADER.pack(len(data)))
                self._sock.sendall(data)
        except OSError:
            os._exit(_PARENT_GONE)

    def serve(self) -> None:
        """Say which steps can be run here, then run what comes."""
        setup: Setup = pickle.load(self._reader)  # noqa: S301 - from our own parent
        _die_with(setup.parent)
        self._missing = self._loaded(setup)
        self.send("ready", self._missing)
        _forward_logs(self, setup.levels)
        threading.Thread(target=self._listen, name="flowdsl-listener", daemon=True).start()
        while (job := self._jobs.get()) is not None:
            self._run(job)
        if self._runner is not None:
            self._runner.close()

    def _loaded(self, setup: Setup) -> dict[int, str]:
        """Find the handlers; return why some cannot be found, by the index of their call."""
        global _loading
        missing: dict[int, str] = {}
        _loading = self
        with contextlib.redirect_stdout(sys.stderr):
            before = _load_program(setup, self._say_loading)
            for index, data in enumerate(setup.calls):
                self._say_loading(setup.modules[index])
                try:
                    call: RemoteCall | None = pickle.loads(data)  # noqa: S301 - from our own parent
                except BaseException as error:
                    call = None
                    missing[index] = f"{_told(error)}{before}"
                self._calls.append(call)
        _loading = None
        return missing

    def _say_loading(self, what: str) -> None:
        # Before it is done: it may hang, or end the process.
        self.send("loading", what)

    def _listen(self) -> None:
        try:
            while True:
                kind, *rest = pickle.load(self._reader)  # noqa: S301 - from our own parent
                if kind == "call":
                    # The worker sends one at a time, so it is the current one from here on, and can be cancelled.
                    self._current = job = _Job(*rest)
                    self._jobs.put(job)
                elif kind == "cancel":
                    self._cancel(*rest)
        except (EOFError, OSError, pickle.UnpicklingError):
            if self._current is not None:
                os._exit(_PARENT_GONE)
            self._jobs.put(None)
            # What the program leaves behind (threads, functions to call at exit) may keep the interpreter from ending.
            threading.Event().wait(_EXIT_SECONDS)
            os._exit(_PARENT_GONE)
        except BaseException:
            # Out of memory, say. A process that hears nothing any more would keep its call until the timeout.
            traceback.print_exc()
            os._exit(_DEAF)

    def _cancel(self, number: int) -> None:
        job = self._current
        if job is None or job.number != number:
            return
        frame = sys._current_frames().get(self._main_thread)  # noqa: SLF001 - the documented way to see a thread's stack
        self.send("stack", number, stack_text(frame))
        job.cancel()

    def _run(self, job: _Job) -> None:
        call = self._calls[job.index]
        outcome: Outcome
        if call is None:  # it could be found when the worker started, and the files have changed since
            outcome = failure_of(ImportError(f"the handler cannot be found any more: {self._missing[job.index]}"))
        else:
            outcome = call.perform(job.input, job.element, job.context, lambda value: self._in_loop(job, value))
        # What was printed would be lost if the process were killed later.
        _flush()
        self._current = None
        self.send("done", job.number, outcome)

    def _in_loop(self, job: _Job, value: Awaitable[Any]) -> Any:
        # One loop for the whole life, so that handlers may keep what is bound to it (sessions, pools) from call to call.
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            return self._runner.run(job.awaited(value))
        except (SystemExit, KeyboardInterrupt):
            self._runner = None  # they leave the loop in the middle of its work
            raise
        finally:
            job.loop = job.task = None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _load_program(setup: Setup, say: Callable[[str], None]) -> str:
    """Load what handlers may be in, beside modules that can be imported; return what to add to an error, if it failed."""
    if setup.main:
        say(f"the program ({next(iter(setup.main.values()))})")
        try:
            multiprocessing.spawn.prepare(dict(setup.main))
        except BaseException as error:
            return f" (the program could not be loaded: {_told(error)})"
    for name, file in setup.files.items():
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is not None and spec.loader is not None and name not in sys.modules:
            say(file)
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException as error:
                return f" ({file} could not be loaded: {_told(error)})"
    return ""


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {message_of(error)}"


class _ToParent(logging.Handler):
    """Hands log records to the worker, whose logging knows what to do with them."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self._child = child
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._child.send("log", self._portable(record))
        except Exception:
            self.handleError(record)

    def _portable(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = dict(record.__dict__)
        fields.update(msg=record.getMessage(), args=None, exc_info=None)
        if record.exc_info:
            fields["exc_text"] = record.exc_text or self._formatter.formatException(record.exc_info)
        return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    """Return a value that the worker can unpickle whatever it has imported."""
    # Not their subclasses, which are pickled by the name of their class.
    return value if value is None or type(value) in (str, int, float, bool) else str.__str__(str(value))


def _forward_logs(child: Child, levels: Mapping[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    # Whatever the program configured when it was imported: the worker did so as well, and each record is to be seen once.
    for known in list(logging.root.manager.loggerDict.values()):
        if isinstance(known, logging.Logger):
            known.handlers.clear()
            known.propagate = True
    logging.getLogger().handlers[:] = [_ToParent(child)]


def _ignore(_number: int, _frame: Any) -> None:
    """Do nothing: stopping is for the worker to organise. (Ignoring for good would be inherited by the handlers' processes.)"""


def _die_with(parent: int) -> None:
    """Let the kernel end this process with its worker, where it can: a handler in C code listens to nobody."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_PARENT_GONE)


def main(sock: socket.socket, reader: io.BufferedReader) -> None:
    """Be a child; called by what the pool starts the interpreter with."""
    global _is_child
    _is_child = True
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ignore)
    Child(sock, reader).serve()
