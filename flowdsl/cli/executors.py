"""What `--executor` names: checked when the command line is read, opened for as long as the worker runs."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import typer

from flowdsl.clusters.choice import CLUSTERS, cluster_of
from flowdsl.model.options import EXECUTORS, ExecutorChoice, ExecutorName
from flowdsl.suggest import did_you_mean

if TYPE_CHECKING:
    from flowdsl.clusters.dask import DaskExecutor
    from flowdsl.clusters.ray import RayExecutor
    from flowdsl.model.flow import Flow
    from flowdsl.runtime.remote import RemoteCall

logger = logging.getLogger(__name__)

HELP = (
    "Where handlers run whose flow and step do not say: async (the event loop), thread, process (child processes), "
    "dask:ADDRESS or ray:ADDRESS (a cluster)."
)


def checked(value: str | None) -> str | None:
    """Refuse what names no executor; the callback of the option."""
    if value is None or value in EXECUTORS or cluster_of(value) is not None:
        return value
    if value.partition(":")[0] in CLUSTERS:
        raise typer.BadParameter(f"'{value}' lacks the address, such as dask:tcp://HOST:8786 or ray:HOST:6379.")
    guess = did_you_mean(value.partition(":")[0], (*EXECUTORS, *CLUSTERS))
    raise typer.BadParameter(
        f"there is no executor '{value}'. {guess} Choose from async, thread, process, dask:ADDRESS, ray:ADDRESS.".replace(
            ".  ", ". "
        )
    )


@contextmanager
def opened(value: str | None, flows: "Sequence[Flow[Any, Any]]", concurrency: int) -> Iterator[ExecutorChoice | None]:
    """Connect to the cluster, if the value names one, and make sure that it knows the handlers.

    Raises:
        ConfigError: the cluster's library is not installed, or its workers cannot load the handlers.
        ClusterError: the cluster does not answer.
    """
    cluster = None if value is None else cluster_of(value)
    if cluster is None:
        yield cast("ExecutorName | None", value)
        return
    kind, address = cluster
    executor = _connected(kind, address)
    try:
        _hear(kind)
        executor.check(_sent_there(flows))
        _tell(executor, concurrency)
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _connected(kind: str, address: str) -> "DaskExecutor | RayExecutor":
    if kind == "dask":
        from flowdsl.clusters.dask import DaskExecutor

        return DaskExecutor(address)
    from flowdsl.clusters.ray import RayExecutor

    return RayExecutor(address)


def _sent_there(flows: "Sequence[Flow[Any, Any]]") -> "list[RemoteCall]":
    from flowdsl.runtime.remote import RemoteCall

    return [
        RemoteCall(spec)
        for flow in flows
        if flow.options.executor is None
        for spec in flow.steps
        if spec.options.executor is None
    ]


def _tell(executor: "DaskExecutor | RayExecutor", concurrency: int) -> None:
    slots = executor.slots
    logger.info("handlers run on %s, which has room for %d at a time", executor, slots)
    if slots == 0:
        logger.warning("%s has no worker yet; attempts wait there while their timeout runs", executor)
    elif concurrency > 2 * slots:
        logger.info("up to %d attempts wait there while their timeout runs: see --concurrency", concurrency - slots)


def _hear(library: str) -> None:
    # Dask writes its log to stderr in a format of its own; this command has one log, in the format that was asked for.
    if library == "dask":
        for name in list(logging.root.manager.loggerDict):
            if name.partition(".")[0] == "distributed":
                logging.getLogger(name).handlers.clear()
                logging.getLogger(name).propagate = True
        logging.getLogger("distributed").setLevel(logging.WARNING)
