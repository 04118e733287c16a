"""`pgflow core`: the SQL core itself, for those who install it without Alembic."""

from typing import Annotated

import typer

from flowdsl.cli.options import Json
from flowdsl.cli.output import print_json

AsSql = Annotated[bool, typer.Option("--sql", help="Print the SQL that installs the core.")]
Uninstall = Annotated[bool, typer.Option("--uninstall", help="With --sql: print the SQL that removes it.")]


def core_command(sql: AsSql = False, uninstall: Uninstall = False, as_json: Json = False) -> None:
    """Print the SQL core, or its schema version.

    The SQL runs in one transaction: pgflow core --sql | psql --set ON_ERROR_STOP=1 DATABASE_URL. A project with Alembic
    does not need it, for the revision written by `pgflow init` holds the same SQL.
    """
    from flowdsl.core.manifest import SCHEMA_VERSION, install_sql, uninstall_sql

    if not sql and uninstall:
        raise typer.BadParameter("--uninstall goes with --sql.")
    if sql and as_json:
        raise typer.BadParameter("--sql cannot be combined with --json.")
    if sql:
        script = uninstall_sql() if uninstall else install_sql()
        typer.echo(f"begin;\n{script.strip()}\ncommit;")
    elif as_json:
        print_json({"schema_version": SCHEMA_VERSION})
    else:
        typer.echo(f"schema version {SCHEMA_VERSION} (print its SQL with: pgflow core --sql)")
