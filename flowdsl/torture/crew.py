"""The workers: so many at any time, each replaced as soon as it has ended, each behind a proxy of its own."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flowdsl.torture.nursery import Child, Nursery
from flowdsl.torture.proxy import Proxy

LEASE_SECONDS = 2
OPTIONS: dict[str, Any] = {
    "lease_seconds": LEASE_SECONDS,
    "poll_seconds": 0.2,
    "grace_seconds": 1.0,
    "concurrency": 16,
    "batch": 8,
}
_STOP_SECONDS = 15.0


class Slot:
    """A worker's place. `child` is the one that has it now, `name` its name."""

    def __init__(self, number: int, proxy: Proxy | None) -> None:
        self.number = number
        self.proxy = proxy
        self.child: Child | None = None
        self.name = ""
        self.generation = 0
        self.is_taken = False
        """Something is about to happen to it."""

    async def kill(self) -> None:
        """Kill whoever has the place."""
        if self.child is not None:
            await self.child.kill()

    async def signal(self, number: int) -> None:
        """Send whoever has the place a signal."""
        if self.child is not None:
            await self.child.signal(number)


class Crew:
    """Keeps every slot filled while it is entered; then lets its workers drain."""

    def __init__(self, nursery: Nursery, dsn: str, slots: list[Slot], directory: Path) -> None:
        self.slots = slots
        self._nursery = nursery
        self._dsn = dsn
        self._directory = directory
        self._closing = False

    async def __aenter__(self) -> Self:
        self._keepers = [asyncio.ensure_future(self._keep(slot)) for slot in self.slots]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for slot in self.slots:
            await slot.signal(signal.SIGCONT)
            # There is no time for draining when we are interrupted.
            await slot.signal(signal.SIGTERM if kind is None else signal.SIGKILL)
        _, stubborn = await asyncio.wait(self._keepers, timeout=_STOP_SECONDS)
        if stubborn:
            for slot in self.slots:
                await slot.kill()
            await asyncio.wait(stubborn)

    async def _keep(self, slot: Slot) -> None:
        while not self._closing:
            slot.generation += 1
            slot.name = f"worker-{slot.number}.{slot.generation}"
            slot.child = await self._nursery.spawn(
                "flowdsl.torture.worker:serve", self._directory / f"worker-{slot.number}.log",
                dsn=slot.proxy.dsn if slot.proxy is not None else self._dsn,
                journal_dsn=self._dsn, name=slot.name, **OPTIONS,
            )  # fmt: skip
            await slot.child.ended.wait()
            if slot.child.returncode is None or slot.child.returncode > 0:
                # It could not start: the server is down. Not a place to spin.
                await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def slots(count: int, dsn: str, directory: Path, *, proxied: bool) -> AsyncIterator[list[Slot]]:
    """Make so many places, with their proxies below a directory."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number in range(1, count + 1):
            proxy = await stack.enter_async_context(Proxy(dsn, directory)) if proxied else None
            made.append(Slot(number, proxy))
        yield made
