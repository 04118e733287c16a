"""Which step runs where: the choices of steps, flows and worker, resolved once, before the first claim."""

import concurrent.futures
from collections.abc import Mapping, Sequence
from typing import Any

from flowdsl.model.options import ExecutorChoice
from flowdsl.model.step import StepSpec
from flowdsl.runtime.elsewhere import InChild, Submitted
from flowdsl.runtime.places import Elsewhere, Place
from flowdsl.runtime.pool import ProcessPool, default_size
from flowdsl.runtime.readiness import make_ready
from flowdsl.runtime.remote import RemoteCall, check_picklable
from flowdsl.runtime.steps import Catalog


class Executors:
    """Gives each step of a catalog its place, and owns the child processes, if any step runs in one.

    A step's choice comes before its flow's, and that before the worker's (`default`). Executors that are given stay their
    owner's: nothing here shuts them down.
    """

    def __init__(
        self, catalog: Catalog, default: ExecutorChoice | None, processes: int | None, log_fields: Mapping[str, Any]
    ) -> None:
        self._log_fields = log_fields
        self._given: list[tuple[concurrent.futures.Executor, RemoteCall]] = []
        chosen = [
            (step, spec, _first(spec.options.executor, flow.options.executor, default))
            for flow in catalog.flows
            for spec in flow.steps
            for step in (catalog.step(flow.slug, spec.slug),)
        ]
        self.calls = {spec: RemoteCall(spec) for _, spec, choice in chosen if _is_elsewhere(choice)}
        in_children = [self.calls[spec] for _, spec, choice in chosen if choice == "process"]
        self.pool = ProcessPool(in_children, processes or default_size(), log_fields) if in_children else None
        for step, spec, choice in chosen:
            step.place = self._place(spec, choice, in_children)

    def _place(
        self, spec: StepSpec, choice: ExecutorChoice | None, in_children: Sequence[RemoteCall]
    ) -> Place | Elsewhere:
        if choice == "async" or (choice is None and spec.is_async):
            return Place.LOOP
        if choice == "thread" or choice is None:
            return Place.THREAD
        call = self.calls[spec]
        if isinstance(choice, concurrent.futures.Executor):
            self._given.append((choice, call))
            return Submitted(choice, call, self._log_fields)
        assert self.pool is not None, "it was made for this step"  # noqa: S101 - a defect of ours, not an input
        return InChild(self.pool, in_children.index(call), hears=spec.is_async or spec.takes_context)

    async def start(self) -> None:
        """Make sure that every handler can be run in its place.

        Raises:
            ConfigError: a handler cannot be pickled, or not be found in a child process or on a cluster.
            ClusterError: a cluster does not answer.
        """
        check_picklable([call for executor, call in self._given if needs_pickle(executor)])
        await make_ready(self._given)
        if self.pool is not None:
            await self.pool.start()

    async def close(self) -> None:
        """End the child processes."""
        if self.pool is not None:
            await self.pool.close()


def needs_pickle(executor: concurrent.futures.Executor) -> bool:
    """Tell whether an executor is known to pickle with the standard library; of others nobody knows."""
    return isinstance(executor, concurrent.futures.ProcessPoolExecutor)


def _is_elsewhere(choice: ExecutorChoice | None) -> bool:
    return choice not in (None, "async", "thread")


def _first(*choices: ExecutorChoice | None) -> ExecutorChoice | None:
    # Not `or`: an executor with a length of 0 is false.
    return next((choice for choice in choices if choice is not None), None)
