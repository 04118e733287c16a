"""One connection for one command: which database it is, that it answers, and that its core is ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flowdsl.cli.output import note
from flowdsl.database import Database, resolve_database
from flowdsl.gateway.calls import check_core
from flowdsl.gateway.connections import Connection, close, connect, conninfo


def chosen_database(url: str | None) -> Database:
    """Return the database to use, and say so when it is the embedded one, which nobody named."""
    database = resolve_database(url)
    if database.embedded is not None:
        note(f"Using the {database.source} (name another with --database-url or DATABASE_URL).")
    return database


@asynccontextmanager
async def connected(database: Database, command: str) -> AsyncIterator[Connection]:
    """Open a connection to a database whose core fits this package, named after the command in pg_stat_activity."""
    conn = await connect(conninfo(database.url, f"pgflow {command}"))
    try:
        await check_core(conn)
        yield conn
    finally:
        await close(conn)
