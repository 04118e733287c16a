"""A worker whose handlers run on a Dask cluster: a scheduler and workers that are real processes, and the command."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.cli_support import Project, new_project, wait_for
from tests.integration.dask_support import DaskCluster, free_port, journal, until

pytest.importorskip("distributed", reason="the extra flowdsl[dask] is not installed")

FLOWS = """
import os
import time
from pathlib import Path

from pydantic import BaseModel
from flowdsl import Context, Flow, collect

DIRECTORY = Path(__file__).parent


class Square(BaseModel):
    number: int
    square: int


def note(*words):
    with (DIRECTORY / "journal").open("ab", buffering=0) as journal:
        journal.write((" ".join(map(str, words)) + "\\n").encode())


def square(number: int, context: Context) -> Square:
    note("begin", number, os.getpid(), context.attempt)
    while number >= 10 and not (DIRECTORY / "gate").exists():
        time.sleep(0.01)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return Square(number=number, square=number * number)


async def total(squares: list[Square]) -> int:
    note("total", os.getpid())
    return sum(each.square for each in squares)


squares = (
    Flow("squares", list[int], max_attempts=3, base_delay=0, timeout=60)
    .map(square).step(total, collect(square)).returns(total)
)
"""


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    project = new_project(tmp_path, dsn, FLOWS)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(project.ok("compile", "--sql").out.encode())
    return project


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path) as own:
        own.start_scheduler()
        yield own


def started(project: Project, numbers: list[int]) -> str:
    run_id: str = json.loads(project.ok("start", "squares", "-i", json.dumps(numbers), "--json").out)["run_id"]
    return run_id


def output(project: Project, dsn: str, run_id: str) -> Any:
    project.ok("show", run_id, "--watch")
    with psycopg.connect(dsn) as conn:
        row = conn.execute("select output from pgflow.runs where run_id = %s", (run_id,)).fetchone()
    assert row is not None
    return row[0]


def attempts(dsn: str) -> dict[int, int]:
    query = "select task_index, attempts_count from pgflow.step_tasks where step_slug = 'square'"
    with psycopg.connect(dsn) as conn:
        return dict(conn.execute(query).fetchall())


def two_workers(cluster: DaskCluster) -> None:
    from distributed import Client

    cluster.start_worker()
    cluster.start_worker()
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)


@pytest.mark.parametrize("allowed_failures", ["3", "0"])
def test_a_worker_of_the_cluster_that_is_killed_in_the_middle_of_a_map_costs_executions_but_no_result(
    project: Project, dsn: str, tmp_path: Path, allowed_failures: str
) -> None:
    with DaskCluster(tmp_path, allowed_failures=allowed_failures) as cluster:
        cluster.start_scheduler()
        two_workers(cluster)
        numbers = list(range(30))  # from 10 on they wait for the gate, so both workers hold one when one is killed
        with project.worker("--executor", f"dask:{cluster.address}", "-c", "8"):
            run_id = started(project, numbers)
            until(lambda: len(waiting(tmp_path)) == 2, "both workers of the cluster hold an element at the gate")
            victim = cluster.workers[0]
            cluster.kill(victim)
            (tmp_path / "gate").touch()
            assert output(project, dsn, run_id) == sum(number * number for number in numbers)
    begun = journal(tmp_path, "begin ")
    executions = Counter(int(words[1]) for words in begun)
    assert set(executions) == set(numbers)
    assert {int(words[2]) for words in begun} == {worker.pid for worker in cluster.workers}
    # What ran on the killed worker was run twice, and nothing else was.
    lost = [int(words[1]) for words in begun if int(words[2]) == victim.pid][-1]
    assert executions == Counter(numbers) + Counter([lost])
    counted = attempts(dsn)
    if allowed_failures == "3":
        # Dask ran it again by itself, inside of the same attempt.
        assert set(counted.values()) == {1}
        assert {words[3] for words in begun} == {"1"}
    else:
        # It was reported as KilledWorker, and so were those that lay on the killed worker and had not begun.
        assert counted[lost] == 2
        assert max(counted.values()) == 2
        assert [words[3] for words in begun if int(words[1]) == lost] == ["1", "2"]


def waiting(directory: Path) -> list[list[str]]:
    return [words for words in journal(directory, "begin ") if int(words[1]) >= 10]


def test_a_scheduler_that_goes_away_costs_attempts_but_neither_the_worker_nor_the_run(
    project: Project, dsn: str, cluster: DaskCluster, tmp_path: Path
) -> None:
    two_workers(cluster)
    with project.worker("--executor", f"dask:{cluster.address}", "-c", "4") as worker:
        run_id = started(project, [10, 11])
        until(lambda: len(waiting(tmp_path)) == 2, "both elements run")
        cluster.kill(cluster.scheduler)
        said = wait_for(worker, "attempt 1 of 3 of step 'square' failed")
        assert (
            f"ClusterError: The connection to the Dask cluster at {cluster.address} was lost during the call"
            in json.loads(said[-1])["message"]
        )
        (tmp_path / "gate").touch()
        cluster.start_scheduler()
        cluster.start_worker()
        assert output(project, dsn, run_id) == 221
        assert set(attempts(dsn).values()) == {2}
        assert worker.poll() is None


def test_a_handler_that_fails_on_the_cluster_fails_its_attempt_as_anywhere_else(
    project: Project, cluster: DaskCluster
) -> None:
    two_workers(cluster)
    with project.worker("--executor", f"dask:{cluster.address}"):
        failed = project.pgflow("start", "squares", "-i", "[1, -4]", "--wait")
    assert failed.code == 1
    assert "ValueError: -4 is negative" in failed.err
    run_id = project.ok("runs", "--json").json[0]["run_id"]
    assert "in square" in project.ok("show", run_id).out, "the traceback is that of the handler"


def test_handlers_that_the_cluster_does_not_know_are_refused_before_the_worker_starts(
    project: Project, cluster: DaskCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from distributed import Client

    cluster.start_worker(directory=tmp_path_factory.mktemp("empty"))
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
    said = project.refused(3, "worker", "--executor", f"dask:{cluster.address}")
    assert (
        f"Each worker of the Dask cluster at {cluster.address} cannot load the handler of step 'square': "
        "ModuleNotFoundError: No module named 'flows'." in said
    )
    assert "Install your project, and the same version of flowdsl, on every worker of the cluster" in said


def on_dask(address: str) -> str:
    text = FLOWS.replace("timeout=60)", f'timeout=60, executor=DaskExecutor("{address}", connect_seconds=5))')
    return text.replace("from flowdsl import", "from flowdsl.clusters.dask import DaskExecutor\nfrom flowdsl import")


def line_of(part: str) -> int:
    return next(number for number, line in enumerate(on_dask("").splitlines(), 1) if part in line)


def test_a_flow_with_an_executor_of_its_own_runs_there(project: Project, cluster: DaskCluster, tmp_path: Path) -> None:
    two_workers(cluster)
    project.write("flows.py", on_dask(cluster.address))
    with project.worker():
        assert project.ok("start", "squares", "-i", "[1, 2, 3]", "--wait").json == 14
    processes = {int(words[-1 if words[0] == "total" else 2]) for words in journal(tmp_path)}
    assert processes <= {worker.pid for worker in cluster.workers}


def test_only_the_worker_needs_the_cluster_of_a_flow_and_it_names_the_flow_where_that_does_not_answer(
    project: Project, tmp_path: Path
) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    project.write("flows.py", on_dask(address))
    assert "no problems" in project.ok("check").out
    assert "squares" in project.ok("graph", "squares").out
    project.ok("start", "squares", "-i", "[1]")
    said = project.refused(4, "worker")
    where = f"flow 'squares', step 'square' (flows.py:{line_of('.map(square)')}), and 1 more step"
    assert f"{where}: No Dask scheduler answers at {address} within 5 s.\nStart one: dask scheduler" in said


def test_a_wrong_address_in_a_program_is_told_with_the_line_of_the_program(project: Project) -> None:
    project.write("flows.py", on_dask("tcp://127.0.0.1"))
    outcome = project.pgflow("check")
    assert outcome.code == 1
    assert f"flows.py:{line_of('DaskExecutor(')}: PF-E133" in outcome.out
    assert "'tcp://127.0.0.1' is no address of a Dask scheduler: there is no port in it." in outcome.out


def test_a_cluster_that_does_not_answer_is_refused(project: Project) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    said = project.refused(4, "worker", "--executor", f"dask:{address}")
    assert f"No Dask scheduler answers at {address} within 10 s." in said


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("tread", "Did you mean 'thread'? Choose from async, thread, process, dask:ADDRESS, ray:ADDRESS."),
        ("dsk:tcp://host:8786", "Did you mean 'dask'? Choose from"),
        ("celery", "there is no executor 'celery'. Choose from"),
        ("dask", "'dask' lacks the address, such as dask:tcp://HOST:8786"),
        ("dask:", "'dask:' lacks the address"),
        ("dask:tcp://127.0.0.1", "there is no port in it. Write dask:tcp://HOST:8786"),
        (
            "dask:foo://h:1",
            "does not begin with one of tcp://, tls://, ws://, wss://, ucx://. Write dask:tcp://HOST:8786",
        ),
        ("ray:head", "'head' is no address of a Ray cluster: there is no port in it. Write ray:HOST:6379"),
    ],
)
def test_an_executor_that_does_not_exist_is_refused_with_those_that_do(project: Project, value: str, hint: str) -> None:
    outcome = project.pgflow("worker", "--executor", value)
    assert (outcome.code, outcome.out) == (2, "")
    assert hint in " ".join(outcome.err.replace("│", " ").split())


@pytest.mark.parametrize(("kind", "library"), [("dask", "distributed"), ("ray", "ray")])
def test_a_cluster_whose_library_is_not_installed_is_refused_with_the_line_that_installs_it(
    project: Project, kind: str, library: str
) -> None:
    # A module that cannot be imported, found before the real one.
    project.write(f"{library}.py", f"raise ModuleNotFoundError('no {library}', name='{library}')")
    said = project.refused(3, "worker", "--executor", f"{kind}:127.0.0.1:1")
    assert f"pip install 'flowdsl[{kind}]'" in said


@pytest.mark.parametrize("executor", ["async", "thread", "process"])
def test_a_worker_runs_handlers_where_it_is_told_to(project: Project, tmp_path: Path, executor: str) -> None:
    with project.worker(
        "--executor", executor, "--processes", "1", "--no-pulse", "--poll", "0.1", "--no-listen"
    ) as worker:
        assert project.ok("start", "squares", "-i", "[1, 2, 3]", "--wait").json == 14
    processes = {int(words[-1 if words[0] == "total" else 2]) for words in journal(tmp_path)}
    assert (processes == {worker.pid}) == (executor != "process")
    assert os.getpid() not in processes
