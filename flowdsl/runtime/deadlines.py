"""The timeouts of all running attempts, for the price of two dictionary writes per attempt.

Attempts with the same limit become due in the order they began, so one timer per distinct limit is enough, aimed at the
oldest of them. A timer per attempt would leave tens of thousands of cancelled timers in the loop's heap.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `on_due(item)` in the event loop when an item stays longer than its limit; items are hashed by identity."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[T], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._due_at: dict[float, dict[T, float]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def add(self, item: T, seconds: float) -> float:
        """Begin to watch an item; return when it will be due."""
        due_at = self._loop.time() + seconds
        waiting = self._due_at.get(seconds)
        if waiting is None:
            waiting = self._due_at[seconds] = {}
        waiting[item] = due_at
        if seconds not in self._timers:
            self._timers[seconds] = self._loop.call_at(due_at, self._fire, seconds)
        return due_at

    def remove(self, item: T, seconds: float) -> None:
        """Stop watching an item; nothing happens when it was due already."""
        self._due_at[seconds].pop(item, None)

    def close(self) -> None:
        """Stop watching everything."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._due_at.clear()

    def _fire(self, seconds: float) -> None:
        del self._timers[seconds]
        waiting = self._due_at[seconds]
        now = self._loop.time()
        due = []
        for item, due_at in waiting.items():
            if due_at > now:
                self._timers[seconds] = self._loop.call_at(due_at, self._fire, seconds)
                break
            due.append(item)
        for item in due:
            del waiting[item]
        for item in due:
            self._on_due(item)
