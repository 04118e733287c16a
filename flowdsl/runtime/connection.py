"""One connection that is opened again, patiently, whenever it breaks.

It says so once when the database goes and once when it is back, however many attempts lie between.
"""

import logging
from collections.abc import Mapping
from typing import Any

from flowdsl.errors import DatabaseError
from flowdsl.gateway import connections
from flowdsl.gateway.connections import Connection
from flowdsl.runtime.backoff import Backoff

logger = logging.getLogger(__name__)

# invalid_sql_statement_name, duplicate_prepared_statement
_PREPARED_STATEMENT_LOST = ("26000", "42P05")
# feature_not_supported: "cached plan must not change result type", after a migration
_PREPARED_STATEMENT_STALE = "0A000"


class Link:
    """Owns at most one open connection. `purpose` names it in the log."""

    def __init__(self, conninfo: str, purpose: str, *, extra: Mapping[str, Any] | None = None) -> None:
        self.backoff = Backoff()
        self._conninfo = conninfo
        self._purpose = purpose
        self._extra = extra or {}
        self._conn: Connection | None = None
        self._lost = False
        self._prepare = True

    async def open(self) -> Connection:
        """Return the connection, opening it when there is none.

        Raises:
            DatabaseError: it could not be opened.
        """
        if self._conn is None or self._conn.closed:
            self._conn = await connections.connect(self._conninfo, prepare=self._prepare)
        return self._conn

    async def answering(self) -> Connection:
        """Return the connection, having made sure that the database answers on it.

        Raises:
            DatabaseError: it could not be opened, or does not answer.
        """
        conn = await self.open()
        await connections.check(conn)
        return conn

    async def hears(self) -> bool:
        """Tell whether notifications would arrive on the connection; see `connections.hears`.

        Raises:
            DatabaseError: it could not be opened, or does not answer.
        """
        return await connections.hears(await self.open(), self._conninfo)

    async def drop(self, error: DatabaseError) -> None:
        """Close the connection because of an error; the next `open` makes a new one."""
        if not self._lost:
            self._lost = True
            logger.warning("lost the database connection for %s: %s", self._purpose, error.message, extra=self._extra)
        await self.close()

    async def suspect(self, error: DatabaseError) -> None:
        """Do without prepared statements from now on if it was they who failed, as behind some transaction poolers.

        If it was a migration that made them stale, another connection prepares them anew.
        """
        if error.sqlstate in _PREPARED_STATEMENT_LOST and self._prepare:
            self._prepare = False
            logger.info("the connection for %s goes without prepared statements", self._purpose, extra=self._extra)
            await self.close()
        elif error.sqlstate == _PREPARED_STATEMENT_STALE:
            await self.close()

    def worked(self) -> None:
        """Note that the database answered: forget earlier failures, and say that it is back."""
        self.backoff.reset()
        if self._lost:
            self._lost = False
            logger.info("the database connection for %s is back", self._purpose, extra=self._extra)

    async def close(self) -> None:
        """Close the connection."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await connections.close(conn)
