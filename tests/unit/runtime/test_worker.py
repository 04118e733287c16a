"""The parts of a worker's life that need no database."""

import asyncio
import logging
import os
import signal
import threading

import pytest

from flowdsl.errors import ConfigError
from flowdsl.model.flow import Flow
from flowdsl.model.refs import named
from flowdsl.runtime.listener import concerns
from flowdsl.runtime.signals import stopping
from flowdsl.runtime.state import WorkerState
from flowdsl.runtime.steps import Catalog
from flowdsl.runtime.worker import Worker
from tests.conftest import Run

DSN = "postgresql://nowhere.invalid/none"


async def double(number: int) -> int:
    return number * 2


doubling = Flow("doubling", int).step(double)


def test_a_worker_says_what_is_wrong_with_what_it_is_given() -> None:
    with pytest.raises(ConfigError, match="at least one flow"):
        Worker([], DSN)
    with pytest.raises(ConfigError, match="two flows of the same slug: doubling"):
        Worker([doubling, Flow("doubling", int).step(double)], DSN)
    with pytest.raises(ConfigError, match="concurrency"):
        Worker([doubling], DSN, concurrency=0)
    with pytest.raises(ConfigError, match="database URL"):
        Worker([doubling], "not a url")


def test_a_url_that_cannot_be_read_is_not_repeated_for_it_may_hold_a_password() -> None:
    with pytest.raises(ConfigError) as caught:
        Worker([doubling], "postgresql://me:s3cret@host:port:1/x?nonsense=1")
    assert "s3cret" not in str(caught.value)


def test_a_worker_that_was_stopped_before_its_start_does_not_start(run: Run) -> None:
    worker = Worker([doubling], DSN)
    worker.abort()
    run(worker.run(stop_signals=False))
    assert worker.state is WorkerState.STOPPED


def test_the_catalog_knows_the_queues_of_steps_and_flows() -> None:
    flow = Flow("flow", int, queue="slow").step(double).step(named("again", double), queue="fast")
    assert Catalog([flow, doubling]).queues() == {"slow", "fast", "doubling"}


def test_only_notifications_about_our_queues_concern_us() -> None:
    assert concerns("a", {"a", "b"})
    assert not concerns("c", {"a", "b"})
    assert concerns("c", None)


def test_the_first_signal_asks_the_second_insists_and_afterwards_the_old_handlers_are_back(run: Run) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    async def scenario() -> list[str]:
        heard: list[str] = []
        first, second = asyncio.Event(), asyncio.Event()

        def on_first() -> None:
            heard.append("stop")
            first.set()

        def on_second() -> None:
            heard.append("abort")
            second.set()

        within = {number: signal.getsignal(number) for number in before}
        with stopping(on_first=on_first, on_second=on_second):
            os.kill(os.getpid(), signal.SIGTERM)
            await first.wait()
            os.kill(os.getpid(), signal.SIGINT)
            await second.wait()
        assert {number: signal.getsignal(number) for number in before} == within
        return heard

    assert run(scenario(), 10) == ["stop", "abort"]
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_terminal_that_closes_asks_once_and_is_not_heard_under_nohup(run: Run) -> None:
    async def heard(count: int) -> list[str]:
        said: asyncio.Queue[str] = asyncio.Queue()
        with stopping(on_first=lambda: said.put_nowait("stop"), on_second=lambda: said.put_nowait("abort")):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            return [await said.get() for _ in range(count)]

    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert run(heard(2), 10) == ["stop", "abort"]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert run(heard(1), 10) == ["stop"]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_importing_the_worker_starts_no_thread_and_configures_no_logging() -> None:
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("flowdsl")]
    assert logging.getLogger("flowdsl").handlers == []
