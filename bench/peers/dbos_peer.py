"""DBOS Transact: decorated functions whose steps are recorded in PostgreSQL; work reaches other processes through queues."""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# The peers live in an environment of their own, where the type checker does not look.

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, ClassVar

import sqlalchemy as sa
from dbos import DBOS, DBOSClient

from bench.peers.common import Item, MeasurementFailed, Role
from bench.peers.entry import main
from bench.peers.peer import Peer, Session

QUEUE = "bench"
APPLICATION = "bench-peer"
VERSION = "1"
# Tried: steps/s of one worker process, medians of two alternating rounds on a machine that was busy with other things, so
# ratios count: concurrency 100 and a pool of 20 241, 20 and 20 211, 5 and 20 124; 100 and a pool of 5 182; 100 and 20 with
# pre-ping 196; the same with asynchronous workflow and steps (without pre-ping) 201.
WORKER_CONCURRENCY = 100
POOL_SIZE = 20
QUEUE_POLL_SECONDS = 0.01
RESULT_POLL_SECONDS = 0.01


def first(item: Item) -> Item:
    """Do nothing, typed."""
    return Item.model_validate(item.model_dump())


def second(item: Item) -> Item:
    """Do nothing, typed."""
    return Item.model_validate(item.model_dump())


def third(item: Item) -> Item:
    """Do nothing, typed."""
    return Item.model_validate(item.model_dump())


step_one, step_two, step_three = (DBOS.step()(function) for function in (first, second, third))


@DBOS.workflow(name="linear")
def linear(item: Item) -> Item:
    """Run three steps; DBOS pickles values, so models need no conversion."""
    result: Item = step_three(step_two(step_one(item)))
    return result


@DBOS.workflow(name="element")
def element(item: Item) -> Item:
    """Handle one element: a child workflow, which is what a queue can hand to any worker."""
    return first(item)


@DBOS.workflow(name="fan_out")
def fan_out(item: Item) -> Item:
    """Enqueue a child for each element and wait for all, as the queue tutorial of the documentation does."""
    queue = DBOS.retrieve_queue(QUEUE)
    handles = [queue.enqueue(element, Item(number=number)) for number in range(item.number)]
    results = [handle.get_result(polling_interval_sec=RESULT_POLL_SECONDS) for handle in handles]
    return Item(number=len(results))


@DBOS.workflow(name="steps")
def steps(item: Item) -> Item:
    """Handle each element in a step of this workflow."""
    return Item(number=len([step_one(Item(number=number)) for number in range(item.number)]))


def launch(url: str) -> None:
    """Launch DBOS in this process."""
    DBOS(
        config={
            "name": APPLICATION,
            "system_database_url": url,
            "application_version": VERSION,
            "executor_id": str(os.getpid()),
            "sys_db_pool_size": POOL_SIZE,
            "db_engine_kwargs": {"pool_pre_ping": False},
            "log_level": "WARNING",
        }
    )
    DBOS.launch()


class DBOSSession(Session):
    """A DBOSClient, the documented way to enqueue from another process, and an engine for transactions of our own."""

    def __init__(self, url: str) -> None:
        self.client = DBOSClient(system_database_url=url, application_name=APPLICATION)
        self.engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))

    def start(self, number: int) -> None:
        """Enqueue one workflow."""
        self._enqueue("linear", number)

    def start_batch(self, numbers: range) -> None:
        """Enqueue many workflows in one transaction; a call that takes many does not exist."""
        with self.engine.begin() as conn:
            for number in numbers:
                self.client.enqueue_in_transaction(conn, enqueued("linear"), Item(number=number))

    def round_trip(self, number: int) -> None:
        """Enqueue and wait; the client polls, so its interval is set short."""
        self._enqueue("linear", number).get_result(polling_interval_sec=RESULT_POLL_SECONDS)

    def fan_outs(self) -> Mapping[str, Callable[[int], None]]:
        """Children run side by side in any worker; steps of one workflow one after the other, in one."""
        return {"children": partial(self._fan_out, "fan_out"), "steps": partial(self._fan_out, "steps")}

    def _fan_out(self, workflow: str, elements: int) -> None:
        done = self._enqueue(workflow, elements).get_result(polling_interval_sec=RESULT_POLL_SECONDS).number
        if done != elements:
            raise MeasurementFailed(f"{done} of {elements} elements were handled.")

    def _enqueue(self, workflow: str, number: int) -> Any:
        return self.client.enqueue(enqueued(workflow), Item(number=number))


def enqueued(workflow: str) -> Any:
    """Return the options of an enqueue."""
    return {"queue_name": QUEUE, "workflow_name": workflow}


class DBOSPeer(Peer):
    """How DBOS is installed, called and read."""

    name: ClassVar[str] = "dbos"
    package: ClassVar[str] = "dbos"
    runs: ClassVar[int] = 1_000
    settings: ClassVar[dict[str, str]] = {
        "worker_concurrency": f"{WORKER_CONCURRENCY} (register_queue; default: no limit; tuned)",
        "polling_interval_sec": f"{QUEUE_POLL_SECONDS} (register_queue: 'smaller values reduce dequeue latency'; default 1.0)",
        "sys_db_pool_size": f"{POOL_SIZE} (DBOSConfig; the default; tuned)",
        "pool_pre_ping": "off (DBOSConfig, db_engine_kwargs; the default sends one more statement at each checkout)",
        "executor_id": "the process id ('must be set to a unique value for each process', reference of queues)",
        "starts": "DBOSClient.enqueue one by one; batches by enqueue_in_transaction, many in one transaction",
        "results": f"get_result(polling_interval_sec={RESULT_POLL_SECONDS}); default 1.0",
        "flow": "a synchronous workflow of three steps; W2: a child workflow for each element (queue tutorial), or steps of one",
    }
    finished_runs: ClassVar[str] = "select count(*) from dbos.workflow_status where status = 'SUCCESS'"
    completed_steps: ClassVar[str] = "select count(*) from dbos.operation_outputs"
    work_seconds: ClassVar[str] = (
        "select (max(completed_at) - min(started_at_epoch_ms)) / 1000.0 from dbos.workflow_status"
    )

    def install(self, url: str) -> None:
        """Let DBOS migrate its database at launch, and register the queue."""
        launch(url)
        DBOS.register_queue(QUEUE, worker_concurrency=WORKER_CONCURRENCY, polling_interval_sec=QUEUE_POLL_SECONDS)
        DBOS.destroy(destroy_registry=False)

    @contextmanager
    def session(self, url: str) -> Iterator[Session]:
        """Open a client."""
        session = DBOSSession(url)
        try:
            yield session
        finally:
            session.client.destroy()
            session.engine.dispose()

    def serve(self, url: str, role: Role) -> None:
        """Launch DBOS; its own threads take work from the queue."""
        launch(url)
        threading.Event().wait()

    def in_process(self, url: str) -> AbstractContextManager[Callable[[int], object]]:
        """Call the workflow directly: recorded and recoverable alike, but in the process that asks for it."""
        return launched(url)


@contextmanager
def launched(url: str) -> Iterator[Callable[[int], object]]:
    """Have DBOS run in this process."""
    launch(url)
    try:
        yield lambda number: linear(Item(number=number))
    finally:
        DBOS.destroy(destroy_registry=False)


def run() -> None:
    """Do what the command line says."""
    main(DBOSPeer())
