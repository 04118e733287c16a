"""`pgflow compile`: flows in the code become one Alembic revision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.alembic_options import (
    AlembicConfig,
    AlembicName,
    BranchLabel,
    Head,
    Splice,
    VersionPath,
    setting_of,
    wish_of,
)
from flowdsl.cli.options import DatabaseUrl, Json
from flowdsl.cli.output import note, print_json, warning
from flowdsl.errors import ConfigError

if TYPE_CHECKING:
    from flowdsl.compiler.compilation import Plan

FlowSpecs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODULE[:FLOW]",
        show_default=False,
        help="Modules, files or single flows to compile. Default: `flows` of [tool.pgflow] in pyproject.toml.",
    ),
]
AsSql = Annotated[bool, typer.Option("--sql", help="Print the SQL of the upgrade and write nothing.")]
Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; exit 1 when a migration is missing or was edited.")
]
Message = Annotated[str | None, typer.Option("--message", "-m", help="Message of the revision.", show_default=False)]
Drop = Annotated[
    list[str] | None,
    typer.Option(
        "--drop",
        metavar="FLOW",
        show_default=False,
        help="Remove a flow that is gone from the code, with all of its runs and their data. May be repeated.",
    ),
]
Live = Annotated[bool, typer.Option("--live", help="Ask the database how many open runs each change touches.")]


def compile_command(
    flows: FlowSpecs = None,
    sql: AsSql = False,
    check: Check = False,
    message: Message = None,
    drop: Drop = None,
    live: Live = False,
    head: Head = None,
    branch_label: BranchLabel = None,
    splice: Splice = False,
    version_path: VersionPath = None,
    alembic_config: AlembicConfig = None,
    alembic_name: AlembicName = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Write one migration for all flows that changed since they were last compiled.

    What was compiled last is read from the migration files; no database is needed. A new flow is created, a changed
    structure becomes the flow's next version, changed options are updated in place, and a flow that is no longer among
    those of [tool.pgflow] is retired: it starts no new runs. Each change is classed as safe, needs drain or breaking, with
    the reasons. When nothing changed, nothing is written.

    Exit codes: 0 done or nothing to do; 1 with --check: a migration is missing, a generated one was edited, two branches
    compiled the same flow, or the core's upgrade is missing; 3 the flows or migrations cannot be used; 4 with --live: the
    database cannot be asked.
    """
    from flowdsl.cli.changes import Outcome, json_of, print_outcome
    from flowdsl.compiler.baseline import CompiledTwice

    if sql and (check or as_json or live):
        raise typer.BadParameter("--sql cannot be combined with --check, --json or --live.")
    if database_url is not None and not live:
        raise typer.BadParameter("--database-url goes with --live: compiling asks no database.")
    wish = wish_of(head, branch_label, version_path, splice=splice)
    try:
        plan = _plan(flows or [], drop or [], alembic_config, alembic_name, for_sql=sql)
    except CompiledTwice as error:
        if not check:
            raise
        outcome = Outcome(check=True, problems=(f"{error.message}\n{error.hint}",))
    else:
        runs = _open_runs(plan, database_url) if live and plan.changes else None
        if sql:
            typer.echo(plan.sql(), nl=False)
            _warn(plan)
            if not plan.changes:
                note("nothing to compile")
            return
        written = plan.write(message, wish) if plan.changes and not check else None
        outcome = Outcome(
            check=check, plan=plan, written=written, open_runs=runs, problems=_problems(plan) if check else ()
        )
        if not check:
            _warn(plan)
        _note_heads(plan)
    if as_json:
        print_json(json_of(outcome))
    else:
        print_outcome(outcome)
    if not outcome.is_fine:
        raise typer.Exit(1)


def _plan(
    specs: list[str], drop: list[str], alembic_config: str | None, alembic_name: str | None, *, for_sql: bool
) -> "Plan":
    from flowdsl.compiler.compilation import plan
    from flowdsl.database import project_config
    from flowdsl.model.registry import inspect_flows

    config = project_config()
    names = specs or list(config.flows)
    if not names and not config.lists_flows:
        raise _nothing_named()
    # Flows that were not asked for are not gone; where all are asked for, the last one of a module may be.
    complete = not specs
    found = inspect_flows(*names, directory=Path.cwd() if specs else config.directory)
    shapes = [flow.shape() for flow in found.sound_flows(empty_allowed=complete)]
    if warnings := len(found.warnings()):
        note(f"{warnings} warning{'s' * (warnings != 1)} about the flows: see {' '.join(('pgflow check', *specs))}")
    made = plan(
        shapes,
        config.directory,
        setting=setting_of(alembic_config, config.alembic_config),
        section=alembic_name or config.alembic_name,
        complete=complete,
        drop=drop,
        for_sql=for_sql,
    )
    if not set(made.baseline.flows) - {shape.slug for shape in shapes}:
        # Nothing is gone, so a module without flows is a mistake.
        found.sound_flows()
        if not names:
            raise _nothing_named()
    return made


def _nothing_named() -> ConfigError:
    return ConfigError(
        "no flows to compile: none are named, and [tool.pgflow] in pyproject.toml lists none",
        hint='Name a module, as in `pgflow compile shop.flows`, or add flows = ["shop.flows"]. '
        "A new project starts with: pgflow init",
    )


def _open_runs(plan: "Plan", url: str | None) -> dict[str, dict[int, int]]:
    """Return how many runs of each changed flow are open, by version."""
    import asyncio

    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.gateway.calls import open_run_counts

    async def counted() -> dict[str, dict[int, int]]:
        slugs = [change.slug for change in plan.changes]
        found: dict[str, dict[int, int]] = {slug: {} for slug in slugs}
        async with connected(chosen_database(url), "compile") as conn:
            for row in await open_run_counts(conn, slugs):
                found[row.flow_slug][row.flow_version] = row.count
        return found

    return asyncio.run(counted())


def _problems(plan: "Plan") -> tuple[str, ...]:
    """Return what --check finds besides missing migrations."""
    from flowdsl.model.chain import shown_path

    found = [f"edited by hand after it was generated: {shown_path(str(path))}" for path in plan.edited]
    core = plan.baseline.core
    plan.require_no_newer_core()
    if core is not None and plan.needs_core_upgrade:
        found.append(
            f"the migrations install the SQL core in version {core.schema_version}, which is too old: pgflow core upgrade"
        )
    return tuple(found)


def _warn(plan: "Plan") -> None:
    from flowdsl.model.chain import shown_path

    for path in plan.edited:
        shown = shown_path(str(path))
        warning(f"{shown} was edited by hand after it was generated, what it says of its flows may be wrong")


def _note_heads(plan: "Plan") -> None:
    """Tell of branches that were never merged: `alembic upgrade head` fails on them, whatever was compiled."""
    heads = () if plan.tree is None else plan.tree.heads
    if len(heads) > 1:
        note(
            f"the migrations have {len(heads)} heads ({', '.join(heads)}): join them with `alembic merge heads -m merge`, "
            "or upgrade them all with `alembic upgrade heads`"
        )
