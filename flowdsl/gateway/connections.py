"""How we connect: autocommit, named in pg_stat_activity, and quick to notice a dead network.

A worker that waits for hours on a connection whose other end is gone would hold its tasks for as long, so keepalives are
set wherever the caller's URL does not say otherwise.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from flowdsl.errors import ConfigError
from flowdsl.gateway.errors import translated

Connection = psycopg.AsyncConnection[Any]
SyncConnection = psycopg.Connection[Any]
Pool = AsyncConnectionPool[Connection]

_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_PROBES = 4
_PROBE_SECONDS = 5.0


def conninfo(dsn: str, application_name: str) -> str:
    """Return `dsn` with our defaults for what it leaves open; SQLAlchemy's `postgresql+psycopg://` is understood too.

    The encoding is always UTF-8, whatever the URL or PGCLIENTENCODING say: JSON and binary arrays are sent as such.

    Raises:
        ConfigError: it is neither a PostgreSQL URL nor a `key=value` string.
    """
    scheme, separator, rest = dsn.partition("://")
    if separator and scheme.startswith(("postgresql+", "postgres+")):
        dsn = f"postgresql://{rest}"
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # The text may hold a password, so it is not repeated.
        raise ConfigError(
            f"the database URL cannot be read: {str(error).strip()}",
            hint="It looks like this: postgresql://user:password@host:5432/database",
        ) from error
    defaults = {"application_name": application_name[:63], **_DEFAULTS}
    missing = {key: value for key, value in defaults.items() if key not in given}
    return make_conninfo(dsn, **missing, client_encoding="utf8")


async def connect(info: str, *, prepare: bool = True) -> Connection:
    """Open a connection in autocommit mode; `prepare`: let statements that are repeated be prepared by the server.

    Behind a pooler nothing is prepared. All processes give their statements the same names (`_pg3_0`), and most poolers do
    not keep them apart, so one worker's outputs could be handed in by what another one prepared for its failures. It costs
    a plan of one function call per batch.

    Raises:
        DatabaseUnavailable, DatabaseError.
    """
    with translated():
        conn = await psycopg.AsyncConnection.connect(info, autocommit=True, prepare_threshold=None)
        try:
            if prepare and not await is_pooled(conn):
                conn.prepare_threshold = 5
        except BaseException:
            await conn.close()
            raise
        return conn


async def hears(conn: Connection, info: str) -> bool:
    """Tell whether notifications arrive on a connection that `info` leads to.

    A pooler in transaction mode drops them; and what had been subscribed to would stay subscribed on a connection that it
    lends to others, and cuts at the next notification. It is known by two open connections that one server process serves.

    Raises:
        DatabaseUnavailable, DatabaseError.
    """
    if not await is_pooled(conn):
        return True
    other = await connect(info, prepare=False)
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            served = [(await _server_process(conn), await _server_process(other)) for _ in range(_PROBES)]
    except TimeoutError:
        # A pooler in session mode that has no second connection for us: one that listens would keep somebody else out.
        return False
    finally:
        await close(other)
    return len(set(served)) == 1 and served[0][0] != served[0][1]


async def _server_process(conn: Connection) -> int:
    with translated():
        cursor = psycopg.AsyncCursor(conn, row_factory=tuple_row)
        row = await (await cursor.execute("select pg_backend_pid()", prepare=False)).fetchone()
    return int(row[0]) if row else 0


def connect_sync(info: str) -> SyncConnection:
    """Open a blocking connection in autocommit mode, for a thread of its own.

    Raises:
        DatabaseUnavailable, DatabaseError.
    """
    with translated():
        return psycopg.Connection.connect(info, autocommit=True, prepare_threshold=None)


async def check(conn: Connection) -> None:
    """Make sure that the server answers on a connection.

    Raises:
        DatabaseUnavailable, DatabaseError.
    """
    with translated():
        await AsyncConnectionPool.check_connection(conn)


async def is_pooled(conn: Connection) -> bool:
    """Tell whether a pooler lies between us and the server: statements prepared here may then be looked for elsewhere.

    A pooler answers for many servers' processes, so the process it names at the start is none of them.
    """
    return await _server_process(conn) != conn.info.backend_pid


def forget_statements(conn: Connection) -> None:
    """Prepare nothing any more on a connection; what was prepared stays unused."""
    conn.prepare_threshold = None


async def close(conn: Connection) -> None:
    """Close a connection that may be broken already."""
    with contextlib.suppress(psycopg.Error):
        await conn.close()


async def listen(conn: Connection, channel: str) -> None:
    """Subscribe a connection to a channel."""
    with translated():
        await conn.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))


async def notifications(conn: Connection) -> AsyncIterator[str]:
    """Yield the payload of every notification of the channels this connection listens to, for ever.

    Raises:
        DatabaseUnavailable: the connection broke.
    """
    with translated():
        async for notification in conn.notifies():
            yield notification.payload


def new_pool(info: str, *, min_size: int, max_size: int, wait_seconds: float, prepare: bool) -> Pool:
    """Make a pool of autocommit connections, not opened yet; `prepare` as in `connect`.

    Connections are lent as they are. Trying each beforehand cost a round trip a call: with it 521 starts a second one by one,
    without it 770. Who is lent a broken one calls `mend` and asks for another.
    """
    return AsyncConnectionPool(
        info,
        connection_class=psycopg.AsyncConnection[Any],
        kwargs={"autocommit": True, "prepare_threshold": 2 if prepare else None},
        min_size=min_size,
        max_size=max_size,
        timeout=wait_seconds,
        open=False,
        name="flowdsl client",
    )


async def mend(pool: Pool) -> None:
    """Try all connections of the pool that nobody has, and put others in the place of those that broke."""
    with translated():
        await pool.check()


@contextlib.asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[Connection]:
    """Lend a connection of the pool.

    Raises:
        DatabaseUnavailable: none could be had in time, or the one lent broke.
    """
    task = asyncio.current_task()
    cancellations = task.cancelling() if task is not None else 0
    with translated():
        # Not `pool.connection()`, which commits on the way out: nothing in autocommit mode, for 0.1 ms a call.
        conn = await pool.getconn()
        try:
            # The pool waits with Python 3.11's wait_for, which loses a cancellation that arrives with the connection.
            if task is not None and task.cancelling() > cancellations:
                raise asyncio.CancelledError
            yield conn
        finally:
            await pool.putconn(conn)


@contextlib.asynccontextmanager
async def transaction(conn: Connection) -> AsyncIterator[None]:
    """All or nothing; inside of a caller's transaction a savepoint, or nothing at all.

    With autocommit off the transaction is the caller's even before its first statement, so it is not ours to commit.
    """
    with translated():
        if conn.autocommit:
            async with conn.transaction():
                yield
        else:
            yield
