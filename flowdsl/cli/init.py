"""`pgflow init`: a project gets what it needs before its first `pgflow compile`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.alembic_options import AlembicConfig, AlembicName, BranchLabel, Head, Splice, VersionPath, wish_of
from flowdsl.cli.options import Json
from flowdsl.cli.output import note, print_json

if TYPE_CHECKING:
    from flowdsl.compiler.scaffold import Scaffold

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder; made if it is missing.")]
DatabaseName = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="NAME",
        show_default=False,
        help="The database that gets the flows, where each migration runs in several (`alembic init -t multidb`).",
    ),
]


def init_command(
    directory: Directory = Path(),
    head: Head = None,
    branch_label: BranchLabel = None,
    splice: Splice = False,
    version_path: VersionPath = None,
    alembic_config: AlembicConfig = None,
    alembic_name: AlembicName = None,
    database: DatabaseName = None,
    as_json: Json = False,
) -> None:
    """Set up a project: Alembic, the revision that installs the SQL core, [tool.pgflow], and a first flow to edit.

    An existing Alembic environment is used as it is, existing files are kept, and running it again changes nothing. Where
    the migrations install an older SQL core, the revision that upgrades it is written, as by `pgflow core upgrade`.
    """
    from flowdsl.compiler.scaffold import Choice, initialise

    wish = wish_of(head, branch_label, version_path, splice=splice)
    scaffold = initialise(directory, Choice(setting=alembic_config, section=alembic_name, wish=wish, database=database))
    if as_json:
        print_json(_json(scaffold))
        return
    for file in scaffold.files:
        typer.echo(f"{file.deed:<8}  {_shown(file.path)}  ({file.purpose})")
    if not scaffold.changed:
        note("nothing to do: the project is set up")
    if scaffold.env_lines:
        where = f"for `alembic revision --autogenerate` to compile flows too, add to {_shown(scaffold.env_file)}:"
        note("\n  ".join([where, *scaffold.env_lines]))
    note("\n  ".join(["next:", *_next_commands(scaffold)]))


def _next_commands(scaffold: "Scaffold") -> list[str]:
    from flowdsl.compiler.revision import DEFAULT_SECTION

    config = scaffold.config.ini
    option = (
        ""
        if config is None or config.parent == scaffold.directory
        else f" -c {_quoted(_shown(config, scaffold.directory))}"
    )
    if scaffold.config.section != DEFAULT_SECTION:
        option += f" -n {_quoted(scaffold.config.section)}"
    return [
        *([] if scaffold.directory == Path.cwd() else [f"cd {_quoted(_shown(scaffold.directory))}"]),
        "pgflow compile",
        f"alembic{option} upgrade head",
        "pgflow worker",
        *(
            ['pgflow start hello --input \'{"name": "Ada"}\' --wait   (in another terminal)']
            if scaffold.has_first_flow
            else []
        ),
    ]


def _quoted(path: str) -> str:
    return shlex.quote(path)


def _shown(path: Path, directory: Path | None = None) -> str:
    start = directory or Path.cwd()
    return str(path.relative_to(start)) if path.is_relative_to(start) else str(path)


def _json(scaffold: "Scaffold") -> dict[str, object]:
    return {
        "directory": str(scaffold.directory),
        "changed": scaffold.changed,
        "alembic_config": str(scaffold.config),
        "flows": list(scaffold.flows),
        "files": [{"deed": f.deed.value, "path": str(f.path), "purpose": f.purpose} for f in scaffold.files],
        "env_lines": list(scaffold.env_lines),
        "next": _next_commands(scaffold),
    }
