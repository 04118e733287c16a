"""Runs, workers and connections of an older core go on after the upgrade, and through it."""

import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowdsl.core import manifest
from tests.sql.engine import Engine, Row

from .support import RELEASED, Call, assert_sound, install_released, upgrade, version

FLOWS = ("line", "fan", "patient", "once", "later")


@pytest.fixture(params=RELEASED, ids=lambda path: path.stem)
def from_version(request: pytest.FixtureRequest, empty_dsn: str) -> int:
    path: Path = request.param
    install_released(empty_dsn, path)
    return version(path)


@pytest.fixture
def engine(empty_dsn: str, from_version: int) -> Iterator[Engine]:
    """A worker of the older core; its connection was open before the upgrade."""
    assert from_version
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        yield Engine(conn)


def define(engine: Engine) -> None:
    engine.flow("line", {"a": (), "b": ("a",)})
    engine.flow("fan", {"items": (), "each": ("items",), "join": ("each",)}, maps=["each"])
    engine.flow("patient", {"a": (), "b": ("a",)}, base_delay=600, max_attempts=2)
    engine.flow("once", {"a": (), "b": ("a",)}, max_attempts=1)
    engine.conn.execute("select pgflow.create_flow('later', fingerprint => 'shape')")
    engine.conn.execute("select pgflow.add_step('later', 'a', start_delay => 600)")
    engine.serve(*FLOWS)


def outputs(task: Row) -> object:
    return [1, 2, 3] if task["step_slug"] == "items" else task["step_slug"]


def claimed(engine: Engine, run_id: uuid.UUID, **options: Any) -> Row:
    """Claim, and return the one task of this run."""
    (task,) = [task for task in engine.claim(**options) if task["run_id"] == run_id]
    return task


def test_runs_of_every_state_end_as_they_should(engine: Engine, from_version: int, empty_dsn: str) -> None:
    define(engine)
    completed = engine.start("line")
    engine.work_off(outputs)
    failed = engine.start("once")
    engine.fail([claimed(engine, failed)])
    backing_off = engine.start("patient")
    engine.fail([claimed(engine, backing_off)])
    fanned = engine.start("fan")
    engine.complete([claimed(engine, fanned)], [1, 2, 3])
    first, second = engine.claim(2)
    half = engine.start("line")
    engine.complete([t for t in engine.claim() if t["run_id"] == half], "a")
    third = engine.row("select * from pgflow.step_tasks where status = 'started' and task_index = 2")
    about_to_fail = engine.start("once")
    last_try = next(t for t in engine.claim() if t["run_id"] == about_to_fail)
    b = engine.row("select * from pgflow.step_tasks where status = 'started' and step_slug = 'b'")
    sleeping = engine.start("later")
    queued = engine.start("line")
    before = {run: engine.run(run) for run in (completed, failed)}

    upgrade(empty_dsn, from_version)

    for run, row in before.items():
        after = engine.run(run)
        assert {key: after[key] for key in row} == row
        assert (after["deadline_at"], after["end_reason"], after["retried_count"]) == (None, None, 0)
    # Claims from before are as good as ever.
    assert engine.complete([first, third, b], "done") == []
    assert engine.complete([first], "done again") == []
    assert engine.fail([second]) == []
    assert engine.fail([last_try]) == []
    assert (engine.run(half)["status"], engine.run(about_to_fail)["status"]) == ("completed", "failed")
    assert not engine.value("select pgflow.heartbeat_worker(%s)", engine.worker_id)
    done = engine.work_off(outputs)
    assert [(t["step_slug"], t["attempt"]) for t in done if t["run_id"] == fanned] == [("each", 2), ("join", 1)]
    assert engine.run(queued)["status"] == engine.run(fanned)["status"] == "completed"
    assert engine.run(backing_off)["status"] == engine.run(sleeping)["status"] == "started"
    engine.set_clock(3000)
    engine.conn.execute("select pgflow.heartbeat_worker(%s)", (engine.worker_id,))
    due = engine.claim()
    assert {t["flow_slug"]: t["attempt"] for t in due} == {"patient": 2, "later": 1}
    engine.complete(due, "late")
    engine.work_off(outputs)
    ends = Counter(row["status"] for row in engine.rows("select status from pgflow.runs"))
    assert ends == {"completed": 6, "failed": 2}
    assert_sound(empty_dsn)


def test_a_lost_worker_from_before_loses_its_tasks_after(engine: Engine, from_version: int, empty_dsn: str) -> None:
    define(engine)
    run_id = engine.start("line")
    lost = engine.serve("line", worker_id=uuid.uuid4(), lease_seconds=30)
    task = claimed(engine, run_id, worker_id=lost)
    upgrade(empty_dsn, from_version)
    engine.set_clock(60)
    assert engine.value("select pgflow.recover_tasks()") == 1
    again = claimed(engine, run_id)
    assert again["attempt"] == 1
    assert [row["reason"] for row in engine.complete([task], "stale")] == ["lease_lost"]
    assert engine.complete([again], "a") == []
    engine.work_off(outputs)
    assert engine.run(run_id)["status"] == "completed"
    assert_sound(empty_dsn)


def test_ended_runs_from_before_can_be_taken_up_again(engine: Engine, from_version: int, empty_dsn: str) -> None:
    define(engine)
    failed = engine.start("once")
    engine.fail([claimed(engine, failed)])
    open_run = engine.start("line")
    upgrade(empty_dsn, from_version)
    engine.rows("select run_id from pgflow.retry_run(%s)", failed)
    engine.rows("select run_id from pgflow.cancel_run(%s)", open_run)
    engine.work_off(outputs)
    assert engine.run(failed)["status"] == "completed"
    assert engine.run(open_run)["status"] == "cancelled"
    assert_sound(empty_dsn)


def test_flows_from_before_take_the_new_options_and_further_versions(
    engine: Engine, from_version: int, empty_dsn: str
) -> None:
    define(engine)
    upgrade(empty_dsn, from_version)
    engine.conn.execute("select pgflow.set_flow_options('line', deadline => 60)")
    run_id = engine.start("line")
    engine.set_clock(120)
    assert engine.value("select pgflow.enforce_deadlines()") == 1
    assert engine.run(run_id)["status"] == "failed"
    engine.conn.execute("select pgflow.create_flow('line', version => 2, fingerprint => 'next')")
    engine.conn.execute("select pgflow.add_step('line', 'only', version => 2)")
    assert_sound(empty_dsn)


# ---- what clients and workers of the older package send -----------------------------------------------------------------------

# As its gateway spells them. Prepared by the driver, so a changed result would be an error for as long as the connection lives.
KEYS = "array[%(run)s]::uuid[], array['a'], array[0], array[0]::bigint[]"
CALLS: dict[str, str] = {
    "core_version": "select pgflow.core_version()",
    "start_flows": "select pgflow.start_flows('line', array['1']::jsonb[], array[gen_random_uuid()], 'shape')",
    "start_flow": "select run_id from pgflow.start_flow('line', '1')",
    "register_worker": "select pgflow.register_worker(gen_random_uuid(), array['line'], array['shape'], null, '', 30)",
    "heartbeat_worker": "select pgflow.heartbeat_worker(%(worker)s)",
    "claim_tasks": "select * from pgflow.claim_tasks(%(worker)s, 1)",
    "complete_tasks": f"select * from pgflow.complete_tasks({KEYS}, array['1']::jsonb[])",
    "complete_and_claim_tasks": f"select * from pgflow.complete_and_claim_tasks(%(worker)s, 1, {KEYS}, array['1']::jsonb[])",
    "fail_tasks": f"select * from pgflow.fail_tasks({KEYS}, array['{{}}']::jsonb[])",
    "release_tasks": f"select * from pgflow.release_tasks({KEYS})",
    "release_strays": "select pgflow.release_strays(%(worker)s, array[0]::bigint[])",
    "recover_tasks": "select pgflow.recover_tasks(10)",
    "watch_run": "select pgflow.watch_run(%(run)s)",
    "run_outcome": "select * from pgflow.run_outcome(%(run)s)",
    "step_output": "select * from pgflow.step_output(%(run)s, 'a')",
    "describe_run": "select pgflow.describe_run(%(run)s, 10, true)",
    "find_runs": "select pgflow.find_runs(left(%(run)s::text, 8), 2)",
    "list_runs": "select * from pgflow.list_runs(null, null, 10, null)",
    "list_flows": "select * from pgflow.list_flows()",
}


@pytest.mark.parametrize("name", CALLS)
def test_a_statement_that_was_prepared_before_goes_on(
    engine: Engine, from_version: int, empty_dsn: str, name: str
) -> None:
    define(engine)
    given = {"run": engine.start("line"), "worker": engine.worker_id}
    before = engine.conn.execute(CALLS[name].encode(), given, prepare=True)
    upgrade(empty_dsn, from_version)
    after = engine.conn.execute(CALLS[name].encode(), given, prepare=True)
    assert before.description is not None
    assert after.description is not None
    assert [column.name for column in after.description] == [column.name for column in before.description]


def test_a_prepared_statement_that_returns_whole_rows_has_to_be_prepared_again(
    engine: Engine, from_version: int, empty_dsn: str
) -> None:
    define(engine)
    query = "select * from pgflow.create_flow('line')"
    engine.conn.execute(query, prepare=True)
    upgrade(empty_dsn, from_version)
    if from_version >= 3:  # the last that gave the table a column
        engine.conn.execute(query, prepare=True)
        return
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan must not change result type"):
        engine.conn.execute(query, prepare=True)
    engine.conn.execute(query, prepare=False)


def test_a_call_that_waits_for_the_upgrade_ends_well(engine: Engine, from_version: int, empty_dsn: str) -> None:
    """Such a call is the older function until its end, and what it calls is the newer one, or is kept for it."""
    define(engine)
    runs = [engine.start("line") for _ in range(3)] + [engine.start("once")]
    tasks = engine.claim()
    completing, both, releasing, failing = (next(t for t in tasks if t["run_id"] == run) for run in runs)
    lost = engine.serve("fan", worker_id=uuid.uuid4(), lease_seconds=1)
    fanned = [engine.start("fan"), engine.start("fan")]
    empty, mapped = (
        claimed(engine, fanned[0], most=1, worker_id=lost),
        claimed(engine, fanned[1], most=1, worker_id=lost),
    )
    for number in range(2):
        engine.start("line", number)

    def on_its_own(query: str, **given: object) -> Call:
        def call() -> list[Any]:
            with psycopg.connect(empty_dsn, autocommit=True) as conn:
                return conn.execute(query.encode(), given).fetchall()

        return Call(call)

    def keys(task: Row) -> str:
        return f"array['{task['run_id']}']::uuid[], array['{task['step_slug']}'], array[0], array[{task['fence']}]::bigint[]"

    with psycopg.connect(empty_dsn) as upgrading:
        upgrading.execute(manifest.upgrade_sql(from_version).encode())
        calls = {
            "start_flows": on_its_own(CALLS["start_flows"]),
            "start_flow": on_its_own("select run_id from pgflow.start_flow('line', '1')"),
            "complete": on_its_own(f"select * from pgflow.complete_tasks({keys(completing)}, array['1']::jsonb[])"),
            "map": on_its_own(f"select * from pgflow.complete_tasks({keys(mapped)}, array['[1, 2]']::jsonb[])"),
            "empty map": on_its_own(f"select * from pgflow.complete_tasks({keys(empty)}, array['[]']::jsonb[])"),
            "both": on_its_own(
                f"select * from pgflow.complete_and_claim_tasks(%(worker)s, 1, {keys(both)}, array['1']::jsonb[])",
                worker=engine.worker_id,
            ),
            "fail": on_its_own(f"select * from pgflow.fail_tasks({keys(failing)}, array['{{}}']::jsonb[])"),
            "release": on_its_own(f"select * from pgflow.release_tasks({keys(releasing)})"),
            "claim": on_its_own("select * from pgflow.claim_tasks(%(worker)s, 1)", worker=engine.worker_id),
            "heartbeat": on_its_own("select pgflow.heartbeat_worker(%(worker)s)", worker=engine.worker_id),
            "recover": on_its_own("select pgflow.recover_tasks(10)"),
            "describe": on_its_own("select pgflow.describe_run(%(run)s, 10, true)", run=runs[0]),
            "list": on_its_own("select * from pgflow.list_runs(null, null, 10, null)"),
        }
        wait_for_blocked(empty_dsn, len(calls))
        upgrading.commit()
    outcomes = {}
    for name, call in calls.items():
        try:
            outcomes[name] = call.end()
        except psycopg.Error as error:
            outcomes[name] = error
    assert {name: found for name, found in outcomes.items() if isinstance(found, psycopg.Error)} == {}
    for name in ("complete", "map", "empty map", "fail", "release"):
        assert outcomes[name] == [], name
    assert engine.run(runs[3])["status"] == "failed"
    assert engine.states(fanned[0])["join"] == "started"
    assert_sound(empty_dsn)


def wait_for_blocked(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as watcher:
        for _ in range(6000):
            row = watcher.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            ).fetchone()
            if row == (count,):
                return
            watcher.execute("select pg_sleep(0.005)")
    pytest.fail(f"not all of {count} calls wait for a lock")
