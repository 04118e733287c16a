"""`pgflow worker` as an operator sees it, and the whole road on the embedded database."""

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from flowdsl.embedded import use_embedded
from tests.integration.cli_support import SECONDS, Project, compiled_project, new_project, wait_for
from tests.servers import removed, scratch_directory

ORDER = '{"items": ["apple", "fig"]}'
BAD_ORDER = '{"items": ["bad"]}'


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    return compiled_project(tmp_path, dsn)


def test_log_lines_as_json_carry_run_step_and_attempt(project: Project) -> None:
    with project.started("worker", "flows:invoice", "--log-format", "json") as worker:
        wait_for(worker, "worker started")
        run = json.loads(project.pgflow("start", "invoice", "-i", BAD_ORDER, "--wait", "--json").out)["run_id"]
        worker.terminate()
        _, rest = worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0
    lines = [json.loads(line) for line in rest.splitlines()]
    failed = [line for line in lines if line.get("run_id") == run and "failed" in line["message"]]
    assert [(line["step_slug"], line["task_index"], line["attempt"], line["level"]) for line in failed] == [
        ("price", 0, 1, "info"),
        ("price", 0, 2, "warning"),
    ]


def test_a_worker_is_known_to_the_database_by_its_name_while_it_lives(project: Project, dsn: str) -> None:
    query = "select function_name, stopped_at is not null from pgflow.workers"
    with project.worker("--name", "till 3"), psycopg.connect(dsn) as conn:
        assert conn.execute(query).fetchall() == [("till 3", False)]
    with psycopg.connect(dsn) as conn:
        assert conn.execute(query).fetchall() == [("till 3", True)]


def test_a_worker_serves_only_the_queues_it_is_told_to(project: Project) -> None:
    with project.worker("--queue", "elsewhere"):
        assert project.pgflow("start", "invoice", "-i", ORDER, "--wait", "--timeout", "2").code == 1
    with project.worker("--queue", "elsewhere", "--queue", "invoice"):
        run = project.ok("runs", "--json").json[0]["run_id"]
        assert project.ok("show", run, "--watch").code == 0


def test_two_workers_share_the_work_of_one_run(project: Project) -> None:
    order = json.dumps({"items": ["x"] * 200})
    with project.worker("--batch", "1", "-c", "1"), project.worker("--batch", "1", "-c", "1"):
        assert project.ok("start", "invoice", "-i", order, "--wait").json == 200


def test_a_second_signal_ends_a_worker_whose_handler_does_not(project: Project, dsn: str) -> None:
    with project.started("worker") as worker, psycopg.connect(dsn, autocommit=True) as conn:
        wait_for(worker, "worker started")
        project.ok("start", "invoice", "--input", '{"items": ["endless"]}')
        price = "select exists (select from pgflow.step_tasks where step_slug = 'price' and status = %s)"
        while conn.execute(price, ("started",)).fetchone() == (False,):
            conn.execute("select pg_sleep(0.01)")
        worker.terminate()
        wait_for(worker, "worker is draining")
        worker.terminate()
        _, rest = worker.communicate(timeout=SECONDS)
        assert worker.returncode == 1
        assert "leaving handlers that do not end: price" in rest
        assert conn.execute(price, ("queued",)).fetchone() == (True,)


def test_from_an_empty_folder_to_a_finished_run_without_naming_a_database() -> None:
    with removed(scratch_directory()) as directory:
        project = new_project(directory / "shop", None)
        project.ok("init")
        project.ok("compile")
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=project.directory, env=project.environment(), capture_output=True, timeout=SECONDS, check=True,
        )  # fmt: skip
        with project.worker():
            outcome = project.ok("start", "invoice", "--input", ORDER, "--wait")
        assert outcome.json == 8
        assert outcome.err.count("Using the embedded PostgreSQL in ") == 1
        (run,) = project.ok("runs", "--json").json
        assert run["status"] == "completed"
        lease = use_embedded(project.directory / ".pgflow")
        lease.release()
        assert not lease.server.is_running()
