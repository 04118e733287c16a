"""The options of commands that write a migration: which Alembic environment, and where in its tree. Named as Alembic names them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flowdsl.compiler.position import Wish

AlembicConfig = Annotated[
    str | None,
    typer.Option(
        "--alembic-config",
        metavar="FILE",
        show_default=False,
        help="Alembic's configuration file. Default: `alembic-config` of [tool.pgflow], else the one that is found.",
    ),
]
AlembicName = Annotated[
    str | None,
    typer.Option(
        "--name",
        "-n",
        metavar="SECTION",
        show_default=False,
        help="Section of that file, where it has several environments. Default: `alembic-name` of [tool.pgflow].",
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        "--head",
        show_default=False,
        help="The head to build on, when the migrations have several; `base` for a revision that follows none.",
    ),
]
BranchLabel = Annotated[
    str | None, typer.Option("--branch-label", show_default=False, help="Label of a branch that begins here.")
]
Splice = Annotated[bool, typer.Option("--splice", help="Let --head name a revision that is no head: a branch begins.")]
VersionPath = Annotated[
    Path | None,
    typer.Option(
        "--version-path", metavar="DIR", show_default=False, help="The version location to write to, of several."
    ),
]


def setting_of(option: str | None, configured: str) -> str:
    """Return the Alembic configuration to use: the option, which is relative to the working directory, comes first."""
    return str(Path.cwd() / option) if option else configured


def wish_of(
    head: str | None, branch_label: str | None = None, version_path: Path | None = None, *, splice: bool = False
) -> "Wish":
    """Return where the user wants the revision."""
    from flowdsl.compiler.position import Wish

    location = None if version_path is None else version_path.absolute()
    return Wish(head=head, branch_label=branch_label, splice=splice, version_path=location)
