"""`run_sql`: the one safe road from a migration file to the database.

Alembic's `op.execute` reads `:name` in a text as a parameter and doubles or eats `%`, online and in `--sql` mode in
different ways, which breaks JSON and PL/pgSQL. This function hands the text over untouched in both modes.

Frozen: every migration that was ever generated imports it, so its name, place and meaning never change.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext


class Operations(Protocol):
    """What is needed of Alembic's `op`: the module in a migration, or an `Operations` object."""

    def get_context(self) -> "MigrationContext":
        """Return the migration context in use."""
        ...


def run_sql(op: Operations, sql: str) -> None:
    """Execute one SQL statement as it stands; in `--sql` mode write it to the output as it stands.

    One statement per call, since some drivers (asyncpg) take no more. `:name`, `%`, backslashes and everything else in it
    mean to the server what they say. A result is thrown away.
    """
    statement = sql.strip()
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(statement if statement.endswith(";") else f"{statement}\n;")
        return
    connection = context.connection
    if connection is None:
        raise RuntimeError("run_sql needs a connection, or Alembic's --sql mode")
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True}).close()
