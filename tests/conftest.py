"""Fixtures for everything that needs PostgreSQL, from one server per test session to a server of one's own.

    server      the session's server (PostgreSQL `FLOWDSL_TEST_PG`, default 18; see `servers.py`)
    template    URL of a database of that server with the core installed; never write to it
    dsn         URL of a fresh copy of `template`, dropped afterwards; `database` is the same. Each test must leave it sound:
                `pgflow.check_invariants()` finds nothing at its end, unless the test breaks data on purpose and says so
                (`@pytest.mark.broken_data("why")`)
    empty_dsn   URL of a fresh database without the core
    conn        a psycopg connection to `dsn`, in autocommit mode
    own_server  a server that belongs to the test alone: `.stop()`, `.start()`, `.kill()`, `.url()`
    run         runs a coroutine: `run(something(dsn))`

Async tests are plain functions that call `run` (asyncio.run with a bound on its time), so that no event loop hides in a
plugin. Async connections are opened inside of the coroutine, with `async with connect(dsn) as conn` from this module's
`connect` fixture: a connection belongs to the loop it was opened in.
"""

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from types import FrameType
from typing import Any, NoReturn, Protocol, TypeVar

import psycopg
import pytest
from psycopg import sql

from flowdsl.postgres import PostgresServer
from tests.servers import install_core, new_server, removed, scratch_directory

# What tests import from here, beside the fixtures.
__all__ = ["Connect", "Run", "fresh_database", "install_core", "violations"]

T = TypeVar("T")
RUN_SECONDS = 120.0

Connect = Callable[[str], AbstractAsyncContextManager["psycopg.AsyncConnection[Any]"]]


class Run(Protocol):
    """Run a coroutine to its end in a new event loop; longer than `seconds` is a failure."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], seconds: float = RUN_SECONDS) -> T: ...


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the versions of the type checkers that judged."""
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    if any(getattr(report, "nodeid", "").startswith("tests/typing/test_checkers.py") for report in reports):
        checkers = ("mypy", "pyright", "ty", "pyrefly")
        versions = (f"{name} {version(name)}" for name in checkers if find_spec(name) is not None)
        terminalreporter.write_line(f"type checkers: {', '.join(versions)}")


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    # Without this a SIGTERM would end pytest on the spot, and the server would stay. SIGINT is ignored in whatever a shell
    # starts in the background, and all processes that tests start would inherit that.
    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _embedded_servers_leave_nothing_behind() -> Iterator[None]:
    # Embedded servers of root keep their data apart when pytest's directories are closed to others; subprocesses inherit it.
    before = os.environ.get("FLOWDSL_STATE_HOME")
    with removed(scratch_directory()) as directory:
        os.environ["FLOWDSL_STATE_HOME"] = str(directory)
        yield
        if before is None:
            del os.environ["FLOWDSL_STATE_HOME"]
        else:
            os.environ["FLOWDSL_STATE_HOME"] = before


@contextmanager
def _scratch_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    directory = scratch_directory()
    server: PostgresServer | None = None
    try:
        server = new_server(directory, durable=durable)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with _scratch_server() as started:
        yield started


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server of the test's own, with fsync on, running, without the core (`install_core` puts it in)."""
    with _scratch_server(durable=True) as started:
        yield started


@pytest.fixture(scope="session")
def template(server: PostgresServer) -> str:
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("create database flowdsl_template")
    install_core(server.url("flowdsl_template"))
    return server.url("flowdsl_template")


@contextmanager
def fresh_database(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute(
            sql.SQL("create database {} template {} strategy wal_log").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    try:
        yield server.url(name)
    finally:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def dsn(request: pytest.FixtureRequest, server: PostgresServer, template: str) -> Iterator[str]:
    assert template
    with fresh_database(server, "flowdsl_template") as url:
        yield url
        if request.node.get_closest_marker("broken_data") is None:
            assert violations(url) == []


def violations(url: str) -> list[tuple[Any, ...]]:
    """Return what does not fit together in the database; nothing if a test took the core away."""
    with psycopg.connect(url, autocommit=True) as conn:
        installed = conn.execute("select to_regprocedure('pgflow.check_invariants()') is not null").fetchone()
        if installed != (True,):
            return []
        return conn.execute("select * from pgflow.check_invariants()").fetchall()


@pytest.fixture
def database(dsn: str) -> str:
    return dsn


@pytest.fixture
def empty_dsn(server: PostgresServer) -> Iterator[str]:
    with fresh_database(server, "template1") as url:
        yield url


@pytest.fixture
def conn(dsn: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def connect() -> Connect:
    """Open an async connection in autocommit mode: `async with connect(dsn) as conn`."""

    @asynccontextmanager
    async def opened(url: str) -> Any:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            yield connection

    return opened


@pytest.fixture
def run() -> Run:
    def to_the_end(coroutine: Coroutine[Any, Any, T], seconds: float = RUN_SECONDS) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(seconds):
                return await coroutine

        return asyncio.run(bounded())

    return to_the_end
