"""`pgflow worker`: serve flows until told to stop."""

import asyncio
import logging
import os
import socket
from datetime import timedelta
from typing import Annotated

import typer

from flowdsl.cli import executors
from flowdsl.cli.logs import LogFormat, configure_logging
from flowdsl.cli.options import DatabaseUrl

logger = logging.getLogger(__name__)


def worker_command(
    flows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODULE[:FLOW]]...", help="Flows to serve. Default: the configured ones.", show_default=False
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Attempts that run at once.")] = 200,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Tasks claimed and handed in together, at most.")] = 100,
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", metavar="NAME", help="Serve this queue only; may be repeated.", show_default="all"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Label of the worker in the table pgflow.workers.", show_default="host:pid"),
    ] = None,
    lease: Annotated[
        int,
        typer.Option(
            "--lease", min=1, metavar="SECONDS", help="How long after its death others wait to take its tasks."
        ),
    ] = 30,
    grace: Annotated[
        float,
        typer.Option("--grace", min=0, metavar="SECONDS", help="How long running attempts may go on when stopping."),
    ] = 30.0,
    retention: Annotated[
        float | None,
        typer.Option(
            "--retention",
            min=0.0,
            metavar="DAYS",
            help="Delete runs of any flow so long after their end.",
            show_default="keep them",
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="NAME",
            help=executors.HELP,
            callback=executors.checked,
            show_default="async handlers in the event loop, others in threads",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", min=1, help="Child processes for the executor process.", show_default="one per processor"
        ),
    ] = None,
    pulse: Annotated[
        bool,
        typer.Option(
            "--pulse/--no-pulse", help="A small process keeps the lease while a handler holds the interpreter."
        ),
    ] = True,
    poll: Annotated[
        float,
        typer.Option(
            "--poll",
            min=0.01,
            metavar="SECONDS",
            help="How often an idle worker looks for work when no notification arrives.",
        ),
    ] = 1.0,
    listen: Annotated[
        bool,
        typer.Option("--listen/--no-listen", help="Use notifications; behind some poolers polling is all there is."),
    ] = True,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How log lines are written.")] = LogFormat.HUMAN,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every attempt.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Run a worker: it claims the tasks of the flows, runs their handlers, and hands in the results.

    The first SIGTERM or Ctrl-C lets running attempts end within the grace time, the second one ends them at once.
    """
    from flowdsl.cli.connection import chosen_database
    from flowdsl.cli.lookup import find_flows
    from flowdsl.runtime.worker import Worker

    configure_logging(log_format, verbose=verbose)
    served = find_flows(flows or ())
    database = chosen_database(database_url)
    with executors.opened(executor, concurrency) as place:
        worker = Worker(
            served,
            database.url,
            concurrency=concurrency,
            batch=batch,
            queues=queue or None,
            lease_seconds=lease,
            grace_seconds=grace,
            poll_seconds=poll,
            listen=listen,
            retention=None if retention is None else _days(retention),
            executor=place,
            processes=processes,
            pulse=pulse,
            name=name or f"{socket.gethostname()}:{os.getpid()}",
        )
        logger.info("serving %s", ", ".join(flow.slug for flow in served))
        asyncio.run(worker.run())
    if worker.stuck:
        # Threads cannot be ended, and the interpreter would wait for them. Their tasks have been failed or handed back.
        logger.warning("leaving handlers that do not end: %s", ", ".join(worker.stuck))
        database.close()
        logging.shutdown()
        os._exit(1)


def _days(days: float) -> timedelta:
    try:
        return timedelta(days=days)
    except (OverflowError, ValueError):
        raise typer.BadParameter(f"{days:g} days is out of range.", param_hint="--retention") from None
