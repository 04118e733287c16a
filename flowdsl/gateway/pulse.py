"""Renew a worker's lease while the worker cannot: the program of a small process beside it.

A thread can beat only when it gets the interpreter, and a handler in C code may hold that for minutes. This process has an
interpreter of its own. It beats when the worker's own thread has been silent for too long, and not for ever: only as long as
the timeouts of the running attempts allow, as the worker told before it fell silent. So a worker that hangs for good loses its
lease, like one that died; so does one that is stopped (SIGSTOP), at once.

It is run as a file and imports nothing of ours, and psycopg only when it is needed: 5 MB of its own until then, 20 MB after
(the whole package would be 60). A connection, too, it has only while it beats.
What it is told comes as lines of JSON on standard input, whose end is its end.
"""

import json
import os
import select
import signal
import sys
import time
from typing import Any, Final

BEATS_PER_LEASE: Final = 3
SILENT_BEATS: Final = 1.5
"""After so many intervals without a word of the worker's thread it is late."""

# A lease so short leaves no time to import a driver when it is needed.
_SHORT_LEASE_SECONDS: Final = 10.0
_REFUSALS: Final = ("PF406", "PF412")  # worker not found, worker stopped
_BEAT: Final = "select pgflow.heartbeat_worker(%s)"
_CHUNK: Final = 65_536


class Watch:
    """When to beat, decided from what was told and when; all times are of one clock, in seconds."""

    def __init__(self, lease_seconds: float) -> None:
        self.interval = lease_seconds / BEATS_PER_LEASE
        self._worker_id: str | None = None
        self._silent_from = self._due_at = 0.0
        self._until = 0.0
        self._refused: str | None = None

    def hear(self, message: dict[str, Any], now: float) -> None:
        """Take in a word: `beat` with the worker's id after each of its own beats, `allow` when attempts begin.

        Both say for how many seconds from now beats are allowed; the latter only adds to that.
        """
        until = now + message["allow"]
        if "beat" in message:
            self._worker_id = message["beat"]
            self._silent_from = self._due_at = now + SILENT_BEATS * self.interval
            self._until = until
        else:
            self._until = max(self._until, until)

    def wait(self, now: float) -> float:
        """Return how many seconds there is nothing to do."""
        return self.interval if self._due(now) is None else max(self._due_at - now, 0.0)

    def beat_for(self, now: float) -> str | None:
        """Return the id of the worker that needs a beat now."""
        worker_id = self._due(now)
        return worker_id if now >= self._due_at else None

    def is_silent(self, now: float) -> bool:
        """Tell whether the worker's own thread is late."""
        return now >= self._silent_from

    def has_beaten(self, now: float) -> None:
        """Note that it was tried."""
        self._due_at = now + self.interval

    def was_refused(self, worker_id: str) -> None:
        """Note that the database does not know that worker, or knows that it has ended."""
        self._refused = worker_id

    def _due(self, now: float) -> str | None:
        return None if self._worker_id == self._refused or now > self._until else self._worker_id


class Words:
    """Lines of JSON that arrive on a file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self.ended = False

    def read(self, seconds: float) -> list[dict[str, Any]]:
        """Return what arrives within that time, as soon as something does."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return []
        data = os.read(self._fd, _CHUNK)
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


class Pulse:
    """The process: listens, watches, beats."""

    def __init__(self, words: Words, watch: Watch, conninfo: str) -> None:
        self._words = words
        self._watch = watch
        self._conninfo = conninfo
        self._parent = os.getppid()
        self._conn: Any = None

    def run(self) -> None:
        """Go on until the worker is gone."""
        while self._listen(self._watch.wait(time.monotonic())):
            worker_id = self._watch.beat_for(time.monotonic())
            if worker_id is not None:
                if not is_stopped(self._parent):
                    self._beat()
                self._watch.has_beaten(time.monotonic())
            elif not self._watch.is_silent(time.monotonic()):
                self._hang_up()

    def _listen(self, seconds: float) -> bool:
        for word in self._words.read(seconds):
            self._watch.hear(word, time.monotonic())
        # A process that inherited the other end of the pipe may keep it open although the worker is gone.
        return not self._words.ended and os.getppid() == self._parent

    def _beat(self) -> None:
        import psycopg

        worker_id = None
        try:
            if self._conn is None:
                self._conn = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
            # Connecting takes time; meanwhile the worker may have spoken, or ended.
            worker_id = self._watch.beat_for(time.monotonic()) if self._listen(0.0) else None
            if worker_id is not None:
                self._conn.execute(_BEAT, (worker_id,))
        except psycopg.Error as error:
            if worker_id is not None and error.sqlstate in _REFUSALS:
                self._watch.was_refused(worker_id)
            self._hang_up()

    def _hang_up(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal, where the system says so; no lease is to cover that."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - of the kernel, and pathlib would be one more import
            return file.read().rpartition(b") ")[2][:1] in (b"T", b"t")
    except OSError:
        return False


def _ignore(_number: int, _frame: Any) -> None:
    """Do nothing: the worker says when it is over."""


def main() -> None:
    """Read the settings from the first line, then watch."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ignore)
    words = Words(sys.stdin.fileno())
    pending: list[dict[str, Any]] = []
    while not pending and not words.ended:
        pending = words.read(60.0)
    if not pending:
        return
    setup, *rest = pending
    sys.path[:] = setup["path"]
    watch = Watch(setup["lease_seconds"])
    for word in rest:
        watch.hear(word, time.monotonic())
    if setup["lease_seconds"] <= _SHORT_LEASE_SECONDS:
        import psycopg  # noqa: F401 - to have it when it is needed
    Pulse(words, watch, setup["conninfo"]).run()


if __name__ == "__main__":
    main()
    os._exit(0)  # there is nothing to tidy up, and the worker waits for it
