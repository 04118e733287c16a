"""`pgflow compile`: flows in the code become one Alembic revision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowdsl.cli.options import Json
from flowdsl.cli.output import note, print_json
from flowdsl.errors import ConfigError

if TYPE_CHECKING:
    from flowdsl.compiler.compilation import Plan, Written

FlowSpecs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODULE[:FLOW]",
        show_default=False,
        help="Modules, files or single flows to compile. Default: `flows` of [tool.pgflow] in pyproject.toml.",
    ),
]
AsSql = Annotated[bool, typer.Option("--sql", help="Print the SQL of the upgrade and write nothing.")]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a migration is missing.")]
Message = Annotated[str | None, typer.Option("--message", "-m", help="Message of the revision.", show_default=False)]
Head = Annotated[
    str | None,
    typer.Option("--head", help="The head to build on, when the migrations have several.", show_default=False),
]
AlembicConfig = Annotated[
    str | None,
    typer.Option(
        "--alembic-config",
        metavar="FILE",
        show_default=False,
        help="Alembic's configuration file. Default: `alembic-config` of [tool.pgflow], else the one that is found.",
    ),
]


def compile_command(
    flows: FlowSpecs = None,
    sql: AsSql = False,
    check: Check = False,
    message: Message = None,
    head: Head = None,
    alembic_config: AlembicConfig = None,
    as_json: Json = False,
) -> None:
    """Write one migration for all flows that changed since they were last compiled.

    What was compiled last is read from the migration files; no database is needed. A new flow is created, a changed
    structure becomes the flow's next version, changed options are updated in place. When nothing changed, nothing is
    written.

    Exit codes: 0 done or nothing to do, 1 with --check: a migration is missing, 3 the flows or migrations cannot be used.
    """
    if sum((sql, check, as_json and sql)) > 1:
        raise typer.BadParameter("--sql cannot be combined with --check or --json.")
    plan = _plan(flows or [], head, alembic_config, for_sql=sql)
    if sql:
        typer.echo(plan.sql(), nl=False)
        _talk(plan, "nothing to compile" if not plan.changes else None)
        return
    written = plan.write(message) if plan.changes and not check else None
    if as_json:
        print_json(_json(plan, written, check=check))
    else:
        _print(plan, written)
    if check and plan.changes:
        raise typer.Exit(1)


def _plan(specs: list[str], head: str | None, alembic_config: str | None, *, for_sql: bool) -> "Plan":
    from dataclasses import replace

    from flowdsl.compiler.compilation import plan
    from flowdsl.database import project_config
    from flowdsl.model.registry import load_flows

    config = project_config()
    names = specs or list(config.flows)
    if not names:
        raise ConfigError(
            "no flows to compile: none are named, and [tool.pgflow] in pyproject.toml lists none",
            hint='Name a module, as in `pgflow compile shop.flows`, or add flows = ["shop.flows"]. '
            "A new project starts with: pgflow init",
        )
    setting = str(Path.cwd() / alembic_config) if alembic_config else config.alembic_config
    shapes = [flow.shape() for flow in load_flows(*names, directory=Path.cwd() if specs else config.directory)]
    found = plan(shapes, config.directory, setting=setting, head=head, for_sql=for_sql)
    # Flows that were not asked for are not gone.
    return replace(found, gone=()) if specs else found


def _print(plan: "Plan", written: "Written | None") -> None:
    if written is not None:
        typer.echo(f"wrote {_shown(written.path)}")
    elif plan.changes:
        typer.echo("a migration is missing:")
    else:
        typer.echo("nothing to compile: the migrations are up to date")
    for change in plan.changes:
        typer.echo(f"  {change.summary}")
        for detail in change.details:
            typer.echo(f"    {detail}")
        typer.echo(f"    {change.impact}: {change.reason}")
    if written is not None:
        _talk(plan, "next: alembic upgrade head")
    else:
        _talk(plan, "write it with: pgflow compile" if plan.changes else None)


def _talk(plan: "Plan", line: str | None) -> None:
    if plan.gone:
        gone = ", ".join(plan.gone)
        note(f"compiled earlier, no longer among the flows: {gone} (left as they are)")
    if line:
        note(line)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _json(plan: "Plan", written: "Written | None", *, check: bool) -> dict[str, Any]:
    status = "written" if written else "missing" if check and plan.changes else "unchanged"
    return {
        "status": status,
        "path": None if written is None else str(written.path),
        "revision": None if written is None else written.revision.revision,
        "down_revision": plan.head,
        "changes": [
            {
                "flow": change.new.slug,
                "kind": change.kind.value,
                "version": change.version,
                "fingerprint": change.new.fingerprint,
                "impact": change.impact.value,
                "reason": change.reason,
                "details": list(change.details),
            }
            for change in plan.changes
        ],
        "gone": list(plan.gone),
    }
