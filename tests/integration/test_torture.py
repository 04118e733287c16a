"""`pgflow torture`, end to end: what it reports, that it notices a broken core, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from flowdsl.cli.app import app
from flowdsl.postgres import PostgresServer
from flowdsl.torture import drill, torment, users
from tests.integration.cli_support import COMMAND

SECONDS = 180.0
CLAIMS = {
    "no run was lost or started twice",
    "every run ended as it should, none is stuck",
    "every output is right",
    "no step ran again after it had completed",
    "only the current claim's result was taken",
    "every step saw what its dependencies kept",
    "no task used more attempts than it may",
    "nothing is left running, and every counter agrees",
    "check_invariants() finds nothing",
    "clients met no error but outages",
}
# Results are taken whoever hands them in, and no worker hears that it has lost its tasks.
NO_FENCE = """
create or replace function pgflow.lost_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], fences bigint[]
) returns setof pgflow.task_refusal
language sql return null::pgflow.task_refusal;
do $do$ begin
  execute replace(pg_get_functiondef('pgflow.complete_tasks'::regproc), 'complete_tasks', 'sound_complete_tasks');
end $do$;
create or replace function pgflow.complete_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], fences bigint[], outputs jsonb[]
) returns setof pgflow.task_refusal
language sql
as $fn$
  select * from pgflow.sound_complete_tasks($1, $2, $3, array(
    select coalesce(t.fence, i.fence)
    from unnest($1, $2, $3, $4) with ordinality i(run_id, step_slug, task_index, fence, number)
    left join pgflow.step_tasks t
      on t.run_id = i.run_id and t.step_slug = i.step_slug and t.task_index = i.task_index
    order by i.number), $5);
$fn$;
"""
# Nothing comes back from workers that died.
NO_RECOVERY = """
create or replace function pgflow.run_sweep(sweep text, max_rows int default 1000, retention interval default null) returns int
language sql return null::int;
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for temporary files that must be empty at the end; short, for sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="t") as directory:
        path = Path(directory)
        path.chmod(0o755)
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", directory)
        monkeypatch.delenv("DATABASE_URL", raising=False)
        yield path
        assert list(path.iterdir()) == []
    del tmp_path


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, "torture", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def tortured(*arguments: str) -> tuple[int, Any, str]:
    process = started("--json", *arguments)
    try:
        out, said = process.communicate(timeout=SECONDS)
    finally:
        process.terminate()
    assert out, said
    return process.returncode, json.loads(out), said


def test_a_torture_reports_what_was_killed_how_long_it_took_and_what_held() -> None:
    code, report, said = tortured("--seconds", "10", "--seed", "5")
    assert [claim for claim in report["claims"] if not claim["held"]] == []
    assert (code, report["held"]) == (0, True)
    assert {claim["claim"] for claim in report["claims"]} == CLAIMS
    assert (report["seed"], report["workers"], report["notes"]) == (5, 3, [])
    assert report["server"].startswith("PostgreSQL ")
    assert sum(times for what, times in report["kills"].items() if what.startswith("SIGKILL in ")) > 0
    assert report["runs"]["completed"] > 10
    assert set(report["runs"]) <= {"completed", "failed", "cancelled"}
    assert report["tasks"] > report["runs"]["completed"]
    assert report["handlers_started"] >= report["tasks"]
    recovery = report["recovery_seconds"]["from any kill to the next completion"]
    assert 0 <= recovery["p50"] <= recovery["p95"] <= recovery["max"]
    assert "letting everything finish: " in said
    assert "Traceback" not in said


def test_a_server_that_is_named_is_used_in_a_database_of_its_own_and_not_stopped(server: PostgresServer) -> None:
    with psycopg.connect(server.url(), autocommit=True) as conn:
        databases = conn.execute("select datname from pg_database order by 1").fetchall()
        code, report, said = tortured("--seconds", "3", "--workers", "1", "--database-url", server.url())
        assert (code, report["held"]) == (0, True), (report, said)
        assert not any(what.startswith("server stopped") for what in report["kills"])
        assert conn.execute("select datname from pg_database order by 1").fetchall() == databases


@pytest.mark.parametrize(
    ("sabotage", "act", "claim", "settle"),
    [
        (NO_FENCE, "freeze", "only the current claim's result was taken", 60.0),
        (NO_RECOVERY, "kill", "every run ended as it should, none is stuck", 10.0),
    ],
    ids=["without a fence", "without recovery"],
)
def test_a_broken_core_is_noticed(
    sabotage: str, act: str, claim: str, settle: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = partial(drill.Plan, sabotage=sabotage, acts=(act,), settle_seconds=settle)
    monkeypatch.setattr(drill, "Plan", broken)
    # Handlers that are still running when their worker wakes up, and others awake to take its tasks meanwhile.
    monkeypatch.setattr(users, "WEIGHTS", {"torture_slow": 1})
    monkeypatch.setattr(torment, "PAUSE_SECONDS", 2.0)
    for seed in ("1", "2", "3"):
        # A drill that is held up by the machine comes to few blows, and may strike none of them in the right moment.
        result = CliRunner().invoke(app, ["torture", "--seconds", "12", "--seed", seed, "--json"])
        if result.exit_code:
            break
    assert result.exit_code == 1, result.stderr
    report = json.loads(result.stdout)
    assert report["held"] is False
    assert claim in {one["claim"] for one in report["claims"] if not one["held"]}
    assert all(one["evidence"] for one in report["claims"] if not one["held"])


def processes_below(directory: Path) -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(directory) in environment or str(directory) in command:
            found.append(command)
    return found


def wait_for(process: "subprocess.Popen[str]", beginning: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return


def assert_nothing_is_left(temporary: Path) -> None:
    deadline = time.monotonic() + 30
    while (left := processes_below(temporary)) or any(temporary.iterdir()):
        assert time.monotonic() < deadline, (left, [*temporary.iterdir()])
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=["int", "term", "kill"]
)
def test_a_torture_that_is_ended_leaves_no_process_and_no_file(
    temporary: Path, number: signal.Signals, code: int
) -> None:
    process = started("--seconds", "60")
    wait_for(process, "torturing: ")
    time.sleep(1)
    process.send_signal(number)
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert_nothing_is_left(temporary)


def test_a_torture_that_is_killed_while_it_prepares_leaves_no_process_and_no_file(temporary: Path) -> None:
    process = started("--seconds", "60")
    wait_for(process, "preparing: ")
    process.kill()
    process.communicate(timeout=SECONDS)
    assert_nothing_is_left(temporary)


def test_a_torture_of_a_named_server_that_is_killed_leaves_no_database_and_no_file(
    temporary: Path, server: PostgresServer
) -> None:
    with psycopg.connect(server.url(), autocommit=True) as conn:
        databases = conn.execute("select datname from pg_database order by 1").fetchall()
        process = started("--seconds", "60", "--workers", "1", "--database-url", server.url())
        wait_for(process, "torturing: ")
        process.kill()
        process.communicate(timeout=SECONDS)
        assert_nothing_is_left(temporary)
        assert conn.execute("select datname from pg_database order by 1").fetchall() == databases
