"""What the tables of the core hold and have been through, as PostgreSQL counts it."""

from dataclasses import dataclass

from psycopg import Cursor
from psycopg.rows import class_row

from flowdsl.bench.stage import Connection

_TABLES = """
select relname as name, n_tup_ins as inserted, n_tup_upd as updated, n_tup_del as deleted, n_tup_hot_upd as hot,
  n_dead_tup as dead, n_live_tup as live, pg_total_relation_size(relid) as size
from pg_stat_user_tables where schemaname = 'pgflow' order by relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table's counters; `size` in bytes, with its indexes and what is stored beside it."""

    name: str
    inserted: int
    updated: int
    deleted: int
    hot: int
    dead: int
    live: int
    size: int

    @property
    def written(self) -> int:
        """Rows that were inserted, updated or deleted."""
        return self.inserted + self.updated + self.deleted

    def since(self, before: "Table") -> "Table":
        """Return what was added since then; `dead` and `live` are those of now."""
        return Table(
            name=self.name,
            inserted=self.inserted - before.inserted,
            updated=self.updated - before.updated,
            deleted=self.deleted - before.deleted,
            hot=self.hot - before.hot,
            dead=self.dead,
            live=self.live,
            size=self.size - before.size,
        )


def tables(conn: Connection) -> dict[str, Table]:
    """Return the tables of the core by name. What other connections did is complete only once they are closed."""
    return {table.name: table for table in Cursor(conn, row_factory=class_row(Table)).execute(_TABLES)}


def grown(before: dict[str, Table], after: dict[str, Table]) -> list[Table]:
    """Return what was added to each table that was written to."""
    found = [table.since(before[name]) for name, table in after.items()]
    return [table for table in found if table.written]
