"""What the worker holds, and when to talk to the database about it.

The one place that counts: attempts that run, results waiting to be handed in, free slots. It does no I/O; attempts write
into it, the exchange reads from it, and both live in the event loop, so there are no locks.

When it is time to hand in decides the throughput. With handlers that take microseconds, handing in each result at once
would mean one commit per task. So after the first result the ledger lingers until a batch is full, or nothing else runs
(a single idle task is handed in at once), or a few milliseconds have passed.

How much is claimed follows from how much gets done: up to twice as many tasks as results are handed in by the same call. Fast
handlers reach whole batches within a few calls. Slow ones are claimed in small portions, so that several workers share them.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from flowdsl.gateway.rows import Completed, Failed, TaskRef

FIRST_CLAIM = 16
"""So many tasks are claimed at most by a call that hands in no results."""

_DRAINING_PAUSE_MAX = 0.5


class Held(Protocol):
    """A claimed task, as far as the ledger needs to know it."""

    @property
    def ref(self) -> TaskRef:
        """The claim of the task."""
        ...


H = TypeVar("H", bound=Held)


@dataclass(slots=True)
class Handing:
    """Results on their way to the database. They stay the ledger's until they are settled."""

    completed: list[Completed] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def remove(self, result: Completed | Failed) -> None:
        """Take out a result the database has answered for."""
        self.completed = [other for other in self.completed if other is not result]
        self.failed = [other for other in self.failed if other is not result]


class Ledger(Generic[H]):
    """Counts slots and collects results; `wait` returns when there is something to say to the database."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, concurrency: int, batch: int, linger: float) -> None:
        self._loop = loop
        self._concurrency = concurrency
        self._batch = batch
        self._linger = linger
        self._running: set[H] = set()
        self._stuck: set[H] = set()
        self._renounced: set[H] = set()
        self._completed: deque[Completed] = deque()
        self._failed: deque[Failed] = deque()
        self._handing = Handing()
        self._abandoned: list[TaskRef] = []
        self._asking = False
        self._insisting = False
        self._lingered = False
        self._settled_at = -math.inf
        self._stride = FIRST_CLAIM
        self._linger_timer: asyncio.TimerHandle | None = None
        self._ask_timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._drain_asked = asyncio.Event()
        self.draining = False

    # -- slots

    @property
    def running(self) -> frozenset[H]:
        """The attempts that have not ended; a copy that any thread may ask for."""
        return frozenset(self._running)

    def is_running(self, attempt: H) -> bool:
        """Whether an attempt has not ended."""
        return attempt in self._running

    @property
    def stuck(self) -> frozenset[H]:
        """The attempts that are over for the database while their handlers have not ended; each takes a slot."""
        return frozenset(self._stuck | self._renounced)

    @property
    def free(self) -> int:
        """How many more attempts may begin."""
        return max(self._concurrency - len(self._running) - len(self._stuck) - len(self._renounced), 0)

    @property
    def wanted(self) -> int:
        """How many tasks to claim now."""
        return 0 if self.draining else min(self._batch, self.free, self._stride)

    def begin(self, attempt: H) -> None:
        """Note that an attempt runs."""
        self._running.add(attempt)

    def finish(self, attempt: H, result: Completed | Failed | None, *, stuck: bool = False) -> None:
        """Note that an attempt is over. Without a result its task will be released.

        `stuck`: its handler goes on nevertheless and keeps the slot until `ended`.
        """
        self._running.remove(attempt)
        if stuck:
            self._stuck.add(attempt)
        if result is None:
            self._abandoned.append(attempt.ref)
        else:
            self.add(result)
        if not self._running or self._is_due():
            self._changed.set()

    def renounce(self, attempt: H) -> None:
        """Note that a running attempt's task is not ours any more: nothing is handed in or given back for it.

        Its handler keeps the slot until `ended`.
        """
        self._running.remove(attempt)
        self._renounced.add(attempt)
        if not self._running or self._is_due():
            self._changed.set()

    def ended(self, attempt: H) -> None:
        """Note that the handler of a stuck or renounced attempt has ended."""
        self._stuck.discard(attempt)
        self._renounced.discard(attempt)
        if self._is_due():
            self._changed.set()

    # -- results

    def add(self, result: Completed | Failed) -> None:
        """Queue a result to be handed in."""
        if isinstance(result, Completed):
            self._completed.append(result)
        else:
            self._failed.append(result)
        if self._linger_timer is None and not self._lingered:
            self._linger_timer = self._loop.call_later(self._linger, self._linger_over)

    def take(self, max_bytes: int) -> Handing:
        """Take the results to hand in next: at most a batch, and not many more bytes than `max_bytes`.

        They count as held until `settle`; `restore` puts back what has not been settled.
        """
        handing, room, size = Handing(), self._batch, 0
        while self._failed and room:
            handing.failed.append(self._failed.popleft())
            room -= 1
        while self._completed and room and (size == 0 or size + len(self._completed[0].output) <= max_bytes):
            size += len(self._completed[0].output) + 1
            handing.completed.append(self._completed.popleft())
            room -= 1
        self._handing = handing
        self._stride = max(FIRST_CLAIM, 2 * (self._batch - room))
        self._insisting = False
        if self.wanted:
            # This call asks, so an earlier wish to ask is fulfilled. A timer left over would fire while the call is under
            # way, and the results of what it brings would wait for another one that finds nothing (2 to 6 ms of idle latency).
            self._asking = False
            self._forget_to_ask()
        # What is left over has waited long enough already.
        self._lingered = bool(self._completed or self._failed)
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        return handing

    def settle(self) -> None:
        """Note that the database has answered for all that was taken."""
        self._handing = Handing()
        self._settled_at = self._loop.time()

    def restore(self) -> None:
        """Put back what was taken and not settled: the database may or may not have it."""
        handing, self._handing = self._handing, Handing()
        self._completed.extendleft(reversed(handing.completed))
        self._failed.extendleft(reversed(handing.failed))
        self._lingered = bool(self._completed or self._failed)

    def abandoned(self) -> list[TaskRef]:
        """Every task that is held without a result."""
        return [*self._abandoned, *(attempt.ref for attempt in self._running)]

    def fences(self) -> list[int]:
        """The fences of everything held, with a result or without."""
        results: Iterable[Completed | Failed] = (
            *self._completed,
            *self._failed,
            *self._handing.completed,
            *self._handing.failed,
        )
        return sorted({ref.fence for ref in (*self.abandoned(), *(result.task for result in results))})

    # -- time

    def ask(self) -> None:
        """Ask the database for tasks as soon as there is a free slot."""
        self._asking = True
        if self._is_due():
            self._changed.set()

    def hint(self) -> None:
        """Ask because somebody says that there is work: at once, or with the results of attempts that have just begun.

        A call for the sake of a few tasks would keep those results waiting, and they come within microseconds or not soon.
        """
        wait = self._settled_at + self._linger - self._loop.time()
        if not self._running or wait <= 0:
            self.ask()
        elif self._ask_timer is None or self._ask_timer.when() > self._loop.time() + wait:
            self.ask_after(wait)

    def insist(self) -> None:
        """Talk to the database once even without results or free slots: there is something else to settle."""
        self._insisting = True
        self._changed.set()

    def ask_after(self, seconds: float) -> None:
        """Ask for tasks when that time has passed, or earlier if that was wished for: a hint may come during a call."""
        if self._ask_timer is not None and self._ask_timer.when() <= self._loop.time() + seconds:
            return
        self._forget_to_ask()
        self._ask_timer = self._loop.call_later(seconds, self._ask_now)

    def drain(self) -> None:
        """Ask for nothing any more."""
        self.draining = True
        self._changed.set()
        self._drain_asked.set()

    def close(self) -> None:
        """Stop the timers."""
        for timer in (self._linger_timer, self._ask_timer):
            if timer is not None:
                timer.cancel()

    @property
    def has_results(self) -> bool:
        """Whether results wait to be handed in."""
        return bool(self._completed or self._failed)

    @property
    def drained(self) -> bool:
        """Whether a draining worker has nothing left to do."""
        return self.draining and not self._busy and not self.has_results

    @property
    def _busy(self) -> bool:
        # A draining worker waits for renounced handlers too: they are to end in order, not with the process.
        return bool(self._running or self._renounced)

    async def wait(self) -> None:
        """Return when results are to be handed in, tasks to be asked for, or all is drained."""
        while not self._is_due():
            self._changed.clear()
            await self._changed.wait()

    async def wait_idle(self) -> None:
        """Return when no attempt runs."""
        while self._running:
            self._changed.clear()
            await self._changed.wait()

    async def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the moment at which draining begins."""
        if self.draining:
            await asyncio.sleep(min(seconds, _DRAINING_PAUSE_MAX))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._drain_asked.wait()

    def _ask_now(self) -> None:
        self._ask_timer = None
        self.ask()

    def _forget_to_ask(self) -> None:
        if self._ask_timer is not None:
            self._ask_timer.cancel()
            self._ask_timer = None

    def _linger_over(self) -> None:
        self._linger_timer = None
        self._lingered = True
        self._changed.set()

    def _is_due(self) -> bool:
        waiting = len(self._completed) + len(self._failed)
        if self._insisting:
            return True
        if waiting:
            return self._lingered or waiting >= self._batch or not self._running
        if self.draining:
            return not self._busy
        return self._asking and self.free > 0
