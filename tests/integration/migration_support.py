"""Projects whose migrations run in a real database, and a full description of what they leave there."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from flowdsl.compiler.compilation import plan
from flowdsl.compiler.scaffold import initialise
from flowdsl.model.shape import FlowShape
from tests import servers

# Everything of the schema that a migration can leave behind, in words that do not depend on oids.
CATALOGUE: Mapping[str, str] = {
    "schema": """
        select nspname, nspacl::text, obj_description(oid, 'pg_namespace') from pg_namespace where nspname = 'pgflow'""",
    "functions": """
        select p.oid::regprocedure::text as name, pg_get_functiondef(p.oid), p.proacl::text, obj_description(p.oid, 'pg_proc')
        from pg_proc p where p.pronamespace = 'pgflow'::regnamespace and p.prokind in ('f', 'p')""",
    "relations": """
        select c.relname, c.relkind, c.relpersistence, c.reloptions, c.relacl::text, c.relrowsecurity, c.relreplident,
          obj_description(c.oid, 'pg_class'), pg_get_viewdef(c.oid)
        from pg_class c where c.relnamespace = 'pgflow'::regnamespace and c.relkind <> 'v'
        union all
        select c.relname, c.relkind, c.relpersistence, c.reloptions, c.relacl::text, c.relrowsecurity, c.relreplident,
          obj_description(c.oid, 'pg_class'), pg_get_viewdef(c.oid)
        from pg_class c where c.relnamespace = 'pgflow'::regnamespace and c.relkind = 'v'""",
    "columns": """
        select c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
          a.attgenerated, a.attstorage, a.attacl::text, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = 'pgflow'::regnamespace and a.attnum > 0""",
    "constraints": """
        select conrelid::regclass::text, conname, contype, convalidated, condeferrable, pg_get_constraintdef(oid)
        from pg_constraint where connamespace = 'pgflow'::regnamespace""",
    "indexes": "select tablename, indexname, indexdef from pg_indexes where schemaname = 'pgflow'",
    "triggers": """
        select tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(t.oid) from pg_trigger t
        join pg_class c on c.oid = t.tgrelid where c.relnamespace = 'pgflow'::regnamespace and not tgisinternal""",
    "policies": "select tablename, policyname, permissive, roles::text, cmd, qual from pg_policies where schemaname = 'pgflow'",
    "sequences": """
        select sequencename, data_type::text, start_value, increment_by, cache_size, cycle
        from pg_sequences where schemaname = 'pgflow'""",
    "types": """
        select t.typname, t.typtype, t.typacl::text from pg_type t where t.typnamespace = 'pgflow'::regnamespace""",
}
# Numbers of lanes are given out as they are needed, so only what a lane stands for counts. A flow is retired again at
# another time.
DEFINITIONS: Mapping[str, str] = {
    "flows": """
        select to_jsonb(f) - 'created_at' - 'retired_at' as row, to_jsonb(f) -> 'retired_at' <> 'null' as is_retired
        from pgflow.flows f""",
    "flow_versions": "select to_jsonb(f) - 'created_at' as row from pgflow.flow_versions f",
    "steps": """
        select to_jsonb(s) - 'created_at' - 'lane_id' as row, l.queue_name, l.priority
        from pgflow.steps s join pgflow.lanes l using (lane_id)""",
    "deps": "select to_jsonb(d) - 'created_at' as row from pgflow.deps d",
}


def catalogue(url: str) -> dict[str, list[Any]]:
    """Describe the schema pgflow and every definition in it; all lists are empty when it is not there."""
    with psycopg.connect(url) as conn:
        found = conn.execute("select to_regnamespace('pgflow') is not null").fetchone()
        names = {**CATALOGUE, **DEFINITIONS}
        return described(conn, names) if found == (True,) else {name: [] for name in names}


def described(conn: "psycopg.Connection[Any]", queries: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the rows of each query in an order that is the same each time."""
    # to_jsonb renders times in the session's zone.
    conn.execute("set timezone = 'UTC'")
    rows = {name: conn.execute(query.encode()).fetchall() for name, query in queries.items()}
    return {name: sorted((list(row) for row in found), key=repr) for name, found in rows.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedProject:
    """A project in a folder and the database its migrations go to."""

    directory: Path
    url: str

    @classmethod
    def new(cls, directory: Path, url: str) -> "MigratedProject":
        initialise(directory)
        return cls(directory=directory, url=url)

    def compile(self, *shapes: FlowShape) -> str:
        """Write the revision for these flows and return its id."""
        return plan(shapes, self.directory).write().revision.revision

    def alembic(self, *arguments: str, database: bool = True) -> str:
        """Run Alembic's command and return what it printed."""
        return self.try_alembic(*arguments, database=database, check=True).out

    def try_alembic(self, *arguments: str, database: bool = True, check: bool = False) -> "Printed":
        """Run Alembic's command, which may fail."""
        variables = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
        result = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            capture_output=True,
            check=False,
            cwd=self.directory,
            env={**variables, "PYTHONUTF8": "1", **({"DATABASE_URL": self.url} if database else {})},
        )
        assert not check or result.returncode == 0, result.stderr.decode()
        # Decoded here: text mode would turn a carriage return in the SQL into a line feed.
        return Printed(code=result.returncode, out=result.stdout.decode(), err=result.stderr.decode())

    def catalogue(self) -> dict[str, list[Any]]:
        return catalogue(self.url)


def psql(url: str, script: str) -> None:
    """Feed a script to psql, which stops at the first error."""
    result = subprocess.run(
        [str(servers.programs() / "psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url],
        input=script.encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "PGCLIENTENCODING": "UTF8"},
    )
    assert result.returncode == 0, result.stderr.decode()
