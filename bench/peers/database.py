"""Databases of our own on a server that belongs to somebody else: made from a template, dropped at the end."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict


def url_of(url: str, **changed: str) -> str:
    """Return the URL with other parts (`dbname`, `host`, `port`), in the one form that all drivers here understand.

    asyncpg, psycopg and SQLAlchemy agree on a host given as a parameter, be it a name or the directory of a socket.
    """
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None} | changed
    user = quote(parts.pop("user", ""), safe="")
    password = parts.pop("password", None)
    if password is not None:
        user += ":" + quote(password, safe="")
    dbname = quote(parts.pop("dbname", ""), safe="")
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parts.items())
    return f"postgresql://{user}@/{dbname}?{query}"


def number(conn: "psycopg.Connection[tuple[object, ...]]", query: str) -> float:
    """Run a query that returns one number; nothing counts as 0."""
    row = conn.execute(query.encode()).fetchone()
    return float(str(row[0])) if row is not None and row[0] is not None else 0.0


class Server:
    """Makes fresh databases with the peer's schema; installing happens once, into a template."""

    def __init__(self, url: str, name: str, install: Callable[[str], None]) -> None:
        self._url = url
        self._prefix = f"bench_peer_{name}_{os.getpid()}"
        self._install = install
        self._made = 0

    @contextmanager
    def template(self) -> Iterator[None]:
        """Have the template while the block runs."""
        with self._new(self._prefix, "template0"):
            self._install(url_of(self._url, dbname=self._prefix))
            yield

    @contextmanager
    def database(self) -> Iterator[str]:
        """Have a database of its own, dropped at the end; gives its URL."""
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        with self._new(name, self._prefix):
            yield url_of(self._url, dbname=name)

    @contextmanager
    def _new(self, name: str, template: str) -> Iterator[None]:
        self._execute(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield
        finally:
            self._execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._url, autocommit=True) as conn:
            conn.execute(statement)
