"""The database to torture: a server of our own in a temporary directory, or a throwaway database of somebody's server."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowdsl.compiler.diff import diff
from flowdsl.compiler.migration import upgrade_statements
from flowdsl.core.manifest import install_sql
from flowdsl.gateway.errors import translated
from flowdsl.postgres import PostgresServer, bundled_programs, reachable_programs, server_account
from flowdsl.torture.flows import FLOWS
from flowdsl.torture.journal import SCHEMA

# As a server comes, that is with every commit on disk before it is acknowledged; 64 workers open five connections each.
SETTINGS = {"max_connections": "500", "timezone": "UTC", "log_min_messages": "warning"}


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """A database with the core, the tortured flows and the journal. `server` is None when it is not ours to stop."""

    dsn: str
    server: PostgresServer | None


@contextlib.contextmanager
def scratch_server(directory: Path) -> Iterator[PostgresServer]:
    """Start a server below a directory, and stop it at the end."""
    account = server_account()
    server = PostgresServer(
        programs=reachable_programs(bundled_programs(), account, directory / "programs"),
        data=directory / "data",
        sockets=directory / "socket",
        account=account,
        settings=SETTINGS,
    )
    try:
        server.create(sync=False)
        server.start()
        yield server
    finally:
        # Killed if it does not even count as running, as when we were interrupted while it started.
        server.stop("immediate")
        server.kill()


def sweep(directory: str) -> None:
    """Remove what `scratch_server` left below a directory, if it was killed itself: the server, then the files."""
    below = Path(directory)
    PostgresServer(programs=below, data=below / "data", sockets=below / "socket").kill()
    shutil.rmtree(below, ignore_errors=True)


def host(url: str) -> str:
    """Say where a server is. Read as libpq reads it: a password may hold what a URL should not."""
    return str(conninfo_to_dict(url).get("host") or "a server")


def drop(url: str, dsn: str) -> None:
    """Drop a throwaway database that is left."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as conn:
        _drop(conn, str(conninfo_to_dict(dsn)["dbname"]))


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Make a temporary directory that the server's account can reach; its name is short, for sockets lie below it."""
    directory = Path(tempfile.mkdtemp(prefix="pgflow-torture-"))
    try:
        directory.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def throwaway_database(url: str) -> Iterator[str]:
    """Make a database on the server at `url`, and drop it at the end.

    Raises:
        DatabaseError: the server cannot be reached, or the role may not create databases.
    """
    name = f"pgflow_torture_{uuid4().hex[:12]}"
    with translated(), psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        yield make_conninfo(url, dbname=name)
    finally:
        with translated(), psycopg.connect(url, autocommit=True) as conn:
            _drop(conn, name)


def _drop(conn: "psycopg.Connection[Any]", name: str) -> None:
    conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def install(dsn: str) -> None:
    """Install the core, the tortured flows and the journal into an empty database."""
    execute(dsn, install_sql())
    install_flows(dsn)


def install_flows(dsn: str) -> None:
    """Put the tortured flows and the journal into a database that has the core."""
    changes = [change for flow in FLOWS if (change := diff((), flow.shape())) is not None]
    execute(dsn, *upgrade_statements(changes), SCHEMA)


def execute(dsn: str, *scripts: str) -> None:
    """Execute SQL scripts."""
    with translated(), psycopg.connect(dsn, autocommit=True) as conn:
        for script in scripts:
            conn.execute(script.encode())
