"""The audit of the real standard library, with a worker that is killed in the middle of it."""

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from examples.stdlib_audit import AuditRequest, list_modules
from tests.integration.examples_support import EXAMPLES, Project
from tests.integration.test_examples_flows import reported_files

FLOW = str(EXAMPLES / "stdlib_audit.py")
COUNTS = "select status, count(*) from pgflow.step_tasks where step_slug = 'audit_module' group by status"
RUN_STATUS = "select status from pgflow.runs"


def counts(conn: "psycopg.Connection[Any]") -> Counter[str]:
    return Counter(dict(conn.execute(COUNTS).fetchall()))


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str) -> Project:
    project = Project(tmp_path, empty_dsn)
    project.prepare(EXAMPLES / "stdlib_audit.py")
    return project


def test_an_audit_whose_worker_is_killed_completes_with_every_file_exactly_once(
    project: Project, empty_dsn: str
) -> None:
    # Few at a time, so that the kill comes long before the end, however fast the machine is.
    few = ("--concurrency", "4", "--batch", "4", "--lease", "2")
    files = [source.name for source in list_modules(AuditRequest(directory="report"))]
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        with project.worker(FLOW, *few) as first:
            project.run("pgflow", "start", FLOW, "--input", '{"directory": "report"}')
            deadline = time.monotonic() + 60
            while counts(conn)["completed"] < 50:
                assert time.monotonic() < deadline, (project.directory / "worker.log").read_text()
                time.sleep(0.01)
            first.send_signal(signal.SIGKILL)
            first.wait()
        left = counts(conn)
        assert left["completed"] < len(files) // 2
        assert left["started"] > 0
        assert conn.execute(RUN_STATUS).fetchall() == [("started",)]

        with project.worker(FLOW, "--lease", "2"):
            deadline = time.monotonic() + 90
            while conn.execute(RUN_STATUS).fetchall() == [("started",)]:
                assert time.monotonic() < deadline, (project.directory / "worker.log").read_text()
                time.sleep(0.05)
        assert conn.execute(RUN_STATUS).fetchall() == [("completed",)]
        assert counts(conn) == Counter(completed=len(files))
        [(requeued,)] = conn.execute("select count(*) from pgflow.step_tasks where requeued_count > 0").fetchall()
        assert requeued > 0
        [(output,)] = conn.execute("select output from pgflow.runs").fetchall()

    assert output["files"] == len(files)
    report = (project.directory / "report" / "report.md").read_text()
    assert Counter(reported_files(report)) == Counter(files)
    assert f"\n{len(files):,} files, {output['unreadable']} of them unreadable.\n" in report
    shown = json.loads(project.run("pgflow", "runs", "--json"))
    assert [run["status"] for run in shown] == ["completed"]
