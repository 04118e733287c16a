"""Counting statements on the wire."""

import struct
from typing import Any

import psycopg
import pytest

from bench.peers.relay import EXECUTE, GSS_REQUEST, QUERY, SSL_REQUEST, SYNC, Messages, relayed
from flowdsl.postgres import PostgresServer


def packet(code: int, body: bytes = b"") -> bytes:
    """Return a packet without a type, as they are sent before a connection has begun."""
    return struct.pack("!ii", 8 + len(body), code) + body


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return a typed message."""
    return kind + struct.pack("!i", 4 + len(body)) + body


START = packet(196608, b"user\0me\0\0")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_are_counted_however_the_stream_is_cut(size: int) -> None:
    stream = packet(SSL_REQUEST) + packet(GSS_REQUEST) + START
    stream += (
        message(b"P", b"x" * 30) + message(b"B") + message(EXECUTE) + message(SYNC) + message(QUERY, b"select 1\0")
    )
    messages = Messages()
    for begin in range(0, len(stream), size):
        messages.feed(stream[begin : begin + size])
    assert messages.counts == {b"P": 1, b"B": 1, EXECUTE: 1, SYNC: 1, QUERY: 1}


def test_start_up_packet_is_no_message() -> None:
    messages = Messages()
    messages.feed(START)
    assert messages.counts == {}


def test_statements_of_all_connections_are_counted(server: PostgresServer) -> None:
    def ask(conn: "psycopg.Connection[Any]", times: int) -> None:
        for number in range(times):
            row = conn.execute("select %s::int", (number,)).fetchone()
            assert row == (number,)

    with (
        relayed(server.url()) as relay,
        psycopg.connect(relay.url, autocommit=True) as one,
        psycopg.connect(relay.url, autocommit=True) as two,
    ):
        before = relay.statements(), relay.round_trips()
        ask(one, 3)
        ask(two, 4)
        assert (relay.statements() - before[0], relay.round_trips() - before[1]) == (7, 7)
        with one.pipeline():
            for _ in range(5):
                one.execute("select 1")
        # Five statements, but the client waited once.
        assert (relay.statements() - before[0], relay.round_trips() - before[1]) == (12, 8)
