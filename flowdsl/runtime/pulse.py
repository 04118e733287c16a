"""The worker's side of the pulse, the process that renews the lease while a handler holds the interpreter.

What that process does, and when, is in `flowdsl/gateway/pulse.py`. Here it is started, told what it has to know, and started
again if it ends before its time.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from flowdsl import gateway
from flowdsl.runtime.horizon import Horizon

logger = logging.getLogger(__name__)

PROGRAM: Final = str(Path(gateway.__file__).parent / "pulse.py")
_EXIT_SECONDS: Final = 0.5


class Pulse:
    """The process, and the words it is told. `remaining` is called for the longest time left to a running attempt, in seconds.

    A word that finds no room in the pipe is dropped: the event loop must not wait for a process that does not read.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        lease_seconds: float,
        horizon: Horizon,
        remaining: Callable[[], float],
        now: Callable[[], float],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._lease_seconds = lease_seconds
        self._horizon = horizon
        self._remaining = remaining
        self._now = now
        self._extra = extra or {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id, if there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, and let it be told how far the attempts reach that begin."""
        with self._lock:
            self._start()
        self._horizon.listen(self._allow)

    def beat(self, worker_id: UUID) -> None:
        """Tell that the worker has beaten, and how long it may be silent: as long as what runs, and a lease."""
        with self._lock:
            if self._closed:
                return
            if self._process is None:
                self._start()
            elif self._process.poll() is not None:
                logger.warning(
                    "the process that keeps the lease when handlers hold the interpreter ended (%d); starting another",
                    self._process.returncode, extra=dict(self._extra),
                )  # fmt: skip
                self._start()
            # In this order: an attempt that begins from here on is told by itself.
            self._horizon.forget()
            self._write(beat=str(worker_id), allow=self._remaining() + self._lease_seconds)

    def close(self) -> None:
        """End the process."""
        self._horizon.close()
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None, "it was started with a pipe"  # noqa: S101 - a defect of ours, not an input
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:  # it is talking to a database that does not answer
            process.kill()
            process.wait()

    def _allow(self, until: float) -> None:
        with self._lock:
            self._write(allow=until - self._now() + self._lease_seconds)

    def _start(self) -> None:
        former, self._process = self._process, None
        if former is not None and former.stdin is not None:
            former.stdin.close()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [sys.executable, "-P", PROGRAM], stdin=subprocess.PIPE, bufsize=0, process_group=0
            )
        except OSError as error:
            logger.warning("the process that keeps the lease cannot be started: %s", error, extra=dict(self._extra))
            return
        self._process = process
        # Whatever else there is (a pathlib.Path) is passed over by imports as well, and JSON cannot hold it.
        entries: list[Any] = [*sys.path]
        path = [entry for entry in entries if isinstance(entry, str)]
        self._write(path=path, conninfo=self._conninfo, lease_seconds=self._lease_seconds)
        assert process.stdin is not None, "it was started with a pipe"  # noqa: S101 - a defect of ours, not an input
        os.set_blocking(process.stdin.fileno(), False)

    def _write(self, **word: Any) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # A full pipe (BlockingIOError), or one whose other end is gone, which shows with the next beat.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(word).encode() + b"\n")
