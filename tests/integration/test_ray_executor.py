"""The executor for Ray clusters, against a head node that is real processes. Only where Ray is installed."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from flowdsl.clusters.ray import RayExecutor
from flowdsl.errors import ClusterError, ConfigError
from tests.integration.dask_support import HANDLERS, free_port, journal, until

pytest.importorskip("ray", reason="the extra flowdsl[ray] is not installed")

SECONDS = 60.0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ray")
    (directory / "ray_handlers.py").write_text(
        HANDLERS + "\n\ndef die(number):\n    note('die', number)\n    os._exit(3)\n"
    )
    (directory / "unknown_handlers.py").write_text("def unknown():\n    pass\n")
    return directory


@pytest.fixture(scope="module")
def address(directory: Path) -> Iterator[str]:
    """A head node with two processors, whose processes know the handlers, but not `unknown_handlers`."""
    known = directory / "known"
    known.mkdir()
    (known / "ray_handlers.py").symlink_to(directory / "ray_handlers.py")
    # Ray takes ports from 10002 on for its processes.
    port = next(port for port in iter(free_port, None) if port > 20_000)
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED")}
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with (directory / "head.log").open("wb") as log:
        head = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--node-ip-address", "127.0.0.1",
                "--port", str(port), "--num-cpus", "2", "--include-dashboard", "false",
            ],
            cwd=known, env=os.environ | {"PYTHONPATH": str(known)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: "Ray runtime started" in (directory / "head.log").read_text(), "the head node runs")
        yield f"127.0.0.1:{port}"
    finally:
        head.send_signal(signal.SIGTERM)  # it ends its processes
        head.wait(SECONDS)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="module")
def executor(address: str) -> Iterator[RayExecutor]:
    executor = RayExecutor(address)  # the first call connects
    yield executor
    executor.shutdown()


@pytest.fixture
def handlers(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(directory)
    import ray_handlers  # type: ignore[import-not-found]  # written by the test

    yield ray_handlers
    del sys.modules["ray_handlers"]


def test_calls_run_in_processes_of_the_cluster(executor: RayExecutor, handlers: ModuleType) -> None:
    futures = [executor.submit(handlers.process, number) for number in range(20)]
    assert os.getpid() not in {future.result(SECONDS) for future in futures}
    assert executor.slots == 2


def test_an_error_comes_back_as_it_was_raised(executor: RayExecutor, handlers: ModuleType) -> None:
    error = executor.submit(handlers.fail, 7).exception(SECONDS)
    assert (type(error), str(error)) == (KeyError, "7")


def test_a_process_that_dies_is_an_error_and_nothing_is_done_twice(
    executor: RayExecutor, handlers: ModuleType, directory: Path
) -> None:
    error = executor.submit(handlers.die, 1).exception(SECONDS)
    assert type(error) is ClusterError
    assert "that ran step 'die' died" in str(error)
    assert executor.submit(handlers.process, "after").result(SECONDS)
    assert len(journal(directory / "known", "die ")) == 1


def test_a_call_that_is_cancelled_has_its_process_ended(
    executor: RayExecutor, handlers: ModuleType, directory: Path
) -> None:
    future = executor.submit(handlers.wait_for, "never")
    until(lambda: len(journal(directory / "known", "begin never")) == 1, "the call runs")
    process = int(journal(directory / "known", "begin never")[0][2])
    assert future.cancel()
    until(lambda: not Path(f"/proc/{process}").exists(), "its process is gone")


def test_handlers_that_the_cluster_does_not_know_are_refused_by_a_check_and_fail_their_calls(
    executor: RayExecutor, handlers: ModuleType
) -> None:
    import unknown_handlers  # type: ignore[import-not-found]  # written by the test

    executor.check([handlers.process])
    with pytest.raises(ConfigError, match=r"cannot load the handler of step 'unknown': ModuleNotFoundError"):
        executor.check([unknown_handlers.unknown])
    error = executor.submit(unknown_handlers.unknown).exception(SECONDS)
    assert type(error) is ClusterError
    assert "cannot load the handler of step 'unknown'" in str(error)


def test_an_address_where_nobody_listens_is_refused_in_time() -> None:
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(ClusterError, match=f"^No Ray cluster answers at {address} within 2 s"):
        RayExecutor(address, connect_seconds=2.0).connect()
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("address", ["head:port", "ray://head:", "tcp://head:1"])
def test_an_address_that_is_none_is_refused_when_it_is_written_down(address: str) -> None:
    with pytest.raises(ConfigError, match=f"'{address}' is no address of a Ray cluster"):
        RayExecutor(address)


def test_an_executor_that_is_shut_down_takes_no_calls(address: str, executor: RayExecutor) -> None:
    assert address
    executor.shutdown()
    with pytest.raises(RuntimeError, match="is shut down"):
        executor.submit(len, "abc")
    assert concurrent.futures.Executor in type(executor).__mro__
