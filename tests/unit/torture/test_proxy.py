"""The proxy against a server that is no PostgreSQL at all: what it passes on, holds back and cuts."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from flowdsl.torture.proxy import Moment, Proxy, Trap
from tests.conftest import Run

SERVER_SECONDS = 10.0


def message(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!cI", kind, len(body) + 4) + body


CALL = [
    message(b"P", b"s1\0select pgflow.claim_tasks($1)\0\0\0"),
    message(b"B", b"\0s1\0\0\0\0\1\0\0\0\5hello\0\0"),
    message(b"E", b"\0\0\0\0\0"),
    message(b"S"),
]
DONE, READY = message(b"C", b"SELECT 1\0"), message(b"Z", b"I")
STARTUP = struct.pack("!II", 8, 196608)


class Server:
    """Notes what it is sent; answers an Execute at a Flush or Sync as PostgreSQL would."""

    def __init__(self) -> None:
        self.kinds = b""
        self.closed = asyncio.Event()
        self.flushed = asyncio.Event()
        self.silent = False
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            await reader.readexactly(8)
            executed = False
            while True:
                kind, length = struct.unpack("!cI", await reader.readexactly(5))
                await reader.readexactly(length - 4)
                self.kinds += kind
                executed = executed or kind == b"E"
                if kind == b"H":
                    self.flushed.set()
                if kind in (b"H", b"S") and executed and not self.silent:
                    writer.write(DONE)
                    executed = False
                if kind == b"S" and not self.silent:
                    writer.write(READY)
        except asyncio.IncompleteReadError:
            self.closed.set()
            writer.close()


Scenario = Callable[[Server, Proxy, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def connected(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(f"{conninfo_to_dict(proxy.dsn)['host']}/.s.PGSQL.5432")


def through_the_proxy(run: Run, directory: Path, scenario: Scenario) -> None:
    async def scene() -> None:
        server = Server()
        listening = await asyncio.start_unix_server(server.serve, str(directory / ".s.PGSQL.5432"))
        async with listening, Proxy(f"host={directory}", directory) as proxy:
            reader, writer = await connected(proxy)
            writer.write(STARTUP)
            await scenario(server, proxy, reader, writer)
            writer.close()

    run(scene(), SERVER_SECONDS)


def test_everything_passes_through_and_calls_are_counted(run: Run, tmp_path: Path) -> None:
    async def scenario(
        server: Server, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.writelines([*CALL, *CALL[1:]])
        assert await reader.readexactly(2 * len(DONE + READY)) == 2 * (DONE + READY)
        assert server.kinds == b"PBESBES"
        assert proxy.calls == {"claim_tasks": 2}

    through_the_proxy(run, tmp_path, scenario)


def test_encryption_is_declined(run: Run, tmp_path: Path) -> None:
    async def scenario(
        server: Server, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        del server, reader, writer
        one, other = await connected(proxy)
        other.write(struct.pack("!II", 8, 80877103))
        assert await one.readexactly(1) == b"N"
        other.writelines([STARTUP, *CALL])
        assert await one.readexactly(len(DONE + READY)) == DONE + READY
        other.close()

    through_the_proxy(run, tmp_path, scenario)


@pytest.mark.parametrize(
    ("moment", "seen"), [(Moment.SENT, b""), (Moment.EXECUTED, b"PBEH"), (Moment.COMMITTED, b"PBES")]
)
def test_a_trap_acts_at_its_moment_and_cuts_both_connections(
    run: Run, tmp_path: Path, moment: Moment, seen: bytes
) -> None:
    async def scenario(
        server: Server, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        at_the_moment: list[bytes] = []

        async def act() -> None:
            at_the_moment.append(server.kinds)

        trap = proxy.set(Trap(function="claim_tasks", moment=moment, act=act))
        writer.writelines(CALL)
        assert await reader.read() == b""
        await server.closed.wait()
        assert at_the_moment == [seen]
        assert server.kinds == seen
        assert (trap.reached.is_set(), trap.done.is_set()) == (True, True)

    through_the_proxy(run, tmp_path, scenario)


@pytest.mark.parametrize("moment", list(Moment))
def test_a_trap_that_does_not_cut_only_delays(run: Run, tmp_path: Path, moment: Moment) -> None:
    async def scenario(
        server: Server, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        del server
        go = asyncio.Event()
        trap = Trap(function="claim_tasks", moment=moment, act=lambda: _waited(go), cut=False)
        proxy.set(trap)
        writer.writelines(CALL)
        await trap.reached.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.05)
        go.set()
        assert await reader.readexactly(len(DONE + READY)) == DONE + READY

    through_the_proxy(run, tmp_path, scenario)


async def _waited(event: asyncio.Event) -> None:
    await event.wait()


def test_a_trap_waits_for_its_function_its_argument_and_its_turn(run: Run, tmp_path: Path) -> None:
    async def scenario(
        server: Server, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        del server
        others = [
            proxy.set(Trap(function="complete_tasks", moment=Moment.SENT)),
            proxy.set(Trap(function="claim_tasks", containing=b"goodbye", moment=Moment.SENT)),
        ]
        proxy.set(Trap(function="claim_tasks", containing=b"hello", moment=Moment.SENT, skip=1))
        writer.writelines([*CALL, *CALL])
        assert await reader.read() == DONE + READY
        assert [proxy.remove(other) for other in others] == [True, True]
        assert proxy.remove(others[0]) is False

    through_the_proxy(run, tmp_path, scenario)


def test_a_trap_whose_server_goes_away_before_the_moment_is_over_without_having_acted(run: Run, tmp_path: Path) -> None:
    async def scenario(
        server: Server, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server.silent = True
        trap = proxy.set(Trap(function="claim_tasks", moment=Moment.EXECUTED))
        writer.writelines(CALL)
        await server.flushed.wait()
        assert server.writer is not None
        server.writer.transport.abort()
        await trap.done.wait()
        assert not trap.reached.is_set()
        assert await reader.read() == b""

    through_the_proxy(run, tmp_path, scenario)
