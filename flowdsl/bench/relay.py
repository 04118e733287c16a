"""A socket between a worker and PostgreSQL that counts what the worker sends: its statements, and its round trips.

The server's own statistics do not count statements without an extension, and an extension is not everybody's to install.
The relay reads the wire protocol, so it counts whatever library speaks it; it offers no encryption.
"""

import contextlib
import os
import socket
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_PORT = 5432
_LENGTH = struct.Struct("!I")
_CHUNK = 1 << 16
# Messages of a client: Execute and a simple Query are a statement each; Sync and a simple Query wait for an answer.
_EXECUTE, _QUERY, _SYNC = b"E", b"Q", b"S"


class Relay:
    """Counts while it is entered: `with Relay(url) as relay: connect(relay.url)`."""

    def __init__(self, url: str) -> None:
        given = conninfo_to_dict(url)
        host = str(given.get("hostaddr") or given.get("host") or os.environ.get("PGHOST") or "localhost").split(",")[0]
        self._upstream = (host, int(str(given.get("port") or os.environ.get("PGPORT") or _PORT).split(",")[0]))
        self._given = url
        self._directory = tempfile.TemporaryDirectory(prefix="pgflow-relay-")
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets: list[socket.socket] = [self._listening]
        self._messages: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The connection string that leads through the relay."""
        return make_conninfo(
            self._given, host=self._directory.name, hostaddr="", port=_PORT, sslmode="disable", gssencmode="disable"
        )

    @property
    def statements(self) -> int:
        """How many statements were sent."""
        return self._messages[_EXECUTE] + self._messages[_QUERY]

    @property
    def round_trips(self) -> int:
        """How often a client waited for an answer."""
        return self._messages[_SYNC] + self._messages[_QUERY]

    def __enter__(self) -> Self:
        self._listening.bind(f"{self._directory.name}/.s.PGSQL.{_PORT}")
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._sockets:
            _shut(end)
        self._directory.cleanup()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._sockets.append(client)
        with contextlib.suppress(OSError):
            server = self._connect()
            self._sockets.append(server)
            threading.Thread(target=_pass_on, args=(server, client), daemon=True).start()
            with contextlib.suppress(ConnectionError):
                self._count(client, server)
            _shut(server)
        _shut(client)

    def _connect(self) -> socket.socket:
        host, port = self._upstream
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            server.close()
            raise
        return server

    def _count(self, client: socket.socket, server: socket.socket) -> None:
        with client.makefile("rb") as reader:
            # The first message has no kind: the client introduces itself.
            server.sendall(_body(reader.read))
            while True:
                kind = _exactly(reader.read, 1)
                with self._lock:
                    self._messages[kind] += 1
                server.sendall(kind + _body(reader.read))


def _body(read: Callable[[int], bytes]) -> bytes:
    """Read the length of a message, and the rest of it; returns both."""
    head = _exactly(read, _LENGTH.size)
    return head + _exactly(read, _LENGTH.unpack(head)[0] - _LENGTH.size)


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    data = read(count)
    if len(data) < count:
        raise ConnectionError("the connection was closed")
    return data


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
