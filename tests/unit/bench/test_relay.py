"""The relay that counts what a client sends."""

import socket
import struct
import threading
from pathlib import Path

from flowdsl.bench.relay import Relay


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


GOOD_BYE = message(b"X")


class Server:
    """Takes one connection, keeps what comes, and answers when the client says good-bye."""

    def __init__(self, directory: Path) -> None:
        self.received = b""
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(f"{directory}/.s.PGSQL.5432")
        self._listening.listen()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with self._listening:
            connection, _ = self._listening.accept()
        with connection:
            while not self.received.endswith(GOOD_BYE) and (data := connection.recv(1 << 16)):
                self.received += data
            connection.sendall(b"!")


def test_statements_and_round_trips_are_counted_and_everything_is_passed_on(tmp_path: Path) -> None:
    server = Server(tmp_path)
    introduction = struct.pack("!II", 8 + 5, 196608) + b"user\0"
    sent = [
        introduction,
        # two statements with one answer
        message(b"P", b"parse") + message(b"B", b"bind") + message(b"E", b"execute"),
        message(b"B", b"bind") + message(b"E", b"execute") + message(b"S"),
        # a simple query
        message(b"Q", b"select 1\0"),
        GOOD_BYE,
    ]
    with Relay(f"postgresql:///?host={tmp_path}") as relay:
        path = dict(part.split("=", 1) for part in relay.url.split())["host"].strip("'")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(f"{path}/.s.PGSQL.5432")
            for part in sent:
                client.sendall(part)
            assert client.recv(1) == b"!"
        server.thread.join(10)
    assert server.received == b"".join(sent)
    assert (relay.statements, relay.round_trips) == (3, 2)


def test_a_client_of_a_server_that_is_not_there_sees_the_connection_close(tmp_path: Path) -> None:
    with Relay(f"postgresql:///?host={tmp_path}") as relay:
        path = dict(part.split("=", 1) for part in relay.url.split())["host"].strip("'")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(f"{path}/.s.PGSQL.5432")
            assert client.recv(1) == b""
    assert not Path(path).exists()
