"""`pgflow client`: write a typed reference to a flow, for programs that start it without its handlers."""

import asyncio
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.options import DatabaseUrl

if TYPE_CHECKING:
    from flowdsl.references.description import FlowDescription


def client_command(
    flow: Annotated[
        str,
        typer.Argument(
            metavar="FLOW",
            help="MODULE:FLOW or the slug of a configured flow; with --from-database, the slug of one in there.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write. Default: stdout.", show_default=False),
    ] = None,
    from_database: Annotated[
        bool, typer.Option("--from-database", help="Take the flow's schemas from the database; needs no module.")
    ] = False,
    flow_version: Annotated[
        int | None,
        typer.Option("--flow-version", min=1, metavar="N", help="With --from-database: not the current version."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with exit code 1 if FILE is out of date.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that this command did not write.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Write a Python file with a typed reference to a flow and the models of its values."""
    from flowdsl.cli.output import note
    from flowdsl.references.file import reference_file

    if flow_version is not None and not from_database:
        raise typer.BadParameter("it needs --from-database.", param_hint="--flow-version")
    if check and output is None:
        raise typer.BadParameter("it needs the file to check: --output FILE.", param_hint="--check")
    described = asyncio.run(_in_database(flow, flow_version, database_url)) if from_database else _in_module(flow)
    command = _command(flow, output, from_database=from_database, version=flow_version)
    text = reference_file(described, command)
    if output is None:
        typer.echo(text, nl=False)
    elif check:
        _check(output, text, command)
    else:
        _write(output, text, force=force)
        note(f"Wrote {output}: a reference to flow '{described.slug}'.")


def _in_module(name: str) -> "FlowDescription":
    from flowdsl.cli.lookup import find_flow
    from flowdsl.references.description import described_by_flow

    return described_by_flow(find_flow(name))


async def _in_database(slug: str, version: int | None, url: str | None) -> "FlowDescription":
    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.cli.lookup import find_in_database
    from flowdsl.cli.output import note
    from flowdsl.references.description import described_by_database

    async with connected(chosen_database(url), "client") as conn:
        found = await find_in_database(conn, slug, version)
    if found["retiredAt"] is not None:
        note(f"Flow '{slug}' is retired: until it is restored, a start is refused.")
    return described_by_database(found)


def _command(flow: str, output: Path | None, *, from_database: bool, version: int | None) -> list[str]:
    """Return the command that writes the file; without the database's URL, which may hold a password."""
    words = ["pgflow", "client", flow]
    if from_database:
        words.append("--from-database")
    if version is not None:
        words += ["--flow-version", str(version)]
    return words if output is None else [*words, "-o", output.as_posix()]


def _check(file: Path, text: str, command: list[str]) -> None:
    from flowdsl.cli.output import note

    there = file.read_text(encoding="utf-8") if file.is_file() else None
    if there == text:
        note(f"{file} is up to date.")
        return
    what = "is missing" if there is None else "is out of date"
    note(f"{file} {what}. Write it anew: {shlex.join(command)}")
    raise typer.Exit(1)


def _write(file: Path, text: str, *, force: bool) -> None:
    from flowdsl.errors import ConfigError
    from flowdsl.references.file import is_written_by_us

    try:
        if file.is_file() and not force and not is_written_by_us(file):
            raise ConfigError(
                f"{file} exists, and `pgflow client` did not write it.",
                hint="Name another file, or write over this one with --force.",
            )
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from error
