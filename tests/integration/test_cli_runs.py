"""Starting, waiting for, listing, showing and drawing, as a user of the command sees it."""

import os
import pty
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from flowdsl.postgres import PostgresServer
from tests.integration.cli_support import COMMAND, SECONDS, Project, compiled_project, wait_for
from tests.servers import install_core

ORDER = '{"items": ["apple", "fig"]}'
BAD_ORDER = '{"items": ["apple", "bad"]}'


@pytest.fixture
def project(tmp_path: Path, dsn: str) -> Project:
    return compiled_project(tmp_path, dsn)


def test_start_prints_the_id_of_the_run_and_nothing_else_on_stdout(project: Project) -> None:
    outcome = project.ok("start", "invoice", "--input", ORDER)
    run_id = uuid.UUID(outcome.out.strip())
    assert f"pgflow show {run_id} --watch" in outcome.err
    assert project.ok("runs", "--json").json[0]["run_id"] == str(run_id)


def test_start_takes_its_input_from_a_file_or_from_stdin(project: Project) -> None:
    project.write("order.json", '{"items": ["from the file"]}')
    first = project.ok("start", "invoice", "--input", "@order.json").out.strip()
    second = project.ok("start", "flows:invoice", "--input", "-", stdin='{"items": ["from stdin"]}').out.strip()
    inputs = [project.ok("show", run, "--json").json["run"]["input"] for run in (first, second)]
    assert inputs == [{"items": ["from the file"]}, {"items": ["from stdin"]}]


def test_start_with_the_same_run_id_starts_once(project: Project) -> None:
    run_id = str(uuid.uuid4())
    for _ in range(2):
        assert project.ok("start", "invoice", "-i", ORDER, "--run-id", run_id, "--json").json == {
            "run_id": run_id,
            "flow_slug": "invoice",
            "status": "started",
        }
    assert len(project.ok("runs", "--json").json) == 1
    said = project.refused(5, "start", "invoice", "-i", BAD_ORDER, "--run-id", run_id)
    assert run_id in said


def test_start_and_wait_prints_the_output_and_tells_the_steps_on_stderr(project: Project) -> None:
    with project.worker():
        outcome = project.ok("start", "invoice", "--input", ORDER, "--wait", "--timeout", "60")
    assert outcome.json == 8
    completed = {line.split()[0] for line in outcome.err.splitlines() if "  completed" in line}
    assert completed == {"items", "price", "total"}
    assert "2/2" in outcome.err


def test_start_and_wait_as_json_is_one_document(project: Project) -> None:
    with project.worker():
        outcome = project.ok("start", "invoice", "--input", ORDER, "--wait", "--json")
    run_id = outcome.json["run_id"]
    assert outcome.json == {
        "run_id": run_id,
        "flow_slug": "invoice",
        "status": "completed",
        "output": 8,
        "error": None,
        "reason": None,
    }


def test_a_run_that_fails_exits_1_and_tells_step_task_attempt_class_and_message(project: Project) -> None:
    with project.worker():
        said = project.refused(1, "start", "invoice", "--input", BAD_ORDER, "--wait")
        as_json = project.pgflow("start", "invoice", "--input", BAD_ORDER, "--wait", "--json")
        verbose = project.pgflow("start", "invoice", "--input", BAD_ORDER, "--wait", "--verbose")
    assert "failed in step 'price' (task 1, attempt 2): ValueError: no price for [red]" in said
    assert "pgflow show " in said
    assert as_json.code == 1
    error = as_json.json["error"]
    assert {name: error[name] for name in ("step_slug", "task_index", "attempt", "error_class")} == {
        "step_slug": "price",
        "task_index": 1,
        "attempt": 2,
        "error_class": "ValueError",
    }
    assert (as_json.json["status"], as_json.json["output"]) == ("failed", None)
    assert "in price" in verbose.err
    assert verbose.code == 1


def test_what_a_handler_wrote_cannot_act_on_the_terminal(project: Project) -> None:
    with project.worker():
        run = project.pgflow("start", "invoice", "-i", BAD_ORDER, "--wait", "--verbose")
    shown = project.ok("show", str(uuid.UUID(project.ok("runs", "--json").json[0]["run_id"])), "--verbose")
    assert "\x1b" not in run.err + shown.out
    assert "no price for [red]\N{REPLACEMENT CHARACTER}[31mbad" in shown.out


def test_waiting_without_a_worker_says_so_once_and_ends_at_the_timeout(project: Project) -> None:
    said = project.refused(1, "start", "invoice", "-i", ORDER, "--wait", "--timeout", "3")
    assert said.count("No worker serves flow 'invoice'") == 1
    assert "Start it with: pgflow worker" in said
    assert "did not end within 3 s" in said
    assert project.ok("runs", "--json").json[0]["status"] == "started"


def test_ctrl_c_ends_the_wait_and_not_the_run(project: Project) -> None:
    with project.started("start", "invoice", "-i", ORDER, "--wait") as process:
        wait_for(process, "No worker serves")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, "")
    assert "The run goes on" in err
    assert "Traceback" not in err
    assert project.ok("runs", "--json").json[0]["status"] == "started"


def test_waiting_outlives_a_database_that_goes_away(tmp_path: Path, own_server: PostgresServer) -> None:
    install_core(own_server.url())
    project = compiled_project(tmp_path, own_server.url())
    with project.started("start", "invoice", "-i", ORDER, "--wait") as process:
        wait_for(process, "No worker serves")
        own_server.stop()
        wait_for(process, "The database does not answer")
        own_server.start()
        with project.worker():
            out, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, "8\n")


def test_on_a_terminal_progress_is_drawn_over_in_place(project: Project) -> None:
    ours, theirs = pty.openpty()
    with project.worker():
        done = subprocess.run(
            [*COMMAND, "start", "invoice", "-i", ORDER, "--wait"],
            cwd=project.directory, env=project.environment() | {"TERM": "xterm", "COLUMNS": "100"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=theirs, timeout=SECONDS, check=True,
        )  # fmt: skip
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 65_536):
            drawn += chunk
    except OSError:  # Linux: the other end is closed
        pass
    finally:
        os.close(ours)
    assert done.stdout == b"8\n"
    assert b"\x1b[" in drawn
    assert b"price" in drawn
    assert b"2/2" in drawn


def test_show_tells_steps_tasks_attempts_and_errors(project: Project) -> None:
    with project.worker():
        project.pgflow("start", "invoice", "-i", BAD_ORDER, "--wait")
    run = project.ok("runs", "--json").json[0]["run_id"]
    shown = project.ok("show", run).out
    assert f"{run}  invoice v1  failed" in shown
    assert 'input    {"items": ["apple", "bad"]}' in shown
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line}
    assert rows["items"][1:3] == ["completed", "1/1"]
    assert rows["price"][1:3] == ["failed", "2/2"]
    assert rows["price[1]"][1:3] == ["attempt", "1"]
    assert shown.count("price[1] attempt") == 2
    assert "ValueError: no price for" in shown
    assert 'raise ValueError("no price for' in shown
    document = project.ok("show", run, "--json").json
    assert [step["status"] for step in document["steps"]] == ["completed", "failed", "cancelled"]
    assert [attempt["attempt"] for attempt in document["attempts"]] == [2, 1]


def test_show_takes_the_beginning_of_an_id(project: Project) -> None:
    runs = [
        "11111111-0000-4000-8000-000000000001",
        "11111111-0000-4000-8000-000000000002",
        "22222222-0000-4000-8000-000000000003",
    ]
    for run in runs:
        project.ok("start", "invoice", "-i", ORDER, "--run-id", run)
    assert project.ok("show", "2222", "--json").json["run"]["run_id"] == runs[2]
    assert project.ok("show", "11111111000040008000000000000001", "--json").json["run"]["run_id"] == runs[0]
    assert "More than one run begins with '1111'" in project.refused(5, "show", "1111")
    assert "There is no run '3333'" in project.refused(5, "show", "3333")
    assert "'xyz' is not the beginning of a run id" in project.refused(5, "show", "xyz")


def test_watching_a_run_to_its_end_tells_by_the_exit_code_how_it_ended(project: Project) -> None:
    good = project.ok("start", "invoice", "-i", ORDER).out.strip()
    bad = project.ok("start", "invoice", "-i", BAD_ORDER).out.strip()
    with project.worker():
        watched = project.ok("show", good, "--watch")
        failed = project.pgflow("show", bad, "--watch")
    assert "total  completed" in watched.out
    assert failed.code == 1
    assert "failed in step 'price'" in failed.err
    documents = project.ok("show", good, "--watch", "--json").lines
    assert documents[-1]["run"]["status"] == "completed"


def test_runs_are_listed_newest_first_and_can_be_filtered(project: Project) -> None:
    runs = [project.ok("start", "invoice", "-i", ORDER).out.strip() for _ in range(3)]
    assert [row["run_id"] for row in project.ok("runs", "--json").json] == runs[::-1]
    assert [row["run_id"] for row in project.ok("runs", "--limit", "1", "--json").json] == runs[-1:]
    assert project.ok("runs", "--flow", "invoice", "--status", "completed", "--json").json == []
    assert "There are no such runs" in project.ok("runs", "--status", "failed").err
    assert all(run in project.ok("runs", "--flow", "invoice", "--status", "started").out for run in runs)


def test_flows_are_listed_with_their_runs_and_workers(project: Project) -> None:
    project.ok("start", "invoice", "-i", ORDER)
    with project.worker():
        project.ok("start", "invoice", "-i", ORDER, "--wait")
        (row,) = project.ok("flows", "--json").json
    assert (row["flow_slug"], row["flow_version"], row["steps_count"], row["live_workers"]) == ("invoice", 1, 3, 1)
    assert row["runs"] == {"completed": 2}
    assert project.ok("flows").out.split("\n")[1].split()[:4] == ["invoice", "1", "3", "0"]


def test_a_reader_that_has_enough_is_no_error(project: Project) -> None:
    with project.started("core", "--sql") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert said == ""
