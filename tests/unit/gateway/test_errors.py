"""psycopg's errors become ours, the most specific one, with the server's message and hint."""

from typing import Any

import psycopg
import pytest

from flowdsl.errors import REFUSALS, CoreNotInstalled, DatabaseError, DatabaseUnavailable
from flowdsl.gateway.errors import translate, translated


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_refusal_of_the_core_becomes_its_class(conn: "psycopg.Connection[Any]", code: str) -> None:
    with pytest.raises(REFUSALS[code]) as caught, translated():
        conn.execute("select pgflow._refuse(%s, 'what happened', 'what mends it')", (code,))
    assert caught.value.sqlstate == code
    assert caught.value.hint == "what mends it"
    assert "what happened" in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg.Error)


@pytest.mark.parametrize("query", ["select pgflow.core_version()", "select * from pgflow.runs"])
def test_a_missing_core_says_how_to_install_it(empty_dsn: str, query: str) -> None:
    with (
        psycopg.connect(empty_dsn) as conn,
        pytest.raises(CoreNotInstalled, match="alembic upgrade head"),
        translated(),
    ):
        conn.execute(query.encode())


@pytest.mark.parametrize("text", ["half of a pair: \ud800", "the character \0"])
def test_text_that_postgresql_cannot_take_is_an_error_of_ours(conn: "psycopg.Connection[Any]", text: str) -> None:
    with pytest.raises(DatabaseError, match="cannot"), translated():
        conn.execute("select %s::text", (text,))


def test_a_lost_connection_is_unavailable(conn: "psycopg.Connection[Any]", dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as victim:
        conn.execute("select pg_terminate_backend(%s)", (victim.info.backend_pid,))
        with pytest.raises(DatabaseUnavailable), translated():
            victim.execute("select 1")
        with pytest.raises(DatabaseUnavailable), translated():
            victim.execute("select 1")


def test_no_server_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable, match="--database-url"), translated():
        psycopg.connect("host=/nonexistent dbname=x")


def test_other_errors_keep_their_sqlstate(conn: "psycopg.Connection[Any]") -> None:
    with pytest.raises(DatabaseError) as caught, translated():
        conn.execute("select 1 / 0")
    assert caught.value.sqlstate == "22012"
    assert type(translate(psycopg.DataError("x"))) is DatabaseError


def test_a_server_that_takes_no_writes_is_unavailable(conn: "psycopg.Connection[Any]") -> None:
    conn.execute("set default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailable, match="target_session_attrs") as caught, translated():
        conn.execute("create table t ()")
    assert caught.value.sqlstate == "25006"
