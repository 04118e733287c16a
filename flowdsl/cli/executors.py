"""What `--executor` names: checked when the command line is read, opened for as long as the worker runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import typer

from flowdsl.clusters.address import DASK_FORM, RAY_FORM, check_dask_address, check_ray_address
from flowdsl.clusters.choice import CLUSTERS, cluster_of
from flowdsl.errors import ConfigError
from flowdsl.model.options import EXECUTORS, ExecutorChoice, ExecutorName
from flowdsl.suggest import did_you_mean

if TYPE_CHECKING:
    from flowdsl.clusters.dask import DaskExecutor
    from flowdsl.clusters.ray import RayExecutor

logger = logging.getLogger(__name__)

HELP = (
    "Where handlers run whose flow and step do not say: async (the event loop), thread, process (child processes), "
    "dask:ADDRESS or ray:ADDRESS (a cluster)."
)


def checked(value: str | None) -> str | None:
    """Refuse what names no executor; the callback of the option."""
    if value is None or value in EXECUTORS:
        return value
    cluster = cluster_of(value)
    if cluster is not None:
        _check_address(*cluster)
        return value
    if value.partition(":")[0] in CLUSTERS:
        raise typer.BadParameter(f"'{value}' lacks the address, such as dask:tcp://HOST:8786 or ray:HOST:6379.")
    guess = did_you_mean(value.partition(":")[0], (*EXECUTORS, *CLUSTERS))
    raise typer.BadParameter(
        f"there is no executor '{value}'. {guess} Choose from async, thread, process, dask:ADDRESS, ray:ADDRESS.".replace(
            ".  ", ". "
        )
    )


def _check_address(kind: str, address: str) -> None:
    check, form = {"dask": (check_dask_address, DASK_FORM), "ray": (check_ray_address, RAY_FORM)}[kind]
    try:
        check(address)
    except ConfigError as error:
        raise typer.BadParameter(f"{error.message} Write {kind}:{form}") from None


@contextmanager
def opened(value: str | None, concurrency: int) -> Iterator[ExecutorChoice | None]:
    """Connect to the cluster, if the value names one. Whether it knows the handlers is found out by the worker's start.

    Raises:
        ConfigError: the cluster's library is not installed.
        ClusterError: the cluster does not answer.
    """
    cluster = None if value is None else cluster_of(value)
    if cluster is None:
        yield cast("ExecutorName | None", value)
        return
    kind, address = cluster
    executor = _executor(kind, address)
    try:
        executor.connect()
        _hear(kind)
        _tell(executor, concurrency)
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _executor(kind: str, address: str) -> "DaskExecutor | RayExecutor":
    if kind == "dask":
        from flowdsl.clusters.dask import DaskExecutor

        return DaskExecutor(address)
    from flowdsl.clusters.ray import RayExecutor

    return RayExecutor(address)


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
