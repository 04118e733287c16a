"""Where handlers run, and what becomes of attempts whose process dies, hangs or loses its worker."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from flowdsl.client import Client
from flowdsl.errors import ConfigError, RunFailed
from flowdsl.model.flow import Flow
from flowdsl.model.options import ExecutorChoice
from flowdsl.model.refs import named
from flowdsl.runtime.worker import Worker
from tests.conftest import Run
from tests.integration.executors_app import (
    IN_CHILDREN,
    Order,
    Where,
    WorkerProcess,
    coroutine,
    dying,
    exiting,
    hanging,
    plain,
    sleeping,
)
from tests.integration.runtime_support import compile_into, until, working

DbConn = psycopg.Connection[Any]
In = TypeVar("In")
Out = TypeVar("Out")


def attempts(conn: DbConn) -> list[tuple[Any, ...]]:
    return conn.execute("select outcome, error_class, error_message from pgflow.task_attempts").fetchall()


async def result(client: Client, flow: Flow[In, Out], value: In) -> Out:
    return await (await client.start(flow, value)).result(40)


async def wheres(dsn: str, flow: Flow[int, Any], **options: Any) -> dict[str, Where]:
    async with working(flow, dsn=dsn, **options), Client(dsn) as client:
        return {slug: Where.model_validate(where) for slug, where in (await result(client, flow, 1)).items()}


def test_each_step_runs_where_it_says_and_the_step_comes_before_the_flow_and_the_worker(dsn: str, run: Run) -> None:
    flow = (
        Flow("places", int, executor="thread")
        .step(named("looped", plain), executor="async")
        .step(named("threaded", plain))
        .step(named("threaded_coroutine", coroutine))
        .step(named("looped_coroutine", coroutine), executor="async")
        .step(named("child", plain), executor="process")
        .step(named("child_coroutine", coroutine), executor="process")
    )
    compile_into(dsn, flow)
    found = run(wheres(dsn, flow, executor="process", processes=1))
    main = threading.main_thread().name
    assert (found["looped"].in_loop, found["looped"].thread) == (True, main)
    assert (found["looped_coroutine"].in_loop, found["looped_coroutine"].thread) == (True, main)
    assert (found["threaded"].in_loop, found["threaded"].thread.startswith("flowdsl-handler")) == (False, True)
    coroutine_in_thread = found["threaded_coroutine"]
    assert (coroutine_in_thread.in_loop, coroutine_in_thread.thread.startswith("flowdsl-handler")) == (True, True)
    assert found["child"].pid == found["child_coroutine"].pid
    assert found["child_coroutine"].in_loop
    assert {where.pid for slug, where in found.items() if "child" not in slug} == {os.getpid()}
    assert found["child"].pid != os.getpid()


@pytest.mark.parametrize(("executor", "is_here"), [(None, True), ("async", True), ("thread", True), ("process", False)])
def test_a_worker_has_a_place_for_steps_that_do_not_say(
    dsn: str, run: Run, executor: ExecutorChoice | None, is_here: bool
) -> None:
    flow = Flow("anywhere", int).step(plain).step(coroutine)
    compile_into(dsn, flow)
    found = run(wheres(dsn, flow, executor=executor, processes=1))
    assert {where.pid == os.getpid() for where in found.values()} == {is_here}
    if executor == "async":
        assert found["plain"].in_loop
    if executor is None:
        assert not found["plain"].in_loop


@pytest.fixture(params=["threads", "processes"])
def given(request: pytest.FixtureRequest) -> Iterator[Executor]:
    executor = (
        ThreadPoolExecutor(2, thread_name_prefix="mine")
        if request.param == "threads"
        else ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    )
    with executor:
        yield executor


def test_a_given_executor_is_used_and_left_alone(dsn: str, run: Run, given: Executor) -> None:
    flow = Flow("given", int, executor=given).step(plain).step(coroutine)
    compile_into(dsn, flow)
    found = run(wheres(dsn, flow))
    if isinstance(given, ThreadPoolExecutor):
        assert {where.thread.split("_")[0] for where in found.values()} == {"mine"}
    else:
        assert os.getpid() not in {where.pid for where in found.values()}
    assert given.submit(os.getpid).result(10) > 0


class Moody(Executor):
    """Each call goes wrong in another way."""

    def __init__(self, moods: list[Any]) -> None:
        self.moods = moods

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        mood = self.moods.pop(0)
        future: Future[Any] = Future()
        if isinstance(mood, RuntimeError) and "submit" in str(mood):
            raise mood
        if isinstance(mood, BaseException):
            future.set_exception(mood)
        elif mood == "cancel":
            future.cancel()
            future.set_running_or_notify_cancel()
        elif mood == "other":
            future.set_result(42)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_whatever_an_executor_breaks_is_a_failed_attempt(
    dsn: str, conn: DbConn, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    moods = [BrokenExecutor("gone"), RuntimeError("cannot submit"), "cancel", "other", OSError("lost"), "work"]
    flow = Flow("moody", int, base_delay=0, max_attempts=6).step(plain, executor=Moody(moods))
    compile_into(dsn, flow)
    assert run(wheres(dsn, flow))["plain"].pid == os.getpid()
    assert attempts(conn) == [
        ("failed", "concurrent.futures._base.BrokenExecutor", "gone"),
        ("failed", "RuntimeError", "cannot submit"),
        ("failed", "flowdsl.runtime.elsewhere.ExecutorCancelledError", "Moody cancelled the call"),
        ("failed", "TypeError", "the executor returned int, not what it was given to call"),
        ("failed", "OSError", "lost"),
    ]
    assert [r.getMessage() for r in caplog.records if "is broken" in r.getMessage()] == [
        "the executor of step 'plain' is broken, and not ours to mend: BrokenExecutor: gone"
    ]


@pytest.mark.parametrize("executor", ["process", "pool"])
def test_a_handler_that_no_process_can_find_is_refused_before_the_worker_claims(
    dsn: str, conn: DbConn, run: Run, executor: str
) -> None:
    class Local:
        def __call__(self, number: int) -> int:
            return number

    async def scenario(choice: Any) -> None:
        flow = Flow("refused", int).step(Local(), slug="local", executor=choice)
        compile_into(dsn, flow)
        with pytest.raises(
            ConfigError, match=r"(?s)step 'local' \(\S*test_executors.py:\d+\): its handler cannot be pickled"
        ):
            await Worker([flow], dsn).run(stop_signals=False)

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        run(scenario(pool if executor == "pool" else "process"))
    assert conn.execute("select count(*) from pgflow.workers").fetchone() == (0,)


def test_a_child_that_is_killed_fails_its_own_attempt_and_no_other(
    dsn: str, conn: DbConn, run: Run, tmp_path: Path
) -> None:
    async def scenario() -> list[int]:
        async with working(dying, dsn=dsn, processes=2), Client(dsn) as client:
            return await result(client, dying, Order(directory=str(tmp_path), number=8))

    compile_into(dsn, dying)
    assert run(scenario()) == [1, 1, 1, 2, 1, 1, 1, 1]
    ((outcome, error_class, message),) = attempts(conn)
    assert (outcome, error_class) == ("failed", "flowdsl.errors.ProcessDied")
    assert (
        message == "the process that ran the handler was killed by signal 9 (SIGKILL), as happens when memory runs out"
    )


def test_a_handler_that_always_takes_its_process_along_fails_its_run_and_not_the_worker(
    dsn: str, run: Run, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with working(exiting, sleeping, dsn=dsn, processes=1) as worker, Client(dsn) as client:
            with pytest.raises(RunFailed, match="ended with exit code 7"):
                await result(client, exiting, Order(directory=str(tmp_path), number=7))
            assert worker.state.value == "running"
            assert await result(client, sleeping, Order(directory=str(tmp_path), number=5)) == 5

    compile_into(dsn, exiting, sleeping)
    run(scenario())


def test_a_handler_that_outlives_its_timeout_is_killed_and_tried_again(
    dsn: str, conn: DbConn, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flowdsl.runtime.elsewhere")

    async def scenario() -> int:
        async with working(hanging, dsn=dsn, processes=1) as worker, Client(dsn) as client:
            attempt = await result(client, hanging, Order(directory=str(tmp_path)))
            assert worker.stuck == ()
            return attempt

    compile_into(dsn, hanging)
    assert run(scenario()) == 2
    assert attempts(conn) == [("failed", "TimeoutError", "step 'hangs_once' exceeded its timeout of 1 s")]
    (said,) = [text for text in caplog.messages if "was killed" in text]
    assert said.startswith("the handler of step 'hangs_once' was killed at its timeout of 1 s, with its process ")


def test_a_worker_that_stops_kills_what_does_not_end_and_releases_its_task(
    dsn: str, conn: DbConn, run: Run, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client, working(sleeping, dsn=dsn, processes=1, grace_seconds=0):
            await client.start(sleeping, Order(directory=str(tmp_path), seconds=60))
            await until(lambda: bool(list(tmp_path.glob("pid-*"))))

    compile_into(dsn, sleeping)
    run(scenario())
    assert conn.execute("select status, attempts_count from pgflow.step_tasks").fetchall() == [("queued", 0)]
    (file,) = tmp_path.glob("pid-*")
    assert not Path("/proc", file.name.removeprefix("pid-")).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_its_worker(dsn: str, run: Run, tmp_path: Path, number: signal.Signals) -> None:
    def children() -> list[Path]:
        return [Path("/proc", file.name.removeprefix("pid-")) for file in tmp_path.glob("pid-*")]

    async def scenario() -> None:
        async with Client(dsn) as client:
            with WorkerProcess(dsn, tmp_path, flows="IN_CHILDREN", processes=2, grace_seconds=0) as worker:
                for run_number in range(2):
                    await client.start(sleeping, Order(directory=str(tmp_path), seconds=60, number=run_number))
                await until(lambda: len(children()) == 2)
                worker.process.send_signal(number)
                await until(lambda: worker.process.poll() is not None)
                await until(lambda: not [child for child in children() if child.exists()])

    compile_into(dsn, *IN_CHILDREN)
    run(scenario())
