"""Options that several commands share, each with one name and one meaning."""

from typing import Annotated

import typer

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="PostgreSQL to use. Default: $DATABASE_URL, database-url of [tool.pgflow], else the embedded one.",
    ),
]
RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Id of the run, or its beginning as far as it is unique.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
