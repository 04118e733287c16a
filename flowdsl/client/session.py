"""How the client gets its connections: the caller's own, or one of a pool that opens with its first use.

Nearly everything the client does is idempotent (a start carries its run ids), so work on a pooled connection that breaks is
simply done again. Work on the caller's connection is never repeated, committed or rolled back here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flowdsl.errors import ConfigError, DatabaseError, DatabaseUnavailable
from flowdsl.gateway import calls, connections
from flowdsl.gateway.connections import Connection, Pool

T = TypeVar("T")

TRIES = 3
_WAIT_SECONDS = 10.0
_PAUSE_SECONDS = 0.1

# feature_not_supported ("cached plan must not change result type"), invalid_sql_statement_name: a migration changed what a
# function returns since the statement was prepared, or somebody deallocated it.
_STATEMENT_STALE = ("0A000", "26000")

Work = Callable[[Connection], Awaitable[T]]


class Session:
    """Runs pieces of work on connections."""

    def __init__(self, conninfo: str, *, min_size: int, max_size: int) -> None:
        self.conninfo = conninfo
        self._min_size = min_size
        self._max_size = max_size
        self._opening = asyncio.Lock()
        self._pool: Pool | None = None
        self.is_entered = False

    async def do(self, work: Work[T], connection: Connection | None = None, *, tries: int = TRIES) -> T:
        """Do a piece of work on the caller's connection, or on one of the pool, and then again if that breaks.

        Raises:
            ConfigError: no connection is given and the client has not been entered.
        """
        if connection is not None:
            return await work(connection)
        pool = await self._opened()
        tries_left = tries
        if tries == 1:  # what cannot be repeated is not tried on a connection that may be broken
            await connections.mend(pool)
        while True:
            tries_left -= 1
            reached = False
            try:
                async with connections.lent(pool) as conn:
                    reached = True
                    return await _with_fresh_statements(conn, work)
            except DatabaseUnavailable:
                # Having waited for a connection in vain is an answer; one that broke under us is bad luck.
                if not reached or not tries_left:
                    raise
                # All connections of a server that restarted are broken, and there may be more of them than tries.
                await connections.mend(pool)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def close(self) -> None:
        """Close the pool."""
        self.is_entered = False
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _opened(self) -> Pool:
        if not self.is_entered:
            raise ConfigError(
                "the client is not open",
                hint="Use it inside of `async with Client(dsn) as client:`, or give the call a connection of your own.",
            )
        async with self._opening:
            if self._pool is None:
                # A pool retries in the background and says little; one connection tells at once what is wrong.
                conn = await connections.connect(self.conninfo)
                try:
                    await calls.check_core(conn)
                    is_pooled = await connections.is_pooled(conn)
                finally:
                    await connections.close(conn)
                pool = connections.new_pool(
                    self.conninfo,
                    min_size=self._min_size,
                    max_size=self._max_size,
                    wait_seconds=_WAIT_SECONDS,
                    prepare=not is_pooled,
                )
                await pool.open()
                self._pool = pool
            return self._pool


async def _with_fresh_statements(conn: Connection, work: Work[T]) -> T:
    try:
        return await work(conn)
    except DatabaseError as error:
        if error.sqlstate not in _STATEMENT_STALE:
            raise
        # Refused before it did anything, and a transaction of ours around it was rolled back.
        connections.forget_statements(conn)
        return await work(conn)
