"""`pgflow client`: write a typed reference to a flow, for programs that start it without its handlers."""

import asyncio
import os
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.options import DatabaseUrl, Json
from flowdsl.errors import ConfigError

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
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Write a Python file with a typed reference to a flow and the models of its values.

    With --json: {"path" or, without --output, "text"; "slug"; "fingerprint"; "status"}, which is "written", "unchanged",
    "generated" (a text), or with --check "outdated" or "missing".
    """
    from flowdsl.cli.output import print_json
    from flowdsl.references.file import reference_file

    if flow_version is not None and not from_database:
        raise typer.BadParameter("it needs --from-database.", param_hint="--flow-version")
    if check and output is None:
        raise typer.BadParameter("it needs the file to check: --output FILE.", param_hint="--check")
    described = asyncio.run(_in_database(flow, flow_version, database_url)) if from_database else _in_module(flow)
    command = _command(flow, output, from_database=from_database, version=flow_version)
    text = reference_file(described, command)
    if output is None:
        status = _Status.GENERATED
    elif check:
        status = _checked(output, text, command)
    else:
        status = _written(output, text, described.slug, force=force)
    if as_json:
        where = {"text": text} if output is None else {"path": output}
        print_json({**where, "slug": described.slug, "fingerprint": described.fingerprint, "status": status})
    elif output is None:
        typer.echo(text, nl=False)
    if status in (_Status.OUTDATED, _Status.MISSING):
        raise typer.Exit(1)


class _Status(StrEnum):
    """What became of the file."""

    GENERATED = "generated"
    WRITTEN = "written"
    UNCHANGED = "unchanged"
    OUTDATED = "outdated"
    MISSING = "missing"


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


def _checked(file: Path, text: str, command: list[str]) -> _Status:
    from flowdsl.cli.output import note

    status = _status(file, text)
    if status is _Status.UNCHANGED:
        note(f"{file} is up to date.")
    else:
        what = "is missing" if status is _Status.MISSING else "is out of date"
        note(f"{file} {what}. Write it anew: {shlex.join(command)}")
    return status


def _written(file: Path, text: str, slug: str, *, force: bool) -> _Status:
    from flowdsl.cli.output import note

    try:
        if _status(file, text) is _Status.UNCHANGED:
            note(f"{file} is up to date.")
            return _Status.UNCHANGED
        _write(file, text, force=force)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from error
    note(f"Wrote {file}: a reference to flow '{slug}'.")
    return _Status.WRITTEN


def _status(file: Path, text: str) -> _Status:
    if not file.is_file():
        return _Status.MISSING
    return _Status.UNCHANGED if file.read_bytes() == text.encode() else _Status.OUTDATED


def _write(file: Path, text: str, *, force: bool) -> None:
    from flowdsl.references.file import is_written_by_us

    if file.is_file() and not force and not is_written_by_us(file):
        raise ConfigError(
            f"{file} exists, and `pgflow client` did not write it.",
            hint="Name another file, or write over this one with --force.",
        )
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8", newline="\n")
    beside.replace(file)
