"""Renew the worker's lease from a thread of its own, over a connection of its own.

An event loop that a handler blocks, or a long call to the database, must not cost the worker its leases. So this is the
one part of the runtime that is not asyncio. (A handler that keeps the interpreter lock in C code stops this thread too. Then
the pulse, a process of its own, takes over for as long as the running attempts may take; see `pulse`.)
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

from flowdsl.errors import DatabaseError, WorkerNotFound, WorkerStopped
from flowdsl.gateway import calls, connections
from flowdsl.gateway.connections import SyncConnection
from flowdsl.gateway.rows import Heartbeat as Answer
from flowdsl.gateway.rows import Refusal, TaskRef
from flowdsl.runtime.backoff import Backoff
from flowdsl.runtime.pulse import Pulse

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 3
_JOIN_SECONDS = 2.0


class Identity(Protocol):
    """Who the heartbeat speaks for; both members are used from the heartbeat's thread."""

    worker_id: Any

    def lose(self, worker_id: UUID) -> None:
        """Note that the database no longer knows that id."""
        ...


class Heartbeat:
    """A context in which the lease is renewed three times per lease.

    All functions it is given are called in its thread: `running` before each beat, for the claims of the attempts that run;
    `on_revoked` with those of them that are not current any more, because their run was cancelled, say; `on_deprecated` when
    an operator asks the worker to drain; `on_lost` when the database no longer knows the worker.
    """

    def __init__(
        self,
        conninfo: str,
        identity: Identity,
        *,
        lease_seconds: int,
        running: Callable[[], Sequence[TaskRef]],
        on_revoked: Callable[[Sequence[Refusal]], None],
        on_deprecated: Callable[[], None],
        on_lost: Callable[[], None],
        beat: Callable[[SyncConnection, UUID, Sequence[TaskRef]], Answer] = calls.heartbeat_worker,
        connect: Callable[[str], SyncConnection] = connections.connect_sync,
        pulse: Pulse | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._identity = identity
        self._interval = lease_seconds / BEATS_PER_LEASE
        self._running = running
        self._on_revoked = on_revoked
        self._on_deprecated = on_deprecated
        self._on_lost = on_lost
        self._beat = beat
        self._connect = connect
        self._pulse = pulse
        self._backoff = Backoff(base=min(0.2, self._interval), cap=self._interval)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flowdsl-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        if self._pulse is not None:
            self._pulse.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # A beat that hangs in a dead connection ends with the process.
        self._thread.join(_JOIN_SECONDS)
        if self._pulse is not None:
            self._pulse.close()

    def _run(self) -> None:
        conn: SyncConnection | None = None
        pause = 0.0
        while not self._stop.wait(pause):
            worker_id = self._identity.worker_id
            try:
                if conn is None or conn.closed:
                    conn = self._connect(self._conninfo)
                answer = self._beat(conn, worker_id, self._running())
            except (WorkerNotFound, WorkerStopped):
                self._identity.lose(worker_id)
                self._on_lost()
                pause = self._interval
            except DatabaseError as error:
                self._gave_up(conn, error)
                conn = None
                pause = self._backoff.next()
            except Exception:
                logger.exception("heartbeat failed", extra={"worker_id": str(worker_id)})
                self._gave_up(conn, None)
                conn = None
                pause = self._backoff.next()
            else:
                if self._backoff.failures:
                    logger.info("heartbeats reach the database again", extra={"worker_id": str(worker_id)})
                self._backoff.reset()
                if self._pulse is not None:
                    self._pulse.beat(worker_id)
                if answer.lost:
                    self._on_revoked(answer.lost)
                if answer.deprecated:
                    self._on_deprecated()
                pause = self._interval
        self._gave_up(conn, None)

    def _gave_up(self, conn: SyncConnection | None, error: DatabaseError | None) -> None:
        if error is not None and not self._backoff.failures:
            worker_id = str(self._identity.worker_id)
            logger.warning("heartbeats do not reach the database: %s", error.message, extra={"worker_id": worker_id})
        if conn is not None:
            with contextlib.suppress(Exception):
                conn.close()
