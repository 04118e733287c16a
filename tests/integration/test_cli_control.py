"""Cancelling, retrying, explaining and showing what became of it, as a user of the command sees it."""

import uuid
from pathlib import Path

import psycopg
import pytest

from tests.integration.cli_support import SECONDS, Project, compiled_project, wait_for

ORDER = '{"items": ["apple", "fig"]}'
BAD_ORDER = '{"items": ["apple", "bad"]}'
ENDLESS_ORDER = '{"items": ["endless"]}'


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    return compiled_project(tmp_path, dsn)


def started(project: Project, order: str = ORDER) -> str:
    return project.ok("start", "invoice", "--input", order).out.strip()


def failed(project: Project) -> str:
    """Start a run that fails, and return its id when it has."""
    with project.worker():
        outcome = project.pgflow("start", "invoice", "--input", BAD_ORDER, "--wait", "--json")
    assert outcome.json["status"] == "failed"
    return str(outcome.json["run_id"])


def test_a_run_is_cancelled_by_the_beginning_of_its_id_and_shows_the_reason(project: Project) -> None:
    run_id = started(project)
    outcome = project.ok("cancel", run_id[:13], "--reason", "wrong customer")
    assert outcome.out == ""
    assert f"Run {run_id} of flow 'invoice' is cancelled: wrong customer" in outcome.err
    assert project.ok("cancel", run_id, "--reason", "again", "--json").json == {
        "run_id": run_id,
        "flow_slug": "invoice",
        "status": "cancelled",
        "end_reason": "wrong customer",
    }
    shown = project.ok("show", run_id).out.splitlines()
    assert "because  wrong customer" in shown
    run = project.ok("show", run_id, "--json").json["run"]
    assert (run["status"], run["end_reason"], run["retried_count"]) == ("cancelled", "wrong customer", 0)


def test_a_run_that_has_completed_cannot_be_cancelled(project: Project) -> None:
    with project.worker():
        run_id = project.ok("start", "invoice", "--input", ORDER, "--wait", "--json").json["run_id"]
    assert "had completed before" in project.refused(1, "cancel", run_id)
    as_json = project.pgflow("cancel", run_id, "--json")
    assert (as_json.code, as_json.json["status"]) == (1, "completed")


def test_waiting_for_a_run_that_is_cancelled_ends_with_1_and_the_reason(project: Project) -> None:
    with project.started("start", "invoice", "--input", ORDER, "--wait") as waiting:
        lines = wait_for(waiting, "started.")
        run_id = lines[-1].split()[1]
        project.ok("cancel", run_id, "--reason", "too expensive")
        out, err = waiting.communicate(timeout=SECONDS)
    assert (waiting.returncode, out) == (1, "")
    assert f"error: run {run_id} of flow 'invoice' was cancelled: too expensive" in err
    assert "Traceback" not in err
    again = project.pgflow("start", "invoice", "--input", ORDER, "--run-id", run_id, "--wait", "--json")
    assert (again.code, again.json["status"], again.json["reason"]) == (1, "cancelled", "too expensive")
    watched = project.pgflow("show", run_id, "--watch")
    assert watched.code == 1
    assert "was cancelled: too expensive" in watched.err


def test_a_cancelled_handler_that_never_ends_does_not_keep_others_from_running(project: Project) -> None:
    with project.started("worker", "--lease", "1", "--log-format", "json", "--grace", "0", stdout=None) as worker:
        wait_for(worker, "worker started")
        run_id = started(project, ENDLESS_ORDER)
        project.ok("show", run_id)
        for _ in range(100):
            if any(task["status"] == "started" for task in project.ok("show", run_id, "--json").json["tasks"]):
                break
        project.ok("cancel", run_id)
        wait_for(worker, "is cancelled: its run has ended")
        assert project.ok("start", "invoice", "--input", ORDER, "--wait").json == 8
        worker.terminate()
        assert worker.wait(timeout=SECONDS) == 1


def test_a_failed_run_is_retried_and_keeps_its_finished_steps(project: Project, dsn: str) -> None:
    run_id = failed(project)
    shown = project.ok("show", run_id).out
    assert "ELEMENT" in shown
    assert '"bad"' in shown
    project.write("flows.py", (project.directory / "flows.py").read_text().replace('== "bad"', '== "worse"'))
    outcome = project.ok("retry", run_id[:8])
    assert outcome.out == ""
    assert f"Follow it with: pgflow show {run_id} --watch" in outcome.err
    with project.worker():
        assert project.ok("show", run_id, "--watch").out.splitlines()[-1] == f"completed: {run_id}"
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "select step_slug, task_index, attempts_count from pgflow.step_tasks order by 1, 2"
        ).fetchall()
    assert rows == [("items", 0, 1), ("price", 0, 1), ("price", 1, 1), ("total", 0, 1)]
    assert "retried  1 time" in project.ok("show", run_id).out


def test_a_completed_run_runs_again_from_a_step(project: Project) -> None:
    with project.worker():
        run_id = project.ok("start", "invoice", "--input", ORDER, "--wait", "--json").json["run_id"]
        said = project.refused(5, "retry", run_id)
        assert "completed" in said
        assert "--from" in said or "step" in said
        assert project.ok("retry", run_id, "--from", "price", "--json").json["status"] == "started"
        assert project.ok("show", run_id, "--watch").code == 0
    assert project.ok("show", run_id, "--json").json["run"]["output"] == 8


def test_what_cannot_be_retried_cancelled_or_explained_is_refused_with_5(project: Project) -> None:
    run_id = started(project)
    assert "open" in project.refused(5, "retry", run_id)
    project.ok("cancel", run_id)
    assert "no step" in project.refused(5, "retry", run_id, "--from", "prize")
    unknown = str(uuid.uuid4())
    for command in ("cancel", "retry", "explain"):
        assert f"There is no run '{unknown}'" in project.refused(5, command, unknown)
        assert "not the beginning of a run id" in project.refused(5, command, "latest")


def test_explain_says_what_each_open_step_waits_for(project: Project) -> None:
    run_id = started(project)
    lines = project.ok("explain", run_id[:8]).out.splitlines()
    assert lines[0].split()[:3] == ["STEP", "WAITS", "FOR"]
    by_step = {line.split()[0]: line for line in lines[1:]}
    assert "no worker" in by_step["items[0]"]
    assert "dependency" in by_step["price"]
    assert "dependency" in by_step["total"]
    found = project.ok("explain", run_id, "--json").json
    assert {(one["step_slug"], one["task_index"], one["waits_for"]) for one in found} == {
        ("items", None, "no_worker"),
        ("items", 0, "no_worker"),
        ("price", None, "dependency"),
        ("total", None, "dependency"),
    }
    assert set(found[0]) == {
        "step_slug", "task_index", "status", "waits_for", "detail", "since", "until", "worker_id",
    }  # fmt: skip


def test_explain_shows_a_few_tasks_of_each_step_and_counts_them_all(project: Project, dsn: str) -> None:
    run_id = started(project, '{"items": ["a", "b", "c", "d", "e", "f", "g"]}')
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "update pgflow.step_tasks set status = 'started', started_at = queued_at, fence = 1 where step_slug = 'items'"
        )
        conn.execute("select pgflow.complete_task(%s, 'items', 0, '[1, 2, 3, 4, 5, 6, 7]')", (run_id,))
    lines = [line.split()[0] for line in project.ok("explain", run_id).out.splitlines()[1:]]
    assert lines == ["price", *(f"price[{index}]" for index in range(5)), "…", "total"]
    assert len(project.ok("explain", run_id, "--json").json) == 1 + 7 + 1


def test_explain_says_that_a_run_has_ended_and_why(project: Project) -> None:
    run_id = started(project)
    project.ok("cancel", run_id, "--reason", "wrong customer")
    (ended,) = project.ok("explain", run_id, "--json").json
    assert "wrong customer" in ended["detail"]
    assert "wrong customer" in project.ok("explain", run_id).out


def test_a_run_of_an_old_version_without_workers_is_explained_so(project: Project, dsn: str) -> None:
    run_id = started(project)
    project.write("flows.py", (project.directory / "flows.py").read_text().replace(".returns(total)", ""))
    with psycopg.connect(dsn, autocommit=True) as conn:
        # without migration files the compiler knows of no version before
        conn.execute(project.ok("compile", "--sql").out.replace("version => 1", "version => 2").encode())
    with project.worker():
        (items,) = [one for one in project.ok("explain", run_id, "--json").json if one["task_index"] is not None]
        assert (items["step_slug"], items["waits_for"]) == ("items", "no_worker")
        assert "version 1" in items["detail"]


def test_a_deadline_ends_a_run_and_is_shown_before_and_after(project: Project, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("select pgflow.set_flow_options('invoice', deadline => 3600)")
        run_id = started(project)
        assert "deadline " in project.ok("show", run_id).out
        conn.execute("update pgflow.runs set deadline_at = now() - interval '1 second'")
    with project.worker("--queue", "elsewhere"):
        said = project.pgflow("show", run_id, "--watch")
    assert said.code == 1
    assert "DeadlineExceeded: deadline of" in said.err
    assert "because  deadline of" in project.ok("show", run_id).out


def test_a_skipped_step_is_shown_with_why(project: Project, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("update pgflow.steps set when_exhausted = 'skip-cascade' where step_slug = 'price'")
    with project.worker():
        outcome = project.ok("start", "invoice", "--input", BAD_ORDER, "--wait")
    skipped = {line.split()[0] for line in outcome.err.splitlines() if "  skipped" in line}
    assert skipped == {"price", "total"}
    run_id = project.ok("runs", "--json").json[0]["run_id"]
    shown = project.ok("show", run_id).out
    assert "its handler failed; no price for [red]" in shown
    assert "a step before it was skipped" in shown


def test_a_worker_with_a_retention_deletes_old_runs(project: Project, dsn: str) -> None:
    run_id = started(project)
    project.ok("cancel", run_id)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "update pgflow.runs set started_at = started_at - interval '3 days', cancelled_at = cancelled_at - interval '3 days'"
        )
    with project.started("worker", "--retention", "2.5", "--log-format", "json", stdout=None) as worker:
        wait_for(worker, "deleted 1 runs")
        worker.terminate()
        assert worker.wait(timeout=SECONDS) == 0
    assert "There is no run" in project.refused(5, "show", run_id)
    assert project.pgflow("worker", "--retention", "-1").code == 2
    assert "retention" in project.pgflow("worker", "--retention", "0").err
    assert project.pgflow("worker", "--retention", "1e300").code == 2
