"""`pgflow cancel` and `pgflow retry`: end a run, or let it go on after its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.options import DatabaseUrl, Json, RunName

if TYPE_CHECKING:
    from flowdsl.gateway.connections import Connection
    from flowdsl.gateway.rows import RunHead
    from flowdsl.types import RunId


def cancel_command(
    run: RunName,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept with the run.", show_default=False)
    ] = None,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Cancel a run: nothing of it is started any more, and its running handlers are cancelled soon.

    Cancelling it twice is no error. A run that has completed or failed stays as it is, and the command exits with 1.
    """
    from flowdsl.cli.output import note, print_json
    from flowdsl.errors import FlowError
    from flowdsl.gateway import calls
    from flowdsl.types import RunStatus

    head = asyncio.run(_do("cancel", run, lambda conn, run_id: calls.cancel_run(conn, run_id, reason), database_url))
    if as_json:
        print_json(_document(head))
    elif head.status is RunStatus.CANCELLED:
        note(f"Run {head.run_id} of flow '{head.flow_slug}' is cancelled{_because(head)}")
    if head.status is not RunStatus.CANCELLED:
        raise FlowError(f"Run {head.run_id} of flow '{head.flow_slug}' had {head.status} before, and stays so.")


def retry_command(
    run: RunName,
    from_step: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STEP",
            help="Run this step again, and all that depends on it.",
            show_default="what failed or was cancelled",
        ),
    ] = None,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Let a run go on after its end: what failed or was cancelled is tried again, finished steps stay.

    A run that has completed can only be run again from a step. A run that has not ended is refused with exit code 5.
    """
    from flowdsl.cli.output import note, print_json
    from flowdsl.gateway import calls
    from flowdsl.types import RunStatus

    head = asyncio.run(_do("retry", run, lambda conn, run_id: calls.retry_run(conn, run_id, from_step), database_url))
    if as_json:
        print_json(_document(head))
    elif head.status is RunStatus.STARTED:
        note(f"Run {head.run_id} of flow '{head.flow_slug}' goes on. Follow it with: pgflow show {head.run_id} --watch")
    else:  # nothing was left to be done, or a condition has just decided
        note(f"Run {head.run_id} of flow '{head.flow_slug}' was taken up again, and is {head.status}{_because(head)}")


async def _do(
    command: str, name: str, act: "Callable[[Connection, RunId], Awaitable[RunHead]]", url: str | None
) -> "RunHead":
    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.cli.description import find_run

    async with connected(chosen_database(url), command) as conn:
        return await act(conn, await find_run(conn, name))


def _document(head: "RunHead") -> dict[str, object]:
    return {
        "run_id": head.run_id,
        "flow_slug": head.flow_slug,
        "status": head.status,
        "end_reason": head.end_reason,
    }


def _because(head: "RunHead") -> str:
    return f": {head.end_reason}" if head.end_reason else "."
