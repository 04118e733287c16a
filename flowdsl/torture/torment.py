"""What is done to them: workers, connections and the server, killed at chosen moments and at random ones."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from flowdsl.postgres import PostgresServer
from flowdsl.torture.crew import LEASE_SECONDS, Slot
from flowdsl.torture.proxy import Moment, Trap

# Calls a worker makes all the time, and those it only makes when it is told to stop.
CALLS = (
    ("complete_and_claim_tasks", ""),
    ("fail_tasks", ""),
    ("heartbeat_worker", ""),
    ("lost_tasks", ""),
    ("release_strays", ""),
    ("run_sweep", "recover"),
    ("run_sweep", "timers"),
    ("run_sweep", "deadlines"),
)
LAST_CALLS = ("complete_tasks", "fail_tasks", "release_tasks", "release_strays", "mark_worker_stopped")
ACTS = {"kill_in_call": 12, "kill": 4, "drain": 3, "freeze": 2, "cut": 6, "terminate": 4, "restart": 1}
"""What is done, and how often compared with the others."""

PAUSE_SECONDS = 0.4
_TRAP_SECONDS = 3.0
_END_SECONDS = 30.0
_FREEZE_SECONDS = LEASE_SECONDS * 1.5
_BACKENDS = """
select pid from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name like 'flowdsl%'
order by pid
"""

Act = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One act that hit: what it was, when (by this machine's clock), and the worker that died of it, if one did."""

    what: str
    at: float
    worker: str | None = None


@dataclass(kw_only=True)
class Torment:
    """Acts one after the other, at random moments, until cancelled.

    `server` is None when it is not ours to stop; `only` names the acts to be done, empty for all.
    """

    dsn: str
    slots: list[Slot]
    server: PostgresServer | None
    dice: random.Random
    only: tuple[str, ...] = ()
    blows: list[Blow] = field(default_factory=list)
    _deeds: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def counts(self) -> Counter[str]:
        """How often each act hit."""
        return Counter(blow.what for blow in self.blows)

    async def run(self) -> None:
        """Go on until cancelled; then let those acts that are under way come to their end."""
        doable = self._doable()
        try:
            while True:
                await asyncio.sleep(self.dice.uniform(0.2, 1.8) * PAUSE_SECONDS)
                (name,) = self.dice.choices(doable, [ACTS[name] for name in doable])
                act: Act = getattr(self, f"_{name}")
                deed = asyncio.ensure_future(act())
                self._deeds.add(deed)
                deed.add_done_callback(self._deeds.discard)
        finally:
            if self._deeds:
                _, unending = await asyncio.wait(self._deeds, timeout=_END_SECONDS)
                for deed in unending:
                    deed.cancel()

    def _doable(self) -> list[str]:
        impossible = set() if self.server is not None else {"restart"}
        if not any(slot.proxy for slot in self.slots):
            impossible |= {"kill_in_call", "cut"}
        return [name for name in self.only or ACTS if name not in impossible]

    def _hit(self, what: str, worker: str | None = None) -> None:
        self.blows.append(Blow(what=what, at=time.time(), worker=worker))

    @contextlib.contextmanager
    def _victim(self) -> Any:
        """Pick a worker that nothing else is about to happen to; None when there is none."""
        free = [slot for slot in self.slots if not slot.is_taken and slot.child is not None and slot.child.is_alive]
        slot = self.dice.choice(free) if free else None
        if slot is None:
            yield None
            return
        slot.is_taken = True
        try:
            yield slot
        finally:
            slot.is_taken = False

    async def _kill_in_call(self) -> None:
        moment = self.dice.choice(list(Moment))
        kind = self.dice.random()
        with self._victim() as slot:
            if slot is None:
                return
            if kind < 0.1:
                # Whoever comes next is killed while it registers.
                await self._spring(slot, "register_worker", "", moment, slot.kill, prod=slot.kill)
            elif kind < 0.3:

                async def stop() -> None:
                    await slot.signal(signal.SIGTERM)

                await self._spring(slot, self.dice.choice(LAST_CALLS), "", moment, slot.kill, prod=stop)
            else:
                await self._spring(slot, *self.dice.choice(CALLS), moment, slot.kill)

    async def _cut(self) -> None:
        """Cut the connection in a call; the worker lives and has to find out what became of it."""
        moment = self.dice.choice(list(Moment))
        with self._victim() as slot:
            if slot is not None:
                await self._spring(slot, *self.dice.choice(CALLS), moment, None)

    async def _spring(
        self, slot: Slot, function: str, containing: str, moment: Moment, kill: Act | None, prod: Act | None = None
    ) -> None:
        if slot.proxy is None:
            return
        label = f"{function}({containing})" if containing else function

        async def act() -> None:
            name = slot.name
            if kill is not None:
                await kill()
                self._hit(f"SIGKILL in {label}: {moment}", name)
            else:
                self._hit(f"connection cut in {label}: {moment}")

        trap = slot.proxy.set(Trap(function=function, containing=containing.encode(), moment=moment, act=act))
        if prod is not None:
            await prod()
        try:
            async with asyncio.timeout(_TRAP_SECONDS):
                await trap.done.wait()
        except TimeoutError:
            if not slot.proxy.remove(trap):
                await trap.done.wait()

    async def _kill(self) -> None:
        with self._victim() as slot:
            if slot is not None:
                name = slot.name
                await slot.kill()
                self._hit("SIGKILL at random", name)

    async def _drain(self) -> None:
        with self._victim() as slot:
            if slot is not None:
                await slot.signal(signal.SIGTERM)
                self._hit("SIGTERM")

    async def _freeze(self) -> None:
        """Stop a worker for longer than its lease: it wakes up with tasks that are somebody else's by then."""
        with self._victim() as slot:
            if slot is not None:
                await slot.signal(signal.SIGSTOP)
                self._hit("SIGSTOP for longer than the lease")
                try:
                    await asyncio.sleep(_FREEZE_SECONDS)
                finally:
                    await slot.signal(signal.SIGCONT)

    async def _terminate(self) -> None:
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
                pids = [pid for (pid,) in await (await conn.execute(_BACKENDS)).fetchall()]
                if pids:
                    await conn.execute("select pg_terminate_backend(%s)", (self.dice.choice(pids),))
                    self._hit("pg_terminate_backend")

    async def _restart(self) -> None:
        server, self.server = self.server, None  # one at a time
        if server is None:
            return
        try:
            self._hit("server stopped with -m immediate")
            await _to_its_end(asyncio.to_thread(server.stop, "immediate"))
            await asyncio.sleep(self.dice.random())
            await _to_its_end(asyncio.to_thread(server.start))
        finally:
            self.server = server


async def _to_its_end(work: Awaitable[None]) -> None:
    """Await something to its end even when cancelled meanwhile: nobody could stop a server that is half started."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
