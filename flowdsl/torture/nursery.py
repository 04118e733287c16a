"""Where child processes come from: one process that has imported everything, and forks.

Workers are killed faster than Python can import a worker, so they are forked from a process that did so once. It is their
parent: it alone knows for sure whether a process id still belongs to one of them, so it sends the signals as well. When
this end of its pipe closes, for whatever reason, it kills them all, cleans up as it was told, and ends.

    python -m flowdsl.torture.nursery MODULE …
"""

import asyncio
import contextlib
import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

READY_SECONDS = 60.0


class Child:
    """A process of the nursery. `returncode` is that of `subprocess`: negative for the signal that ended it."""

    def __init__(self, nursery: "Nursery", name: str) -> None:
        self._nursery = nursery
        self.name = name
        self.returncode: int | None = None
        self.ended = asyncio.Event()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet, as far as we know."""
        return not self.ended.is_set()

    async def signal(self, number: int) -> None:
        """Send it a signal; one that has ended gets none."""
        await self._nursery.tell({"signal": number, "name": self.name})

    async def kill(self) -> None:
        """Kill it with SIGKILL and wait until it is gone."""
        await self.signal(signal.SIGKILL)
        await self.ended.wait()


class Nursery:
    """The nursery from outside: `async with Nursery("module", …) as nursery: await nursery.spawn(…)`."""

    def __init__(self, *modules: str, directory: Path | None = None) -> None:
        self._modules = modules
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._children: dict[str, Child] = {}
        self._ready = asyncio.Event()
        self._is_gone = False

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flowdsl.torture.nursery", *self._modules,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=self._directory, start_new_session=True,
        )  # fmt: skip
        if self._process.stdout is not None:
            self._reading = asyncio.ensure_future(self._read(self._process.stdout))
        async with asyncio.timeout(READY_SECONDS):
            await self._ready.wait()
        if self._is_gone:
            raise RuntimeError(f"the nursery ended with {await self._process.wait()}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def spawn(self, function: str, log: Path, **arguments: Any) -> Child:
        """Start a process that calls `module:function` with these (JSON) arguments; its output goes to `log`."""
        name = f"child-{len(self._children)}"
        child = self._children[name] = Child(self, name)
        await self.tell({"call": function, "name": name, "log": str(log), "arguments": arguments})
        return child

    async def at_the_end(self, function: str, **arguments: Any) -> None:
        """Have the nursery call `module:function` with these arguments when it ends, however this process ends."""
        await self.tell({"at_the_end": function, "arguments": arguments})

    async def tell(self, command: Mapping[str, Any]) -> None:
        """Send a command."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the nursery has not been entered")
        # A nursery that is gone has taken its children along; nobody is left to be told.
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            await self._process.stdin.drain()

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        async for line in stdout:
            said = json.loads(line)
            if "ended" in said:
                child = self._children[said["ended"]]
                child.returncode = said["returncode"]
                child.ended.set()
            else:
                self._ready.set()
        self._is_gone = True
        self._ready.set()
        for child in self._children.values():
            child.ended.set()


class _House:
    """The nursery from inside. No threads and no event loop, so that forking is safe."""

    def __init__(self) -> None:
        self._pids: dict[int, str] = {}
        self._at_the_end: list[tuple[str, dict[str, Any]]] = []
        # Signals wake `select` through this pipe.
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._woken, False)
        self._wake = wake

    def run(self) -> None:
        """Do as told until the other end closes."""
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._say({"ready": True})
        rest = b""
        while True:
            select.select([0, self._woken], [], [])
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4096)
            self._reap()
            if not select.select([0], [], [], 0)[0]:
                continue
            given = os.read(0, 65536)
            if not given:
                break
            *lines, rest = (rest + given).split(b"\n")
            for line in lines:
                self._obey(json.loads(line))
        self._end()

    def _obey(self, command: dict[str, Any]) -> None:
        if "call" in command:
            self._fork(command)
        elif "signal" in command:
            self._reap()
            for pid, name in self._pids.items():
                if name == command["name"]:
                    os.kill(pid, command["signal"])
        else:
            self._at_the_end.append((command["at_the_end"], command["arguments"]))

    def _fork(self, command: dict[str, Any]) -> None:
        pid = os.fork()
        if not pid:
            self._become(command)
        self._pids[pid] = command["name"]

    def _become(self, command: dict[str, Any]) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            nowhere = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((nowhere, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            os.close(self._woken)
            os.close(self._wake)
            _call(command["call"], command["arguments"])
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._say({"ended": self._pids.pop(pid), "returncode": os.waitstatus_to_exitcode(status)})

    def _end(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitpid(pid, 0)
        for function, arguments in self._at_the_end:
            _call(function, arguments)

    def _say(self, said: dict[str, Any]) -> None:
        # Nobody listens any more when we were abandoned.
        with contextlib.suppress(BrokenPipeError):
            os.write(1, json.dumps(said).encode() + b"\n")


def _call(function: str, arguments: dict[str, Any]) -> None:
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)(**arguments)


def main(*modules: str) -> None:
    """Import the modules, and fork as told on standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for module in modules:
        importlib.import_module(module)
    _House().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
