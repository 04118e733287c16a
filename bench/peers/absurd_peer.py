"""absurd: durable tasks with checkpointed steps, all logic in SQL functions (absurdctl brings them, absurd-sdk calls them)."""

# mypy: disable-error-code="import-not-found"
# The peers live in an environment of their own, where the type checker does not look.

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import psycopg
from absurd_sdk import Absurd
from absurdctl import BUNDLED_SCHEMA_SQL

from bench.peers.common import Item, MeasurementFailed, Role
from bench.peers.entry import main
from bench.peers.peer import Peer, Session

# ctx.await_task_result refuses to wait for a task of the same queue, so children have a queue of their own.
FLOWS, ELEMENTS = "flows", "elements"
CLAIM_SECONDS = 600
# Tried: steps/s of one worker process with 1,000 runs, medians of two alternating rounds on a machine that was busy with
# other things, so ratios count: 8 threads and batch 10 334, 8 and 25 282, 4 and 50 238, 4 and 25 182. With 200 runs: 4 and
# 25 254, 2 and 50 133, 2 and 20 125, 1 and 50 107, 1 and 10 81 (one thread waits for one commit at a time).
THREADS = 8
BATCH = 10
# A claim costs the more the more is queued, so with 100,000 runs queued a batch of 50 gave 274 steps/s and one of 10 156.
BACKLOG_BATCH = 50
POLL_SECONDS = 0.01


def linear(params: dict[str, Any], ctx: Any) -> dict[str, Any]:
    """Run three steps, each a checkpoint; values are validated like ours, but JSON is all the SDK knows."""
    value = params
    for name in ("first", "second", "third"):
        value = ctx.step(name, lambda value=value: step(value))
    return value


def step(value: dict[str, Any]) -> dict[str, Any]:
    """Do nothing, typed."""
    return Item.model_validate(value).model_dump(mode="json")


def element(params: dict[str, Any], ctx: Any) -> dict[str, Any]:
    """Handle one element of the fan-out: the task itself is the unit that is retried and kept."""
    return step(params)


def steps(params: dict[str, Any], ctx: Any) -> dict[str, Any]:
    """Handle each element in a step of this task."""
    items = (Item(number=number).model_dump(mode="json") for number in range(params["number"]))
    results = [ctx.step(f"element-{item['number']}", partial(step, item)) for item in items]
    return Item(number=len(results)).model_dump(mode="json")


def register(app: Any, queue: str) -> Any:
    """Register the tasks of a queue."""
    if queue == ELEMENTS:
        app.register_task("element", queue=ELEMENTS)(element)
        return app
    app.register_task("linear", queue=FLOWS)(linear)
    app.register_task("steps", queue=FLOWS)(steps)

    def fan_out(params: dict[str, Any], ctx: Any) -> dict[str, Any]:
        children = ctx.step("spawn", lambda: spawn_many(app, ELEMENTS, "element", range(params["number"])))
        results = [ctx.await_task_result(child, queue_name=ELEMENTS).result for child in children]
        return Item(number=len(results)).model_dump(mode="json")

    app.register_task("fan_out", queue=FLOWS)(fan_out)
    return app


def spawn_many(app: Any, queue: str, task: str, numbers: range) -> list[str]:
    """Spawn many tasks in one statement: the SDK has no call for it, the SQL function below it can be called for rows."""
    with psycopg.connect(app._conn.info.dsn, autocommit=True) as conn:  # noqa: SLF001 - the SDK keeps the URL there only
        return spawned(conn, queue, task, numbers)


def spawned(conn: "psycopg.Connection[Any]", queue: str, task: str, numbers: range) -> list[str]:
    """Spawn one task for each number; returns their ids."""
    items = [Item(number=number).model_dump_json() for number in numbers]
    rows = conn.execute(
        "select task_id::text from unnest(%s::jsonb[]) as item, lateral absurd.spawn_task(%s, %s, item)",
        (items, queue, task),
    )
    return [row[0] for row in rows]


class AbsurdSession(Session):
    """The SDK's synchronous client."""

    def __init__(self, url: str) -> None:
        self.app = Absurd(url, queue_name=FLOWS)

    def start(self, number: int) -> None:
        """Spawn one task."""
        self._spawn("linear", number)

    def start_batch(self, numbers: range) -> None:
        """Spawn many tasks in one statement."""
        spawned(self.app._conn, FLOWS, "linear", numbers)  # noqa: SLF001 - one connection, as for single starts

    def round_trip(self, number: int) -> None:
        """Spawn a task and wait as the SDK does: by polling, 50 ms after the first look and then ever longer."""
        self._wait(self._spawn("linear", number))

    def fan_outs(self) -> Mapping[str, Callable[[int], None]]:
        """Children run side by side in any worker; steps of one task one after the other, in one, for fewer statements."""
        return {"children": partial(self._fan_out, "fan_out"), "steps": partial(self._fan_out, "steps")}

    def _fan_out(self, task: str, elements: int) -> None:
        done = Item.model_validate(self._wait(self._spawn(task, elements))).number
        if done != elements:
            raise MeasurementFailed(f"{done} of {elements} elements were handled.")

    def _spawn(self, task: str, number: int) -> str:
        result = self.app.spawn(task, Item(number=number).model_dump(mode="json"), queue=FLOWS)
        return str(result["task_id"])

    def _wait(self, task: str) -> Any:
        end = self.app.await_task_result(task)
        if end.state != "completed":
            raise MeasurementFailed(f"Task {task} is {end.state}: {end.failure}")
        return end.result


class AbsurdPeer(Peer):
    """How absurd is installed, called and read."""

    name: ClassVar[str] = "absurd"
    package: ClassVar[str] = "absurd-sdk"
    runs: ClassVar[int] = 2_000
    settings: ClassVar[dict[str, str]] = {
        "worker": f"start_worker, {THREADS} thread(s) with a connection each in a process (Python SDK, 'Starting a Worker')",
        "batch_size": f"{BATCH}, with a large backlog {BACKLOG_BATCH} (argument of start_worker; default 1; tuned)",
        "poll_interval": f"{POLL_SECONDS} s (argument of start_worker; default 0.25; there is no notification)",
        "storage_mode": "unpartitioned (the default; 'Storage': for small and medium workloads)",
        "starts": "Absurd.spawn one by one; batches by absurd.spawn_task over many rows, since the SDK has no call for it",
        "results": "Absurd.await_task_result, which polls after 0, 50, … ms",
        "flow": "a task of three ctx.step; W2: children in a second queue, awaited by ctx.await_task_result, or steps of one task",
    }
    finished_runs: ClassVar[str] = "select count(*) from absurd.r_flows where state = 'completed'"
    completed_steps: ClassVar[str] = "select count(*) from absurd.c_flows"
    work_seconds: ClassVar[str] = "select extract(epoch from max(completed_at) - min(started_at)) from absurd.r_flows"

    def install(self, url: str) -> None:
        """Apply the SQL that absurdctl brings, as `absurdctl init` does, and make the queues."""
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(BUNDLED_SCHEMA_SQL)
            for queue in (FLOWS, ELEMENTS):
                conn.execute("select absurd.create_queue(%s)", (queue,))

    @contextmanager
    def session(self, url: str) -> Iterator[Session]:
        """Open a client."""
        session = AbsurdSession(url)
        try:
            yield session
        finally:
            session.app.close()

    def serve(self, url: str, role: Role) -> None:
        """Run the SDK's blocking workers, one connection and thread each."""
        batch = BACKLOG_BATCH if role is Role.BACKLOG else BATCH
        # The one parent of a fan-out needs one thread; its children get the others.
        queues = [FLOWS, *[ELEMENTS] * THREADS] if role is Role.FAN_OUT else [FLOWS] * THREADS
        threads = [threading.Thread(target=work, args=(url, queue, batch)) for queue in queues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def work(url: str, queue: str, batch: int) -> None:
    """Work one queue until the process ends."""
    app = register(Absurd(url, queue_name=queue), queue)
    app.start_worker(claim_timeout=CLAIM_SECONDS, batch_size=batch, poll_interval=POLL_SECONDS)


def run() -> None:
    """Do what the command line says."""
    main(AbsurdPeer())
