"""The worker of examples/foreign_worker.sh: a shell and psql, through the contract's functions alone."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowdsl.postgres import PostgresServer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def environment(server: PostgresServer) -> dict[str, str]:
    """An environment in which `psql` is found: the one that belongs to the server."""
    path = f"{server.programs}{os.pathsep}{os.environ['PATH']}"
    if not shutil.which("psql", path=path):
        pytest.skip("there is no psql")
    return {**os.environ, "PATH": path}


def define_and_start(dsn: str, environment: dict[str, str]) -> str:
    command = ["psql", dsn, "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", str(EXAMPLES / "foreign_worker.sql")]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.split()[-1]


def worker(dsn: str, environment: dict[str, str], seconds: int = 1) -> "subprocess.Popen[str]":
    command = ["sh", str(EXAMPLES / "foreign_worker.sh"), dsn, str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(*workers: "subprocess.Popen[str]") -> None:
    for each in workers:
        output, errors = each.communicate(timeout=100)
        assert (each.returncode, output, errors) == (0, "", "")


def attempts(conn: "psycopg.Connection[Any]") -> list[tuple[Any, ...]]:
    return conn.execute(
        "select step_slug, task_index, attempts_count, status from pgflow.step_tasks order by step_slug, task_index"
    ).fetchall()


def test_the_worker_has_at_most_40_lines() -> None:
    assert len((EXAMPLES / "foreign_worker.sh").read_text().splitlines()) <= 40


def test_a_flow_with_a_map_and_retries_is_completed_without_python_of_ours(
    dsn: str, conn: "psycopg.Connection[Any]", environment: dict[str, str]
) -> None:
    run_id = define_and_start(dsn, environment)
    ended(worker(dsn, environment))
    run = conn.execute("select run_id::text, status, output from pgflow.runs").fetchall()
    assert run == [(run_id, "completed", {"join": "WORKFLOWS IN PLAIN SQL"})]
    assert attempts(conn) == [
        ("join", 0, 1, "completed"),
        *(("shout", i, 2, "completed") for i in range(4)),
        ("split", 0, 1, "completed"),
    ]
    failures = conn.execute("select distinct outcome, error_message from pgflow.task_attempts").fetchall()
    assert failures == [("failed", "hoarse at reading 1")]
    assert conn.execute("select stopped_at is not null from pgflow.workers").fetchall() == [(True,)]


def test_two_of_them_share_the_work_and_do_nothing_twice(
    dsn: str, conn: "psycopg.Connection[Any]", environment: dict[str, str]
) -> None:
    define_and_start(dsn, environment)
    words = " ".join(f"word{i}" for i in range(30))
    conn.execute("select from pgflow.start_flow('headline', to_jsonb(%s::text))", (words,))
    ended(worker(dsn, environment), worker(dsn, environment))
    outputs = conn.execute("select output ->> 'join' from pgflow.runs order by started_at").fetchall()
    assert outputs == [("WORKFLOWS IN PLAIN SQL",), (words.upper(),)]
    assert {(step, count) for step, _, count, _ in attempts(conn)} == {("split", 1), ("shout", 2), ("join", 1)}


def test_it_goes_on_where_a_killed_one_left_off(
    dsn: str, conn: "psycopg.Connection[Any]", environment: dict[str, str]
) -> None:
    define_and_start(dsn, environment)
    # a reader that dies between the two phases
    conn.execute("select from pgflow.read_with_poll('headline', 1, 10, 0)")
    ended(worker(dsn, environment, seconds=3))
    assert conn.execute("select status, output from pgflow.runs").fetchall() == [
        ("completed", {"join": "WORKFLOWS IN PLAIN SQL"})
    ]
