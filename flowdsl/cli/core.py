"""`pgflow core`: the SQL core itself: its version, its SQL for those who install it without Alembic, and its upgrade."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowdsl.cli.alembic_options import AlembicConfig, AlembicName, Head, VersionPath, setting_of, wish_of
from flowdsl.cli.compile import Check
from flowdsl.cli.options import Json
from flowdsl.cli.output import note, print_json

if TYPE_CHECKING:
    from flowdsl.compiler.position import Wish
    from flowdsl.compiler.upgrade import CoreUpgrade

AsSql = Annotated[bool, typer.Option("--sql", help="Print the SQL that installs the core.")]
Uninstall = Annotated[bool, typer.Option("--uninstall", help="With --sql: print the SQL that removes it.")]
UpgradeSql = Annotated[bool, typer.Option("--sql", help="Print the SQL of the upgrade and write nothing.")]
From = Annotated[
    int | None,
    typer.Option(
        "--from",
        metavar="N",
        show_default=False,
        help="With --sql: the version to upgrade from. Default: the oldest; it fits every later one.",
    ),
]

core_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@core_app.callback()
def core_command(
    context: typer.Context, sql: AsSql = False, uninstall: Uninstall = False, as_json: Json = False
) -> None:
    """Print the SQL core, or its schema version; upgrade the core of a project.

    The SQL runs in one transaction: pgflow core --sql | psql --set ON_ERROR_STOP=1 DATABASE_URL. A project with Alembic
    does not need it, for the revision written by `pgflow init` holds the same SQL.
    """
    from flowdsl.core.manifest import SCHEMA_VERSION, install_sql, uninstall_sql

    if context.invoked_subcommand is not None:
        if sql or uninstall or as_json:
            raise typer.BadParameter(f"Options of `{context.invoked_subcommand}` come after its name.")
        return
    if not sql and uninstall:
        raise typer.BadParameter("--uninstall goes with --sql.")
    if sql and as_json:
        raise typer.BadParameter("--sql cannot be combined with --json.")
    if sql:
        _print_script(uninstall_sql() if uninstall else install_sql())
    elif as_json:
        print_json({"schema_version": SCHEMA_VERSION})
    else:
        typer.echo(f"schema version {SCHEMA_VERSION} (print its SQL with: pgflow core --sql)")


@core_app.command("upgrade", short_help="Write the migration that upgrades an older core.")
def upgrade_command(
    sql: UpgradeSql = False,
    from_version: From = None,
    check: Check = False,
    head: Head = None,
    version_path: VersionPath = None,
    alembic_config: AlembicConfig = None,
    alembic_name: AlembicName = None,
    as_json: Json = False,
) -> None:
    """Write the migration that upgrades the SQL core of the project to this package's version.

    Which core the project has is read from the migration files; no database is needed. Runs and workers go on during the
    upgrade; calls wait for a moment.

    Exit codes: 0 done or nothing to do, 1 with --check: a migration is missing, 3 the migrations cannot be used.
    """
    if sum((sql, check, as_json and sql)) > 1:
        raise typer.BadParameter("--sql cannot be combined with --check or --json.")
    if from_version is not None and not sql:
        raise typer.BadParameter("--from goes with --sql.")
    if sql:
        _print_upgrade(from_version)
        return
    upgrade = _plan(wish_of(head, version_path=version_path), alembic_config, alembic_name)
    path = None if check else upgrade.write()
    if as_json:
        print_json(_json(upgrade, path))
    else:
        _print(upgrade, path)
    if check and upgrade.revision is not None:
        raise typer.Exit(1)


def _print_upgrade(from_version: int | None) -> None:
    from flowdsl.core.manifest import FIRST_VERSION, SCHEMA_VERSION, upgrade_sql

    start = FIRST_VERSION if from_version is None else from_version
    if start == SCHEMA_VERSION:
        note(f"nothing to do: {SCHEMA_VERSION} is this package's version")
        return
    if not FIRST_VERSION <= start < SCHEMA_VERSION:
        raise typer.BadParameter(f"--from takes a version from {FIRST_VERSION} to {SCHEMA_VERSION}.")
    _print_script(upgrade_sql(start))


def _print_script(script: str) -> None:
    typer.echo(f"begin;\n{script.strip()}\ncommit;")


def _plan(wish: "Wish", alembic_config: str | None, alembic_name: str | None) -> "CoreUpgrade":
    from flowdsl.compiler.upgrade import plan_core_upgrade
    from flowdsl.database import project_config

    config = project_config()
    return plan_core_upgrade(
        config.directory,
        setting=setting_of(alembic_config, config.alembic_config),
        section=alembic_name or config.alembic_name,
        wish=wish,
    )


def _print(upgrade: "CoreUpgrade", path: Path | None) -> None:
    from flowdsl.core.manifest import SCHEMA_VERSION

    if upgrade.revision is None:
        typer.echo(f"nothing to do: the migrations install the SQL core in version {upgrade.installed}")
    elif path is None:
        typer.echo(f"a migration is missing: the SQL core from version {upgrade.installed} to {SCHEMA_VERSION}")
        note("write it with: pgflow core upgrade")
    else:
        typer.echo(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
        typer.echo(f"  SQL core: version {upgrade.installed} to {SCHEMA_VERSION}")
        note("next: alembic upgrade head")


def _json(upgrade: "CoreUpgrade", path: Path | None) -> dict[str, Any]:
    from flowdsl.core.manifest import SCHEMA_VERSION

    revision = upgrade.revision
    return {
        "status": "unchanged" if revision is None else "missing" if path is None else "written",
        "installed": upgrade.installed,
        "packaged": SCHEMA_VERSION,
        "path": None if path is None else str(path),
        "revision": None if revision is None else revision.revision,
        "down_revision": None if revision is None else revision.parent,
    }
