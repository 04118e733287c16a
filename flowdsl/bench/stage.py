"""The databases that are measured: made on a server for this only, each a fresh copy of one with the core and the flows.

A copy for each measurement, since a table that was filled and emptied is not a new one: it has dead rows, other statistics,
and a longer file. Nothing else on the server is touched.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from flowdsl.bench.errors import MayNotCreateError
from flowdsl.bench.flows import FLOWS
from flowdsl.compiler.diff import diff
from flowdsl.compiler.migration import upgrade_statements
from flowdsl.core.manifest import install_sql
from flowdsl.errors import DatabaseUnavailable
from flowdsl.gateway.errors import translated

Connection = psycopg.Connection[Any]


class Stage:
    """Makes the databases on a server. `name` is how all of their names begin."""

    def __init__(self, url: str, name: str, *, keep: bool) -> None:
        self.url = url
        self.name = name
        self._keep = keep
        self._copies = 0
        self.there: list[str] = []
        """The databases that are on the server because of it, and not dropped yet."""

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Make a database with the core and the flows, without a single run; its URL. Dropped at the end."""
        name = f"{self.name}_{self._copies}"
        self._copies += 1
        with self.dropped(name):
            with self.connect() as conn:
                conn.execute(_statement("create database {} template {}", name, self.name))
                # The next one is not due in the middle of what is measured.
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    conn.execute("checkpoint")
            yield make_conninfo(self.url, dbname=name)

    @contextlib.contextmanager
    def dropped(self, name: str) -> Iterator[None]:
        """Drop a database at the end, unless all are kept."""
        self.there.append(name)
        try:
            yield
        finally:
            if not self._keep:
                drop(self.url, name)
                self.there.remove(name)

    def connect(self) -> Connection:
        """Connect to the server, beside what is measured."""
        return connect(self.url)


@contextlib.contextmanager
def stage(url: str, *, keep: bool = False) -> Iterator[Stage]:
    """Make the database that all others are copied from, and drop it at the end; `keep` drops none of them.

    Raises:
        DatabaseUnavailable: the server cannot be reached, or no longer; it names the databases that are left there.
        MayNotCreateError: the role may not create databases.
    """
    made = Stage(url, f"pgflow_bench_{uuid4().hex[:8]}", keep=keep)
    try:
        _create(url, made.name)
        with made.dropped(made.name):
            _install(make_conninfo(url, dbname=made.name))
            yield made
    except DatabaseUnavailable as error:
        raise _gone(error, made.there) from error


def connect(url: str) -> Connection:
    """Connect, in autocommit mode and under a name of its own."""
    return psycopg.connect(make_conninfo(url, application_name="pgflow bench"), autocommit=True)


def drop(url: str, name: str) -> None:
    """Drop a database, whoever is connected to it."""
    with translated(), connect(url) as conn:
        conn.execute(_statement("drop database if exists {} with (force)", name))


def _create(url: str, name: str) -> None:
    with translated(), connect(url) as conn:
        try:
            conn.execute(_statement("create database {}", name))
        except psycopg.errors.InsufficientPrivilege as error:
            raise MayNotCreateError(
                f"The benchmarks need a database of their own, and role '{conn.info.user}' may not create one.",
                hint=f"Allow it: alter role {conn.info.user} createdb;   or name another role in the URL.",
            ) from error


def _gone(error: DatabaseUnavailable, left: Sequence[str]) -> DatabaseUnavailable:
    hint = "Check that PostgreSQL runs and that --database-url is right."
    if left:
        drops = " ".join(f"drop database if exists {name};" for name in left)
        hint += f" When it is back, drop what is left there: {drops}"
    return DatabaseUnavailable(error.message, hint=hint, sqlstate=error.sqlstate)


def _install(url: str) -> None:
    changes = [change for flow in FLOWS.values() if (change := diff((), flow.shape())) is not None]
    with translated(), connect(url) as conn:
        conn.execute(install_sql().encode())
        for statement in upgrade_statements(changes):
            conn.execute(statement.encode())


def _statement(template: LiteralString, *names: str) -> sql.Composed:
    return sql.SQL(template).format(*map(sql.Identifier, names))
