"""Counts the statements that a client sends, whatever its driver: a relay between its socket and the server's.

pg_stat_statements would count on the server, but few servers preload it, and it would count our own questions, too.
"""

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from bench.peers.database import url_of

# Requests before the connection proper, answered by a single byte.
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
JOIN_SECONDS = 5.0
QUERY, EXECUTE, SYNC = b"Q", b"E", b"S"


class Messages:
    """Splits what a client sends into protocol messages and counts them; fed with pieces of any size."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}
        self._rest = b""
        self._begun = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the stream."""
        self._rest += piece
        while (length := self._next()) is not None:
            self._rest = self._rest[length:]

    def _next(self) -> int | None:
        """Count the message at the front and return its length; None when it has not come in whole."""
        head = 1 if self._begun else 0  # the start-up packet has no type
        if len(self._rest) < head + 4:
            return None
        length = head + int(struct.unpack_from("!i", self._rest, head)[0])
        if len(self._rest) < length:
            return None
        if self._begun:
            kind = self._rest[:1]
            self.counts[kind] = self.counts.get(kind, 0) + 1
        elif length < 8 or struct.unpack_from("!i", self._rest, 4)[0] not in (SSL_REQUEST, GSS_REQUEST):
            self._begun = True
        return length


class Relay:
    """Listens on a socket of its own and passes everything on to the server."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url_of(url, host=str(directory), port="5432")
        self._target = conninfo_to_dict(url)
        self._lock = threading.Lock()
        self._streams: list[Messages] = []
        self._serving: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / ".s.PGSQL.5432"))
        self._listener.listen(100)

    def statements(self) -> int:
        """Return how many statements were sent so far: simple queries and executions."""
        return self._count(QUERY, EXECUTE)

    def round_trips(self) -> int:
        """Return how often a client waited so far: simple queries and synchronisations."""
        return self._count(QUERY, SYNC)

    def _count(self, *kinds: bytes) -> int:
        with self._lock:
            return sum(stream.counts.get(kind, 0) for stream in self._streams for kind in kinds)

    def accept(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            stream = Messages()
            with self._lock:
                self._streams.append(stream)
            thread = threading.Thread(target=self._serve, args=(client, server, stream), daemon=True)
            self._serving.append(thread)
            thread.start()

    def close(self) -> None:
        """Take no more connections, and see those end that ended with their clients."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._serving:
            thread.join(JOIN_SECONDS)

    def _connect(self) -> socket.socket:
        host, port = str(self._target.get("host") or "localhost"), int(self._target.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _serve(self, client: socket.socket, server: socket.socket, stream: Messages) -> None:
        """Pass on in both directions until either side ends."""
        with client, server:
            back = threading.Thread(target=self._pass, args=(server, client, None), daemon=True)
            back.start()
            self._pass(client, server, stream)
            back.join()

    def _pass(self, source: socket.socket, target: socket.socket, stream: Messages | None) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if stream is not None:
                    with self._lock:
                        stream.feed(piece)
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relayed(url: str) -> Iterator[Relay]:
    """Have a relay to the server at `url` while the block runs."""
    with tempfile.TemporaryDirectory(prefix="relay-") as directory:
        relay = Relay(url, Path(directory))
        thread = threading.Thread(target=relay.accept, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.close()
            thread.join()
