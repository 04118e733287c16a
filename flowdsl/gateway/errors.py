"""SQLSTATE to error class, in one context manager.

The core refuses with codes of class PF (`flowdsl.errors.REFUSALS`); everything else psycopg raises becomes the most
specific of `DatabaseUnavailable`, `CoreNotInstalled` and `DatabaseError`. Texts are never matched.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from flowdsl.errors import REFUSALS, CoreNotInstalled, DatabaseError, DatabaseUnavailable

# The server is there but will not serve this connection any more, or not yet. 25P03 and 25P04 end the session.
_UNAVAILABLE_CLASSES = ("08", "57P", "53", "25P03", "25P04")
_MISSING_OBJECT = (pg.InvalidSchemaName, pg.UndefinedFunction, pg.UndefinedTable, pg.UndefinedColumn)


def translate(error: psycopg.Error) -> DatabaseError:
    """Our error for one of psycopg's, with the server's message and hint."""
    state = error.sqlstate
    message = error.diag.message_primary or str(error).strip() or type(error).__name__
    if state is not None and state in REFUSALS:
        return REFUSALS[state](message, hint=error.diag.message_hint)
    if isinstance(error, _MISSING_OBJECT):
        return (
            CoreNotInstalled(sqlstate=state)
            if isinstance(error, pg.InvalidSchemaName)
            else CoreNotInstalled(
                f"the pgflow SQL core in this database is missing or incomplete: {message}", sqlstate=state
            )
        )
    if isinstance(error, pg.InsufficientPrivilege):
        return DatabaseError(
            f"the database role may not do this: {message}",
            hint="Connect as the role that ran the migrations, or grant this one the rights on schema pgflow.",
            sqlstate=state,
        )
    if isinstance(error, pg.ReadOnlySqlTransaction):
        # After a failover the other end is a standby; only a new connection finds the server that takes writes.
        return DatabaseUnavailable(
            message,
            hint="Connect to the primary: a URL with several hosts finds it with target_session_attrs=read-write.",
            sqlstate=state,
        )
    lost = state is None and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    if lost or (state is not None and state.startswith(_UNAVAILABLE_CLASSES)):
        return DatabaseUnavailable(
            message,
            hint="Check that PostgreSQL runs and that the database URL is right (--database-url or DATABASE_URL).",
            sqlstate=state,
        )
    return DatabaseError(message, hint=error.diag.message_hint, sqlstate=state)


@contextmanager
def translated() -> Iterator[None]:
    """Raise this package's errors in place of psycopg's."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error
    except UnicodeEncodeError as error:  # psycopg lets it through, before anything is sent
        raise DatabaseError(f"PostgreSQL cannot take text that is no Unicode: {error}") from error
