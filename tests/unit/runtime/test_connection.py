"""A link to a database that comes and goes."""

import logging
from typing import Any

import pytest

from flowdsl.errors import DatabaseError, DatabaseUnavailable
from flowdsl.gateway import connections
from flowdsl.runtime.connection import Link
from tests.conftest import Run


class FakeConnection:
    def __init__(self, *, prepare: bool) -> None:
        self.prepare = prepare
        self.closed = False


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[FakeConnection]:
    made: list[FakeConnection] = []

    async def connect(_: str, *, prepare: bool) -> Any:
        made.append(FakeConnection(prepare=prepare))
        return made[-1]

    async def close(conn: Any) -> None:
        conn.closed = True

    monkeypatch.setattr(connections, "connect", connect)
    monkeypatch.setattr(connections, "close", close)
    return made


def test_one_connection_is_kept_until_it_breaks(opened: list[FakeConnection], run: Run) -> None:
    async def scenario() -> None:
        link = Link("", "tests")
        assert await link.open() is await link.open()
        opened[0].closed = True
        await link.open()
        await link.close()

    run(scenario())
    assert [connection.closed for connection in opened] == [True, True]


def test_a_loss_and_a_return_are_told_once_each(
    opened: list[FakeConnection], run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        link = Link("", "tests", extra={"worker_id": "w"})
        for _ in range(3):
            await link.open()
            await link.drop(DatabaseUnavailable("gone"))
        link.worked()
        link.worked()

    with caplog.at_level(logging.INFO, logger="flowdsl"):
        run(scenario())
    assert [record.getMessage() for record in caplog.records] == [
        "lost the database connection for tests: gone",
        "the database connection for tests is back",
    ]
    assert {record.__dict__["worker_id"] for record in caplog.records} == {"w"}


@pytest.mark.parametrize("sqlstate", ["26000", "42P05"])
def test_a_pooler_that_loses_prepared_statements_is_spoken_to_without_them(
    opened: list[FakeConnection], run: Run, sqlstate: str
) -> None:
    async def scenario() -> None:
        link = Link("", "tests")
        await link.open()
        await link.suspect(DatabaseError("some other error", sqlstate="40001"))
        await link.open()
        assert len(opened) == 1
        await link.suspect(DatabaseError("no such statement", sqlstate=sqlstate))
        await link.open()

    run(scenario())
    assert [connection.prepare for connection in opened] == [True, False]


def test_statements_that_a_migration_made_stale_are_prepared_anew_on_another_connection(
    opened: list[FakeConnection], run: Run
) -> None:
    async def scenario() -> None:
        link = Link("", "tests")
        await link.open()
        await link.suspect(DatabaseError("cached plan must not change result type", sqlstate="0A000"))
        await link.open()

    run(scenario())
    assert [connection.prepare for connection in opened] == [True, True]
