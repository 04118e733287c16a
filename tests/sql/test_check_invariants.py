"""Whatever is broken by hand is reported under its name; what the core does by itself is sound (see `dsn` in conftest)."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from flowdsl.postgres import PostgresServer
from tests.conftest import fresh_database, violations
from tests.sql.engine import Engine

CONDITION: dict[str, object] = {"required_input_pattern": {"go": True}}


@pytest.fixture(scope="module")
def world(server: PostgresServer, template: str) -> Iterator[Engine]:
    """A database with a run in every state, each of a flow of its own; tests roll back what they do to it."""
    assert template
    with fresh_database(server, "flowdsl_template") as url, psycopg.connect(url, autocommit=True) as conn:
        engine = Engine(conn)
        steps = {"a": (), "m": ("a",), "j": ("m",)}
        for slug in ("open", "done", "failed", "cancelled"):
            engine.flow(slug, steps, maps=["m"], max_attempts=1)
        engine.flow("named", {"a": (), "b": ()}, output_step="b")
        skipping: dict[str, dict[str, object]] = {
            "c": CONDITION | {"when_unmet": "skip-cascade"},
            "h": {"max_attempts": 1, "when_exhausted": "skip"},
        }
        engine.flow("skipping", {"c": (), "d": ("c",), "h": (), "k": (), "e": ("k",)}, settings=skipping)
        engine.serve("open", "done", "failed", "cancelled", "named", "skipping")

        engine.start("done")
        engine.start("named")
        engine.work_off(lambda task: [1, 2] if task["step_slug"] == "a" else task["task_index"])
        engine.start("failed")
        engine.fail(engine.claim())
        engine.start("cancelled")
        engine.conn.execute("select pgflow.cancel_run(run_id, 'enough') from pgflow.runs where status = 'started'")
        engine.start("skipping", {"go": False})
        tasks = {task["step_slug"]: task for task in engine.claim()}
        engine.fail([tasks["h"]])
        engine.release([tasks["k"]])
        engine.start("open")
        engine.complete([task for task in engine.claim() if task["flow_slug"] == "open"], [1, 2, 3, 4])
        # two of the four elements are at work, and one of these is done
        (done, _) = engine.claim(2)
        engine.complete([done], "one")
        assert engine.row("select count(*) from pgflow.step_tasks where flow_slug = 'open' and status = 'queued'")
        assert violations(url) == []
        yield engine


RUN = "update pgflow.runs set {} where flow_slug = '{}'"
STEP = "update pgflow.step_states set {} where flow_slug = '{}' and step_slug = '{}'"
TASK = "update pgflow.step_tasks set {} where flow_slug = '{}' and step_slug = '{}' and {}"
NOW = "clock_timestamp()"

BREAKAGES: list[tuple[str, str]] = [
    # definitions
    ("deps_count_is_wrong", "update pgflow.steps set deps_count = 2 where flow_slug = 'open' and step_slug = 'j'"),
    ("deps_count_is_wrong", "delete from pgflow.deps where flow_slug = 'open' and step_slug = 'j'"),
    ("map_has_no_source", "update pgflow.steps set map_over = 'j' where flow_slug = 'open' and step_slug = 'm'"),
    ("map_has_no_source", "update pgflow.steps set map_over = null where flow_slug = 'open' and step_slug = 'm'"),
    (
        "map_source_is_not_marked",
        "update pgflow.steps set feeds_map = false where flow_slug = 'open' and step_slug = 'a'",
    ),
    ("step_is_in_a_foreign_lane", "update pgflow.steps set lane_id = 0 where flow_slug = 'open' and step_slug = 'a'"),
    # runs
    ("run_lacks_a_step", "delete from pgflow.step_states where flow_slug = 'open' and step_slug = 'j'"),
    ("step_state_without_run", "delete from pgflow.runs where flow_slug = 'done'"),
    ("step_state_of_another_flow", STEP.format("flow_slug = 'failed'", "done", "a")),
    ("run_has_a_step_too_many", STEP.format("step_slug = 'x'", "open", "j")),
    ("remaining_steps_is_wrong", RUN.format("remaining_steps = 3", "open")),
    ("remaining_steps_is_wrong", RUN.format("remaining_steps = 1", "done")),
    (
        "run_is_not_completed",
        RUN.format("status = 'started', output = null, completed_at = null, remaining_steps = 0", "done"),
    ),
    (
        "completed_run_has_an_unfinished_step",
        RUN.format(f"status = 'completed', completed_at = {NOW}, output = '1'", "open"),
    ),
    ("ended_run_has_an_open_step", RUN.format(f"status = 'cancelled', cancelled_at = {NOW}", "open")),
    ("ended_run_has_an_open_step", RUN.format(f"status = 'failed', failed_at = {NOW}", "open")),
    ("open_run_has_a_step_that_ended_it", STEP.format(f"status = 'cancelled', cancelled_at = {NOW}", "open", "j")),
    ("open_run_has_a_step_that_ended_it", STEP.format(f"status = 'failed', failed_at = {NOW}", "open", "m")),
    (
        "failed_run_without_a_cause",
        STEP.format("status = 'cancelled', failed_at = null, cancelled_at = failed_at", "failed", "a"),
    ),
    ("end_reason_of_a_run_that_nothing_ended", RUN.format("end_reason = 'why'", "open")),
    ("end_reason_of_a_run_that_nothing_ended", RUN.format("end_reason = 'why'", "done")),
    ("run_times_do_not_fit_its_status", RUN.format("completed_at = null", "done")),
    ("run_times_do_not_fit_its_status", RUN.format(f"failed_at = {NOW}", "open")),
    ("run_times_do_not_fit_its_status", RUN.format("cancelled_at = null", "cancelled")),
    ("ended_run_has_a_deadline", RUN.format(f"deadline_at = {NOW}", "done")),
    # steps
    ("remaining_deps_is_wrong", STEP.format("remaining_deps = 2", "open", "j")),
    ("remaining_deps_is_wrong", STEP.format("remaining_deps = 1", "open", "m")),
    ("ready_step_was_forgotten", "delete from pgflow.deps where flow_slug = 'skipping' and step_slug = 'e'"),
    (
        "ready_step_was_forgotten",
        STEP.format(
            f"status = 'skipped', remaining_tasks = null, skip_reason = 'handler_failed', skipped_at = {NOW}",
            "skipping",
            "k",
        ),
    ),
    (
        "step_ran_ahead_of_its_dependencies",
        STEP.format(f"status = 'started', initial_tasks = 1, started_at = {NOW}", "open", "j"),
    ),
    (
        "step_ran_ahead_of_its_dependencies",
        STEP.format(f"status = 'skipped', skip_reason = 'condition_unmet', skipped_at = {NOW}", "open", "j"),
    ),
    ("remaining_tasks_is_wrong", STEP.format("remaining_tasks = 4", "open", "m")),
    ("remaining_tasks_is_wrong", STEP.format("remaining_tasks = null", "open", "m")),
    (
        "remaining_tasks_is_wrong",
        TASK.format(f"status = 'completed', started_at = {NOW}, completed_at = {NOW}", "open", "m", "true"),
    ),
    ("step_times_do_not_fit_its_status", STEP.format("completed_at = null", "done", "a")),
    ("step_times_do_not_fit_its_status", STEP.format("started_at = null", "open", "m")),
    ("step_times_do_not_fit_its_status", STEP.format("failed_at = null", "failed", "a")),
    ("step_times_do_not_fit_its_status", STEP.format("skipped_at = null", "skipping", "h")),
    ("step_times_do_not_fit_its_status", STEP.format("cancelled_at = null", "cancelled", "j")),
    ("step_times_do_not_fit_its_status", STEP.format(f"started_at = {NOW}", "open", "j")),
    # sizes
    ("initial_tasks_is_wrong", STEP.format("initial_tasks = 3", "open", "m")),
    ("initial_tasks_is_wrong", STEP.format("initial_tasks = 2", "open", "j")),
    ("initial_tasks_is_wrong", STEP.format("output = '[1]'", "done", "a")),
    (
        "number_of_tasks_is_wrong",
        "delete from pgflow.step_tasks where flow_slug = 'open' and step_slug = 'm' and task_index = 3",
    ),
    ("number_of_tasks_is_wrong", "delete from pgflow.step_tasks where flow_slug = 'done' and step_slug = 'j'"),
    ("created_step_has_tasks", TASK.format("step_slug = 'j'", "open", "a", "true")),
    ("task_indexes_have_gaps", TASK.format("task_index = 9", "open", "m", "task_index = 2")),
    ("map_task_has_another_element", TASK.format("input = '7'", "open", "m", "status = 'queued'")),
    # skips
    ("condition_was_misjudged", RUN.format("""input = '{"go": true}'""", "skipping")),
    (
        "condition_was_misjudged",
        """update pgflow.steps set forbidden_input_pattern = '{"run": null}' where flow_slug = 'done' and step_slug = 'j'""",
    ),
    (
        "condition_was_misjudged",
        "update pgflow.steps set input_predicate = '$.run.x == 1' where flow_slug = 'open' and step_slug = 'm'",
    ),
    ("condition_unmet_without_a_condition", STEP.format("skip_reason = 'condition_unmet'", "skipping", "h")),
    ("handler_failed_without_a_failed_task", STEP.format("skip_reason = 'handler_failed'", "skipping", "d")),
    ("dependency_skipped_without_one", STEP.format("skip_reason = 'dependency_skipped'", "skipping", "c")),
    (
        "cascade_left_a_step_out",
        STEP.format("status = 'created', skip_reason = null, skipped_at = null", "skipping", "d"),
    ),
    (
        "cascade_left_a_step_out",
        (
            "update pgflow.steps set when_exhausted = 'skip-cascade' where flow_slug = 'skipping'; "
            "insert into pgflow.deps (flow_slug, dep_slug, step_slug) values ('skipping', 'h', 'e')"
        ),
    ),
    # tasks
    ("task_without_step_state", "delete from pgflow.step_states where flow_slug = 'done' and step_slug = 'a'"),
    ("task_without_step_state", TASK.format("flow_slug = 'named'", "done", "a", "true")),
    ("attempt_without_run", "delete from pgflow.runs where flow_slug = 'failed'"),
    ("open_task_of_a_closed_step", TASK.format("status = 'queued', cancelled_at = null", "cancelled", "a", "true")),
    ("open_task_of_an_ended_run", TASK.format("status = 'queued', cancelled_at = null", "cancelled", "a", "true")),
    (
        "closed_task_of_an_open_step",
        TASK.format(f"status = 'cancelled', cancelled_at = {NOW}", "open", "m", "status = 'queued'"),
    ),
    (
        "completed_step_has_an_unfinished_task",
        TASK.format("status = 'failed', completed_at = null, failed_at = completed_at", "done", "m", "task_index = 0"),
    ),
    ("task_times_do_not_fit_its_status", TASK.format(f"started_at = {NOW}", "open", "m", "status = 'queued'")),
    ("task_times_do_not_fit_its_status", TASK.format("started_at = null", "open", "m", "status = 'started'")),
    ("task_times_do_not_fit_its_status", TASK.format("completed_at = null", "done", "a", "true")),
    ("task_times_do_not_fit_its_status", TASK.format("failed_at = null", "failed", "a", "true")),
    ("task_times_do_not_fit_its_status", TASK.format("cancelled_at = null", "cancelled", "a", "true")),
    ("started_task_is_not_leased", TASK.format("last_worker_id = null", "open", "m", "status = 'started'")),
    ("started_task_is_not_leased", TASK.format("fence = 0", "open", "m", "status = 'started'")),
    ("started_task_is_not_leased", TASK.format("attempts_count = 0", "open", "m", "status = 'started'")),
    ("started_task_of_an_unknown_worker", "delete from pgflow.workers"),
    ("open_task_stalled_for_good", TASK.format(f"permanently_stalled_at = {NOW}", "open", "m", "status = 'queued'")),
    ("open_task_stalled_for_good", TASK.format("requeued_count = 4", "open", "m", "status = 'queued'")),
    (
        "task_is_in_a_foreign_lane",
        (
            "update pgflow.step_tasks set lane_id = l.lane_id from pgflow.lanes l"
            " where step_tasks.flow_slug = 'open' and l.flow_slug = 'done'"
        ),
    ),
    (
        "ready_task_below_the_claim_floor",
        "update pgflow.lanes set claim_floor = 1000000 where flow_slug = 'open'",
    ),
    # outputs
    ("step_output_is_not_its_tasks", STEP.format("output = '[1, 2, 3]'", "done", "m")),
    ("step_output_is_not_its_tasks", TASK.format("output = '9'", "done", "j", "true")),
    ("step_output_is_not_its_tasks", TASK.format("output = to_jsonb(1 - task_index)", "done", "m", "true")),
    ("map_source_is_not_an_array", STEP.format("output = '1'", "done", "a")),
    ("run_output_is_not_its_steps", RUN.format("output = '{}'", "done")),
    ("run_output_is_not_its_steps", RUN.format("output = null", "named")),
    (
        "run_output_is_not_its_steps",
        "update pgflow.flow_versions set output_step = null where flow_slug = 'named'",
    ),
]


@pytest.mark.parametrize(
    ("violation", "breakage"), BREAKAGES, ids=[f"{name}-{place}" for place, (name, _) in enumerate(BREAKAGES)]
)
def test_what_is_broken_by_hand_is_reported(world: Engine, violation: str, breakage: str) -> None:
    with world.conn.transaction(force_rollback=True):
        world.conn.execute(breakage.encode())
        found = world.rows("select * from pgflow.check_invariants()")
        assert violation in {row["violation"] for row in found}
        assert all(row["detail"] for row in found), "each one says what is wrong"


def test_every_violation_has_a_breakage(world: Engine) -> None:
    sources = world.value(
        "select string_agg(prosrc, ' ') from pg_proc where pronamespace = 'pgflow'::regnamespace and proname like %s",
        r"\_%\_violations",
    )
    names = set(_first_literals(sources))
    assert len(names) > 30
    assert names == {violation for violation, _ in BREAKAGES}


def _first_literals(source: str) -> Iterator[str]:
    for line in source.splitlines():
        if line.startswith("  select '"):
            yield line.split("'")[1]


def test_a_violation_names_run_step_and_task(world: Engine) -> None:
    run_id = world.value("select run_id from pgflow.runs where flow_slug = 'open'")
    with world.conn.transaction(force_rollback=True):
        world.conn.execute(
            "update pgflow.step_tasks set input = '7' where flow_slug = 'open' and step_slug = 'm' and task_index = 3"
        )
        assert world.rows("select * from pgflow.check_invariants()") == [
            {
                "violation": "map_task_has_another_element",
                "run_id": run_id,
                "step_slug": "m",
                "task_index": 3,
                "detail": "the queued task was not made of element 3 of what it runs over",
            }
        ]


def test_the_state_of_one_moment_is_looked_at_while_others_work(engine: Engine, dsn: str) -> None:
    # a statement sees one snapshot, but a function of several may see several: not this one
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    assert engine.value("select provolatile = 's' from pg_proc where proname = 'check_invariants'")
    with psycopg.connect(dsn) as other, other.transaction():
        other.execute("update pgflow.runs set remaining_steps = 7")
        assert engine.rows("select * from pgflow.check_invariants()") == []
        raise psycopg.Rollback


@pytest.mark.broken_data("this test shows that the mark works")
def test_a_marked_test_may_leave_broken_data_behind(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.start("f")
    engine.conn.execute("update pgflow.runs set remaining_steps = 7")
    assert [row[0] for row in violations(dsn)] == ["remaining_steps_is_wrong"]


def test_fewer_attempts_than_were_made_already_are_no_violation(world: Engine) -> None:
    with world.conn.transaction(force_rollback=True):
        world.conn.execute(
            "update pgflow.step_tasks set attempts_count = 5 where flow_slug = 'open' and status = 'queued'"
        )
        world.conn.execute("update pgflow.steps set opt_max_attempts = 1 where flow_slug = 'open'")
        assert world.rows("select * from pgflow.check_invariants()") == []


def test_a_run_of_a_version_that_is_gone_is_left_alone(world: Engine) -> None:
    with world.conn.transaction(force_rollback=True):
        world.conn.execute("insert into pgflow.runs (flow_slug, input, remaining_steps) values ('gone', '{}', 0)")
        found: list[Any] = world.rows("select * from pgflow.check_invariants()")
        assert [row["violation"] for row in found] == ["run_is_not_completed"]
