"""A socket between a worker and PostgreSQL that stops a chosen SQL call at a chosen moment.

A process that is killed at random dies somewhere; this decides where. The proxy reads the messages of the wire protocol,
knows from their text which function of the core a statement calls, and can stop at three moments: when the statement is on
its way (the server never sees it), when the server has executed but not committed it (the Sync that commits is withheld
and a Flush sent in its place), and when it is committed but the reply has not arrived. There something is done (the worker
is killed, its backend terminated), and then both connections are cut, or all goes on as if nothing had happened.
"""

import asyncio
import contextlib
import os
import re
import struct
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_HEADER = struct.Struct("!cI")
_LENGTH = struct.Struct("!I")
_CODE = struct.Struct("!I")
# What a client may ask before it introduces itself: encryption (TLS, GSSAPI), and to cancel a statement.
_ENCRYPTION_REQUESTS = (80877103, 80877104)
_CANCEL_REQUEST = 80877102
_FLUSH = _HEADER.pack(b"H", 4)
# What a client sends of the extended protocol before its Sync: Parse, Bind, Describe, Execute, Close.
_BATCHED = (b"P", b"B", b"D", b"E", b"C")
# How the server ends an Execute: CommandComplete, ErrorResponse, EmptyQueryResponse, PortalSuspended.
_EXECUTED = (b"C", b"E", b"I", b"s")
_READY_FOR_QUERY = (b"Z",)
_CALL = re.compile(r"\bpgflow\.(\w+)\s*\(")
_PORT = 5432

Functions = tuple[str, ...]
Act = Callable[[], Awaitable[None]]


class Moment(StrEnum):
    """How far a call has got when it is stopped."""

    SENT = "sent"
    """The worker has sent the statement; the server has not seen it."""

    EXECUTED = "executed"
    """The server has executed the statement and holds its locks; nothing is committed."""

    COMMITTED = "committed"
    """The server has committed; the worker does not know."""


async def nothing() -> None:
    """Do nothing: cutting the connection is enough."""


@dataclass(kw_only=True, eq=False)
class Trap:
    """Stops one call of a function. `skip` lets so many calls pass before it; `cut` ends the connection after `act`.

    `containing` picks among the calls by their arguments: bytes that must be in the message.
    """

    function: str
    moment: Moment
    containing: bytes = b""
    act: Act = nothing
    skip: int = 0
    cut: bool = True
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """The call has got to the moment; `act` begins."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """`act` has ended, or will never begin, since the connection broke before."""


class Proxy:
    """A Unix socket that leads to a PostgreSQL server: `async with Proxy(dsn) as proxy: connect(proxy.dsn)`.

    It offers no encryption, so it does not reach a server that insists on it. The socket lies below `directory`.
    """

    def __init__(self, dsn: str, directory: Path | None = None) -> None:
        given = conninfo_to_dict(dsn)
        host = str(given.get("hostaddr") or given.get("host") or os.environ.get("PGHOST") or "localhost")
        self._upstream = (host, int(given.get("port") or _PORT))
        self._dsn = dsn
        self._directory = tempfile.TemporaryDirectory(prefix="p-", dir=directory)
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._traps: list[Trap] = []
        self.calls: Counter[str] = Counter()
        """How often each function of the core was called through the proxy."""

    @property
    def dsn(self) -> str:
        """The connection string that leads through the proxy."""
        return make_conninfo(
            self._dsn, host=self._directory.name, hostaddr="", port=_PORT, sslmode="disable", gssencmode="disable"
        )

    def set(self, trap: Trap) -> Trap:
        """Set a trap; it works once."""
        self._traps.append(trap)
        return trap

    def remove(self, trap: Trap) -> bool:
        """Take a trap away; tell whether it was still waiting for its call."""
        if trap not in self._traps:
            return False
        self._traps.remove(trap)
        return True

    async def __aenter__(self) -> Self:
        path = Path(self._directory.name) / f".s.PGSQL.{_PORT}"
        self._server = await asyncio.start_unix_server(self._accept, str(path))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        sessions = list(self._sessions)
        for session in sessions:
            session.cancel()
        if sessions:
            await asyncio.wait(sessions)
        self._directory.cleanup()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            from_server, upstream = await self._connect()
            session = _Session(self._triggered, reader, writer, from_server, upstream)
            await session.run()
        except OSError:
            pass  # there is no server; the client sees the connection close
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._upstream
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    def _triggered(self, functions: Functions, messages: list[bytes]) -> Trap | None:
        """Count a statement's calls, and return the trap that is to stop it."""
        self.calls.update(functions)
        for trap in self._traps:
            if trap.function in functions and any(trap.containing in message for message in messages):
                if not trap.skip:
                    self._traps.remove(trap)
                    return trap
                trap.skip -= 1
        return None


class _Session:
    """One connection of a client, and the one to the server that it leads to."""

    def __init__(
        self,
        triggered: Callable[[Functions, list[bytes]], Trap | None],
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._triggered = triggered
        self._client, self._to_client = client, to_client
        self._server, self._to_server = server, to_server
        self._functions: dict[bytes, Functions] = {}
        # While a call is stopped: which message of the server is awaited, and what it has answered so far.
        self._awaited: tuple[bytes, ...] = ()
        self._answered = asyncio.Event()
        self._withheld: list[bytes] | None = None

    async def run(self) -> None:
        """Pass messages on until one side ends, or a trap cuts the connection."""
        directions = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._replies())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _requests(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._introduce()
            waiting: list[bytes] = []
            functions: Functions = ()
            while True:
                kind, message = await _message(self._client)
                if kind in _BATCHED:
                    waiting.append(message)
                    functions = self._functions_of(kind, message) or functions
                    continue
                trap = self._triggered(functions, waiting) if kind == b"S" and functions else None
                if trap is None:
                    self._to_server.writelines([*waiting, message])
                else:
                    await self._stop(trap, waiting, message)
                    if trap.cut:
                        return
                await self._to_server.drain()
                waiting, functions = [], ()

    async def _introduce(self) -> None:
        while True:
            head = await self._client.readexactly(_LENGTH.size)
            body = await self._client.readexactly(_LENGTH.unpack(head)[0] - _LENGTH.size)
            (code,) = _CODE.unpack(body[: _CODE.size])
            if code not in _ENCRYPTION_REQUESTS:
                self._to_server.write(head + body)
                await self._to_server.drain()
                if code == _CANCEL_REQUEST:
                    await self._server.read()
                return
            self._to_client.write(b"N")

    def _functions_of(self, kind: bytes, message: bytes) -> Functions:
        """Return the functions of the core that are to be executed, if this message (Bind) tells."""
        if kind == b"P":
            name, query, _ = message[_HEADER.size :].split(b"\0", 2)
            self._functions[name] = tuple(_CALL.findall(query.decode(errors="replace")))
        elif kind == b"B":
            _, name, _ = message[_HEADER.size :].split(b"\0", 2)
            return self._functions.get(name, ())
        return ()

    async def _stop(self, trap: Trap, waiting: list[bytes], sync: bytes) -> None:
        try:
            if trap.moment is Moment.EXECUTED:
                await self._until(_EXECUTED, [*waiting, _FLUSH])
            elif trap.moment is Moment.COMMITTED:
                await self._until(_READY_FOR_QUERY, [*waiting, sync])
        except BaseException:
            trap.done.set()  # the server went away before it came to that
            raise
        trap.reached.set()
        # Once begun it is done, even if the server goes away meanwhile.
        act = asyncio.ensure_future(trap.act())
        act.add_done_callback(lambda _: trap.done.set())
        await asyncio.shield(act)
        if trap.cut:
            return
        if trap.moment is Moment.SENT:
            self._to_server.writelines([*waiting, sync])
        elif trap.moment is Moment.EXECUTED:
            self._to_server.write(sync)
        withheld, self._withheld = self._withheld, None
        self._to_client.writelines(withheld or [])

    async def _until(self, kinds: tuple[bytes, ...], messages: list[bytes]) -> None:
        """Send messages and wait for the server's answer of one of these kinds; the client gets nothing meanwhile."""
        self._withheld, self._awaited = [], kinds
        self._answered.clear()
        self._to_server.writelines(messages)
        await self._to_server.drain()
        await self._answered.wait()

    async def _replies(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind, message = await _message(self._server)
                if self._withheld is None:
                    self._to_client.write(message)
                    await self._to_client.drain()
                    continue
                self._withheld.append(message)
                if kind in self._awaited:
                    self._answered.set()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one message; returns its kind, and all of it."""
    head = await reader.readexactly(_HEADER.size)
    kind, length = _HEADER.unpack(head)
    rest = length - _LENGTH.size
    return kind, head + await reader.readexactly(rest) if rest else head
