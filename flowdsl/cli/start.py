"""`pgflow start`: check the input against the flow, start a run, and wait for it if asked to."""

import asyncio
import json
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowdsl.cli.options import DatabaseUrl, Json

if TYPE_CHECKING:
    from flowdsl.database import Database
    from flowdsl.errors import RunFailed
    from flowdsl.gateway.rows import RunOutcome
    from flowdsl.types import RunId


def start_command(
    flow: Annotated[
        str, typer.Argument(metavar="FLOW", help="Slug of a configured flow, or MODULE:FLOW.", show_default=False)
    ],
    input: Annotated[
        str,
        typer.Option(
            "--input",
            "-i",
            metavar="JSON|@FILE|-",
            help="The run's input: JSON, @file, or - for stdin.",
            show_default=False,
        ),
    ],
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Show progress, and print the output at the end.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0.0, metavar="SECONDS", help="With --wait: how long to wait at most."),
    ] = None,
    run_id: Annotated[
        uuid.UUID | None,
        typer.Option("--run-id", help="Id of the run; starting the same run twice starts it once.", show_default=False),
    ] = None,
    from_database: Annotated[
        bool,
        typer.Option(
            "--from-database", help="FLOW is only in the database: check the input by the schema stored there."
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of a run that fails.")] = False,
    as_json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Start a run of a flow; prints the run's id, or with --wait its output."""
    from flowdsl.cli.lookup import is_only_in_database
    from flowdsl.client.ids import RunIds

    if timeout is not None and not wait:
        raise typer.BadParameter("it needs --wait.", param_hint="--timeout")
    if from_database or is_only_in_database(flow):
        document = _json_document(input)
        slug, fingerprint, encoded = asyncio.run(_checked_by_database(flow, document, database_url))
    else:
        slug, fingerprint, encoded = _checked_by_flow(flow, input)
    order = _Order(
        slug=slug,
        fingerprint=fingerprint,
        spec=flow,
        encoded=encoded,
        run_id=run_id or RunIds().next(),
        as_json=as_json,
    )
    if not wait:
        asyncio.run(_start(order, database_url))
        return
    try:
        asyncio.run(_start_and_wait(order, database_url, patience=timeout, verbose=verbose))
    except KeyboardInterrupt:
        # It may have been pressed before the run was there; asking for it tells.
        _note(f"Not waiting any more. The run goes on: pgflow show {order.run_id} --watch")
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A run to be started: the flow, its shape, what the user called it, and the run's input as JSON."""

    slug: str
    fingerprint: str | None
    spec: str
    encoded: bytes
    run_id: uuid.UUID
    as_json: bool


def _checked_by_flow(spec: str, given: str) -> tuple[str, str, bytes]:
    """Return the slug, the fingerprint and the input of a flow that is at hand."""
    from flowdsl.cli.lookup import find_flow
    from flowdsl.model.codec import decode_input, encode_input

    flow = find_flow(spec)
    return flow.slug, flow.fingerprint, encode_input(flow, decode_input(flow, _json_document(given)))


async def _checked_by_database(slug: str, document: bytes, url: str | None) -> tuple[str, str | None, bytes]:
    """Return the slug, the fingerprint and the input of a flow in the database, judged by the schema stored there."""
    from flowdsl.cli.connection import chosen_database, connected
    from flowdsl.cli.lookup import find_in_database
    from flowdsl.model.codec import encode_input
    from flowdsl.references.dynamic import UntypedFlowRef

    async with connected(chosen_database(url), "start") as conn:
        ref = UntypedFlowRef(await find_in_database(conn, slug))
    encode_input(ref, json.loads(document))
    # As it was given: read and written again, a number might lose digits.
    return ref.slug, ref.fingerprint, document


def _json_document(given: str) -> bytes:
    """Return the input's JSON text, having made sure that it is JSON."""
    from flowdsl.errors import ConfigError

    source, text = _text_of(given)
    try:
        json.loads(text, parse_constant=_refuse_constant)
        return text.encode()
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1] if text.splitlines()[error.lineno - 1 :] else ""
        start = max(0, error.colno - 61)
        raise ConfigError(
            f"{source} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno}).",
            hint=f"  {line[start : start + 80]}\n  {' ' * (error.colno - 1 - start)}^"
            if line.strip()
            else "It is empty.",
        ) from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"{source} is not UTF-8 text.") from error
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deeply.") from error
    except ValueError as error:
        raise ConfigError(f"{source} is not valid JSON: {error}.") from error


def _text_of(given: str) -> tuple[str, str]:
    from flowdsl.errors import ConfigError

    try:
        if given == "-":
            return "--input (stdin)", sys.stdin.read()
        if given.startswith("@"):
            return f"--input {given}", Path(given[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--input: the file '{given[1:]}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--input: what '{given}' holds is not UTF-8 text.") from error
    return "--input", given


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has no {name}")


async def _start(order: _Order, url: str | None) -> None:
    from flowdsl.cli.connection import chosen_database
    from flowdsl.cli.output import print_json

    await _put(order, chosen_database(url))
    if order.as_json:
        print_json({"run_id": order.run_id, "flow_slug": order.slug, "status": "started"})
    else:
        typer.echo(order.run_id)
        _note(f"Follow it with: pgflow show {order.run_id} --watch")


async def _start_and_wait(order: _Order, url: str | None, *, patience: float | None, verbose: bool) -> None:
    from flowdsl.cli.connection import chosen_database
    from flowdsl.cli.following import Follower
    from flowdsl.cli.output import err
    from flowdsl.cli.progress import view_on
    from flowdsl.types import RunId

    database = chosen_database(url)
    await _put(order, database)
    _note(f"Run {order.run_id} of flow '{order.slug}' started.")
    follower = Follower(
        database=database,
        command="start",
        view=view_on(err()),
        on_no_worker=lambda slug: _tell_no_worker(slug, order.spec),
    )
    outcome = await follower.follow(RunId(order.run_id), patience)
    report(RunId(order.run_id), outcome, as_json=order.as_json, verbose=verbose)


async def _put(order: _Order, database: "Database") -> None:
    from flowdsl.cli.connection import connected
    from flowdsl.gateway.calls import start_flows

    async with connected(database, "start") as conn:
        await start_flows(conn, order.slug, [order.encoded], [order.run_id], order.fingerprint)


def report(run_id: "RunId", outcome: "RunOutcome", *, as_json: bool, verbose: bool) -> None:
    """Print a run's output; raise what tells of its failure or cancellation."""
    from flowdsl.cli.output import err, harmless, print_json
    from flowdsl.errors import RunCancelled
    from flowdsl.types import RunStatus

    output = None if outcome.output is None else json.loads(outcome.output)
    failure = run_failure(run_id, outcome)
    if as_json:
        error = failure and {
            name: value
            for name, value in vars(failure).items()
            if name not in {"run_id", "flow_slug", "message", "hint"}
        }
        print_json(
            {
                "run_id": run_id,
                "flow_slug": outcome.flow_slug,
                "status": outcome.status,
                "output": output,
                "error": error,
                "reason": outcome.reason,
            }
        )
    elif outcome.status is RunStatus.COMPLETED:
        print_json(output)
    if failure is not None:
        if verbose and failure.traceback:
            err().print(harmless(failure.traceback), style="dim", soft_wrap=True)
        raise failure
    if outcome.status is RunStatus.CANCELLED:
        raise RunCancelled(run_id, outcome.flow_slug, outcome.reason)


def run_failure(run_id: "RunId", outcome: "RunOutcome") -> "RunFailed | None":
    """Return the error that tells why a run failed; None when it did not."""
    from flowdsl.errors import RunFailed
    from flowdsl.types import RunStatus

    if outcome.status is not RunStatus.FAILED:
        return None
    why = outcome.failure
    if why is None:
        return RunFailed(run_id, outcome.flow_slug)
    failure = RunFailed(
        run_id,
        outcome.flow_slug,
        why.step_slug,
        why.task_index,
        why.attempt,
        why.error_class,
        why.error_message,
        why.traceback,
    )
    failure.hint = f"Attempts and tracebacks: pgflow show {run_id}"
    return failure


def _tell_no_worker(slug: str, spec: str) -> None:
    arguments = f" {spec}" if ":" in spec else ""
    _note(f"No worker serves flow '{slug}' at present; the run waits for one. Start it with: pgflow worker{arguments}")


def _note(message: str) -> None:
    from flowdsl.cli.output import note

    note(message)
