"""The executor for Dask clusters alone, against a scheduler and workers that are real processes.

What needs the database is in `test_worker_dask.py`.
"""

import concurrent.futures
import gc
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flowdsl.clusters.dask import DaskExecutor, _Job
from flowdsl.errors import ClusterError, ConfigError
from tests.integration.dask_support import HANDLERS, DaskCluster, free_port, journal, until

pytest.importorskip("distributed", reason="the extra flowdsl[dask] is not installed")

SECONDS = 30.0


@contextmanager
def connected(address: str, **options: Any) -> Iterator[DaskExecutor]:
    executor = DaskExecutor(address, **options)
    try:
        executor.connect()
        yield executor
    finally:
        executor.shutdown(wait=False)


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path_factory.mktemp("dask")) as cluster:
        (cluster.directory / "dask_handlers.py").write_text(HANDLERS)
        cluster.start_scheduler()
        cluster.start_worker()
        cluster.start_worker()
        yield cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    """A cluster that the test may destroy; nothing of it runs yet."""
    with DaskCluster(tmp_path) as own:
        (tmp_path / "dask_handlers.py").write_text(HANDLERS)
        yield own


@pytest.fixture
def handlers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module the cluster's workers have, too."""
    name = "module_cluster" if "module_cluster" in request.fixturenames else "cluster"
    monkeypatch.syspath_prepend(request.getfixturevalue(name).directory)
    import dask_handlers  # type: ignore[import-not-found]  # written by the test

    yield dask_handlers
    del sys.modules["dask_handlers"]


@pytest.fixture
def executor(module_cluster: DaskCluster) -> Iterator[DaskExecutor]:
    with connected(module_cluster.address) as executor:
        executor.client.wait_for_workers(2, timeout=SECONDS)
        yield executor


def test_calls_run_on_all_workers_and_bring_back_what_is_returned(executor: DaskExecutor, handlers: ModuleType) -> None:
    futures = [executor.submit(handlers.process, number) for number in range(40)]
    processes = {future.result(SECONDS) for future in futures}
    assert len(processes) == 2
    assert executor.slots == 2


def test_equal_calls_are_each_done(executor: DaskExecutor, handlers: ModuleType, module_cluster: DaskCluster) -> None:
    futures = [executor.submit(handlers.process, "same") for _ in range(5)]
    assert concurrent.futures.wait(futures, SECONDS).not_done == set()
    assert len(journal(module_cluster.directory, "process same ")) == 5


def test_an_error_comes_back_as_it_was_raised(executor: DaskExecutor, handlers: ModuleType) -> None:
    assert str(executor.submit(handlers.fail, 7).exception(SECONDS)) == "7"


def test_a_lambda_runs_there_too(executor: DaskExecutor) -> None:
    # By the means of Dask; a worker's handlers are sent by their names.
    assert executor.submit(lambda a, b: a - b, 5, b=2).result(SECONDS) == 3


def test_calls_are_named_after_the_function_for_the_dashboard(
    executor: DaskExecutor, handlers: ModuleType, module_cluster: DaskCluster
) -> None:
    future = executor.submit(handlers.wait_for, "named")
    (key,) = executor.client.futures
    (module_cluster.directory / "named").touch()
    assert future.result(SECONDS) == "named"
    assert key.startswith("wait_for-")


def test_a_finished_call_is_forgotten_at_once_without_the_garbage_collector(
    executor: DaskExecutor, handlers: ModuleType
) -> None:
    gc.disable()
    try:
        kept = [executor.submit(handlers.process, number) for number in range(20)]
        assert concurrent.futures.wait(kept, SECONDS).not_done == set()
        until(lambda: not executor.client.futures, "results are released though the futures are kept")
    finally:
        gc.enable()


def test_a_call_that_is_cancelled_before_it_runs_is_not_done(
    executor: DaskExecutor, handlers: ModuleType, module_cluster: DaskCluster
) -> None:
    running = [executor.submit(handlers.wait_for, "open") for _ in range(2)]
    until(lambda: len(journal(module_cluster.directory, "begin open ")) == 2, "both workers are busy")
    queued = [executor.submit(handlers.process, "queued") for _ in range(6)]
    # Dask passes over the cancellation of a call its scheduler has not read yet, and a worker hears of it a little later.
    known = executor.client.run_on_scheduler
    until(lambda: known(lambda dask_scheduler: len(dask_scheduler.tasks)) == 8, "the scheduler knows all calls")
    assert all(future.cancel() for future in queued)
    held = executor.client.run
    until(
        lambda: set(held(lambda dask_worker: len(dask_worker.state.tasks)).values()) == {1},
        "the workers hold what they run, and nothing else",
    )
    (module_cluster.directory / "open").touch()
    assert [future.result(SECONDS) for future in running] == ["open", "open"]
    assert executor.submit(handlers.process, "last").result(SECONDS)
    assert journal(module_cluster.directory, "process queued ") == []


def test_the_scheduler_needs_no_module_of_the_handlers_and_a_worker_that_lacks_one_lives_on(
    cluster: DaskCluster, handlers: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster.start_scheduler()
    worker = cluster.start_worker(directory=tmp_path_factory.mktemp("empty"))
    with connected(cluster.address) as executor:
        executor.client.wait_for_workers(1, timeout=SECONDS)
        error = executor.submit(handlers.process, 1).exception(SECONDS)
        assert type(error) is ClusterError
        assert str(error) == (
            f"A worker of the Dask cluster at {cluster.address} cannot load the handler of step 'process': "
            "ModuleNotFoundError: No module named 'dask_handlers'.\n"
            "Install your project, and the same version of flowdsl, on every worker of the cluster, or start them where "
            "its modules can be imported (PYTHONPATH)."
        )
        assert executor.submit(len, "abc").result(SECONDS) == 3
        assert worker.poll() is None


def test_a_check_refuses_handlers_that_a_worker_cannot_load(
    cluster: DaskCluster, handlers: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster.start_scheduler()
    cluster.start_worker()
    with connected(cluster.address) as executor:
        executor.check([handlers.process])  # nobody there yet who could refuse, or one who can
        executor.client.wait_for_workers(1, timeout=SECONDS)
        executor.check([handlers.process, handlers.fail])
        assert journal(cluster.directory) == [], "a check calls nothing"
        cluster.start_worker(directory=tmp_path_factory.mktemp("empty"))
        executor.client.wait_for_workers(2, timeout=SECONDS)
        with pytest.raises(
            ConfigError, match=r"The worker at tcp://127.0.0.1:\d+ of the Dask cluster .* of step 'fail'"
        ):
            executor.check([handlers.fail])


@pytest.mark.parametrize("allowed_failures", ["3", "0"])
def test_a_call_whose_worker_dies_is_done_again_elsewhere_unless_the_scheduler_allows_no_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed_failures: str
) -> None:
    with DaskCluster(tmp_path, allowed_failures=allowed_failures) as cluster:
        (tmp_path / "dying_handlers.py").write_text(HANDLERS)
        monkeypatch.syspath_prepend(tmp_path)
        import dying_handlers  # type: ignore[import-not-found]  # written by the test

        cluster.start_scheduler()
        worker = cluster.start_worker()
        with connected(cluster.address) as executor:
            future = executor.submit(dying_handlers.wait_for, "gate")
            until(lambda: len(journal(tmp_path, "begin ")) == 1, "the call runs")
            cluster.kill(worker)
            cluster.start_worker()
            (tmp_path / "gate").touch()
            if allowed_failures == "0":
                error = future.exception(SECONDS)
                assert type(error).__name__ == "KilledWorker"
                assert len(journal(tmp_path, "begin ")) == 1
            else:
                assert future.result(SECONDS) == "gate"
                assert len(journal(tmp_path, "begin ")) == 2


@pytest.mark.parametrize("connect_seconds", [1.0, 30.0], ids=["Dask gives up", "Dask connects again by itself"])
def test_a_scheduler_that_goes_away_fails_the_calls_under_way_and_gets_the_later_ones_when_it_is_back(
    cluster: DaskCluster, handlers: ModuleType, connect_seconds: float
) -> None:
    cluster.start_scheduler()
    cluster.start_worker()
    with connected(cluster.address, connect_seconds=30.0) as executor:
        executor._connect_seconds = connect_seconds
        executor.client._timeout = connect_seconds  # how long Dask itself tries to connect again
        under_way = executor.submit(handlers.wait_for, "gate")
        until(lambda: len(journal(cluster.directory, "begin ")) == 1, "the call runs")
        cluster.kill(cluster.scheduler)
        error = under_way.exception(SECONDS)
        assert type(error) is ClusterError
        assert str(error).startswith(
            f"The connection to the Dask cluster at {cluster.address} was lost during the call"
        )
        (cluster.directory / "gate").touch()
        first = executor.client
        if connect_seconds == 1.0:
            until(lambda: first.status == "closed", "Dask's own connection is closed for good")
        later = executor.submit(handlers.process, "later")
        given_up = executor.submit(handlers.process, "given up")
        assert given_up.cancel()
        cluster.start_scheduler()
        cluster.start_worker()
        assert later.result(SECONDS) > 0
        assert executor.submit(handlers.process, "after").result(SECONDS) > 0
        assert (executor.client is first) == (connect_seconds == 30.0)
        if connect_seconds == 1.0:  # a call that Dask itself keeps may be done although it was cancelled in time
            assert journal(cluster.directory, "process given up ") == []


def test_a_call_waits_only_so_long_for_a_scheduler_that_does_not_come_back(
    cluster: DaskCluster, handlers: ModuleType
) -> None:
    cluster.start_scheduler()
    with connected(cluster.address, connect_seconds=5.0, patience_seconds=0.5) as executor:
        executor._connect_seconds = executor.client._timeout = 0.5
        cluster.kill(cluster.scheduler)
        until(lambda: executor.client.status == "closed", "Dask's own connection is closed for good")
        error = executor.submit(handlers.process, 1).exception(SECONDS)
        assert type(error) is ClusterError
        assert str(error).startswith(f"No Dask scheduler answers at {cluster.address} within 0.5 s.\n")


def test_a_call_that_is_taken_back_while_it_cannot_be_sent_holds_up_no_other(
    executor: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [_Job("call", b"", concurrent.futures.Future()) for _ in range(2)]

    def cannot(job: _Job) -> None:
        if job is waiting[0]:
            job.future.cancel()
        raise ClusterError("not now")

    monkeypatch.setattr(executor, "_send", cannot)
    for job in waiting:
        executor._send_late(job)
    assert waiting[0].future.cancelled()
    with pytest.raises(ClusterError, match="not now"):
        waiting[1].future.result(0)


def test_an_executor_that_is_shut_down_while_it_waits_ends_and_takes_back_its_calls(
    cluster: DaskCluster, handlers: ModuleType
) -> None:
    cluster.start_scheduler()
    with connected(cluster.address, connect_seconds=5.0) as executor:
        executor._connect_seconds = executor.client._timeout = 0.5
        cluster.kill(cluster.scheduler)
        until(lambda: executor.client.status == "closed", "Dask's own connection is closed for good")
        waiting = executor.submit(handlers.process, 1)
        executor.shutdown()
        executor.shutdown()
        assert waiting.cancelled()
        with pytest.raises(RuntimeError, match="is shut down"):
            executor.submit(handlers.process, 2)


def test_an_address_where_nobody_listens_is_refused_in_time() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(ClusterError, match=f"^No Dask scheduler answers at {address} within 1 s\\.\n"):
        DaskExecutor(address, connect_seconds=1.0).connect()
    assert time.monotonic() - began < SECONDS / 2


def test_an_address_where_somebody_listens_who_never_answers_is_refused_in_time() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"^No Dask scheduler answers at {address} within 1 s"):
            DaskExecutor(address, connect_seconds=1.0).connect()


@pytest.mark.parametrize("address", ["carrier-pigeon://host:1", "tcp://127.0.0.1:notaport", ""])
def test_an_address_that_is_none_is_refused_when_it_is_written_down(address: str) -> None:
    with pytest.raises(ConfigError, match=f"'{address}' is no address of a Dask scheduler"):
        DaskExecutor(address)


def test_an_address_that_dask_itself_refuses_is_a_mistake_in_the_configuration_and_leaves_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    address = f"tls://127.0.0.1:{free_port()}"  # without any certificate
    with pytest.raises(ConfigError, match=f"'{address}' cannot be used as the address of a Dask scheduler: TLS"):
        DaskExecutor(address, connect_seconds=0.5).connect()
    gc.collect()
    assert ignored == []


def test_an_executor_that_is_made_connects_to_nothing_and_needs_no_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.setblocking(False)
        executor = DaskExecutor(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
        assert str(executor).startswith("the Dask cluster at tcp://127.0.0.1:")
        executor.shutdown()
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_the_first_call_connects_without_holding_up_its_caller(cluster: DaskCluster, handlers: ModuleType) -> None:
    executor = DaskExecutor(cluster.address)
    early = executor.submit(handlers.process, "early")
    assert not early.done()
    cluster.start_scheduler()
    cluster.start_worker()
    assert early.result(SECONDS) > 0
    executor.shutdown(wait=False)


def test_the_first_call_fails_at_once_when_there_is_no_dask(
    handlers: ModuleType, cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    executor = DaskExecutor(cluster.address)
    with pytest.raises(ConfigError, match=r"pip install 'flowdsl\[dask\]'"):
        executor.submit(handlers.process, 1).result(SECONDS)
    with pytest.raises(ConfigError, match=r"pip install 'flowdsl\[dask\]'"):
        executor.submit(lambda: 1).result(SECONDS)
    executor.shutdown()


def test_an_executor_that_is_shut_down_connects_no_more(cluster: DaskCluster) -> None:
    executor = DaskExecutor(cluster.address)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="is shut down"):
        executor.connect()


def test_an_option_that_dask_does_not_know_is_a_mistake_in_the_configuration(module_cluster: DaskCluster) -> None:
    with pytest.raises(ConfigError, match=r"Dask does not know these options: .*nonsense"):
        DaskExecutor(module_cluster.address, nonsense=1).connect()


def test_without_dask_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        ConfigError, match=r"pip install 'flowdsl\[dask\]', or in a checkout of flowdsl: pip install '.\[dask\]'$"
    ):
        DaskExecutor("tcp://127.0.0.1:8786").connect()


def test_the_plain_executor_of_a_client_works_for_who_has_one_where_the_scheduler_knows_the_modules(
    cluster: DaskCluster, handlers: ModuleType
) -> None:
    from distributed import Client

    cluster.start_scheduler(knows_modules=True)
    cluster.start_worker()
    with Client(cluster.address, set_as_default=False) as client:
        executor = client.get_executor(pure=False, retries=0)
        assert executor.submit(handlers.process, 1).result(SECONDS) > 0
