"""delete_flow_and_data, prune_data_older_than."""

import threading
import uuid

import psycopg
import pytest

from tests.sql.engine import Engine

TABLES = ("runs", "step_states", "step_tasks", "task_attempts")
DEFINITIONS = ("flows", "flow_versions", "steps", "deps", "lanes")


def counts(engine: Engine, flow: str, tables: tuple[str, ...]) -> dict[str, int]:
    return {table: engine.value(f"select count(*) from pgflow.{table} where flow_slug = %s", flow) for table in tables}


def lived(engine: Engine, slug: str) -> None:
    """A flow with two versions, an ended run with a failed attempt, and open runs of both versions."""
    engine.flow(slug, {"a": (), "m": ("a",)}, maps=("m",), max_attempts=1)
    engine.serve(slug)
    engine.start(slug)
    engine.fail(engine.claim())
    engine.start(slug)
    engine.complete(engine.claim(), [1, 2])
    engine.conn.execute("select pgflow.create_flow(%s, version => 2, fingerprint => 'shape2')", (slug,))
    engine.conn.execute("select pgflow.add_step(%s, 'b')", (slug,))
    engine.start(slug)


def test_a_flow_goes_with_all_versions_and_all_data_and_others_stay(engine: Engine) -> None:
    lived(engine, "f")
    lived(engine, "g")
    before = counts(engine, "g", TABLES + DEFINITIONS)
    assert 0 not in counts(engine, "f", TABLES + DEFINITIONS).values()
    engine.conn.execute("select pgflow.delete_flow_and_data(p_flow_slug => 'f')")
    assert set(counts(engine, "f", TABLES + DEFINITIONS).values()) == {0}
    assert counts(engine, "g", TABLES + DEFINITIONS) == before


def test_a_flow_whose_slug_differs_only_in_case_stays(engine: Engine) -> None:
    """Contract §5, point 8."""
    engine.flow("Flow", {"a": ()})
    engine.flow("flow", {"a": ()})
    engine.start("Flow")
    engine.conn.execute("select pgflow.delete_flow_and_data('flow')")
    assert counts(engine, "Flow", ("flows", "runs")) == {"flows": 1, "runs": 1}


def test_deleting_an_unknown_flow_is_no_error(engine: Engine) -> None:
    engine.conn.execute("select pgflow.delete_flow_and_data('nope')")


def test_what_is_handed_in_for_a_deleted_flow_is_refused(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    tasks = engine.claim()
    engine.conn.execute("select pgflow.delete_flow_and_data('f')")
    assert len(engine.complete(tasks)) == 1
    assert engine.claim() == []


def test_a_deletion_waits_for_a_start_that_is_not_committed(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    with psycopg.connect(dsn) as other_conn:
        Engine(other_conn).start("f")
        thread = threading.Thread(target=lambda: engine.conn.execute("select pgflow.delete_flow_and_data('f')"))
        thread.start()
        with psycopg.connect(dsn, autocommit=True) as watcher:
            while not watcher.execute("select from pg_stat_activity where wait_event_type = 'Lock'").fetchall():
                watcher.execute("select pg_sleep(0.005)")
        other_conn.commit()
        thread.join()
    assert set(counts(engine, "f", TABLES + DEFINITIONS).values()) == {0}


# ---- prune_data_older_than ------------------------------------------------------------------------------------------


def prune(engine: Engine, interval: str = "1 day", most: int = 1000) -> int:
    pruned: int = engine.value("select pgflow.prune_data_older_than(%s::interval, %s)", interval, most)
    return pruned


def test_ended_runs_that_are_old_enough_go_with_all_their_rows(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",)}, maps=("m",), max_attempts=2)
    engine.serve("f", lease_seconds=10_000_000)
    completed = engine.start("f")
    engine.fail(engine.claim())
    engine.work_off([1, 2])
    failed = engine.start("f")
    for _ in range(2):
        engine.fail(engine.claim())
    assert [engine.run(r)["status"] for r in (completed, failed)] == ["completed", "failed"]
    assert engine.value("select count(*) from pgflow.task_attempts") == 3
    assert prune(engine) == 0, "they are not old enough"
    engine.set_clock(86_500)
    young = engine.start("f")
    engine.work_off([1])
    assert prune(engine) == 2
    assert counts(engine, "f", TABLES) == {"runs": 1, "step_states": 2, "step_tasks": 2, "task_attempts": 0}
    assert engine.run(young)["status"] == "completed"
    assert prune(engine) == 0


def test_an_open_run_is_never_pruned(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()})
    engine.serve("f", lease_seconds=1_000_000_000)
    engine.start("f")
    engine.claim(1)
    engine.set_clock(100_000_000)
    assert prune(engine, "0") == 0
    assert counts(engine, "f", ("runs", "step_tasks")) == {"runs": 1, "step_tasks": 2}


def test_the_age_of_a_run_counts_from_its_end(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f", lease_seconds=10_000_000)
    engine.start("f")
    engine.set_clock(1_000_000)
    engine.work_off()
    assert prune(engine) == 0
    engine.set_clock(1_100_000)
    assert prune(engine) == 1


def test_a_call_prunes_no_more_than_it_is_asked_to(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.flow("g", {"a": ()})
    engine.serve("f", "g", lease_seconds=10_000_000)
    for i in range(5):
        engine.start("f" if i % 2 else "g", i)
    engine.work_off()
    engine.set_clock(100_000)
    assert [prune(engine, most=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_run_that_somebody_holds_is_left_alone(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f", lease_seconds=10_000_000)
    held, _ = engine.start("f"), engine.start("f")
    engine.work_off()
    engine.set_clock(100_000)
    engine.conn.execute("set statement_timeout = '10s'")
    with psycopg.connect(dsn) as other:
        # what retry_run and whoever else changes a run does first
        other.execute("select from pgflow.runs where run_id = %s for no key update", (held,))
        assert prune(engine) == 1
    assert engine.run(held)["status"] == "completed"
    assert prune(engine) == 1


def test_a_retry_in_the_middle_of_a_prune_finds_no_run(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()}, max_attempts=1)
    engine.serve("f", lease_seconds=10_000_000)
    run_id = engine.start("f")
    engine.fail(engine.claim())
    errors: list[psycopg.Error] = []

    def retry() -> None:
        try:
            engine.conn.execute("select pgflow.retry_run(%s)", (run_id,))
        except psycopg.Error as error:
            errors.append(error)

    with psycopg.connect(dsn) as other_conn:
        other = Engine(other_conn)
        other.set_clock(100_000)
        assert prune(other) == 1
        thread = threading.Thread(target=retry)
        thread.start()
        with psycopg.connect(dsn, autocommit=True) as watcher:
            while not watcher.execute("select from pg_stat_activity where wait_event_type = 'Lock'").fetchall():
                watcher.execute("select pg_sleep(0.005)")
        other_conn.commit()
        thread.join()
    assert [e.sqlstate for e in errors] == ["PF405"]
    assert set(counts(engine, "f", ("runs", "step_states", "step_tasks")).values()) == {0}


def test_a_retried_run_is_not_pruned(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, max_attempts=1)
    engine.serve("f", lease_seconds=10_000_000)
    run_id = engine.start("f")
    engine.fail(engine.claim())
    engine.conn.execute("select pgflow.retry_run(%s)", (run_id,))
    engine.set_clock(100_000)
    assert prune(engine) == 0


def test_workers_that_stopped_or_died_long_ago_go_unless_they_hold_tasks(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    stopped, holding, dead, foreign, live = (uuid.uuid4() for _ in range(5))
    for worker in (stopped, holding, dead):
        engine.serve("f", worker_id=worker, lease_seconds=10)
    engine.serve("f", worker_id=live, lease_seconds=10_000_000)
    engine.conn.execute("insert into pgflow.workers (worker_id, queue_name) values (%s, 'f')", (foreign,))
    engine.start("f")
    engine.claim(worker_id=holding)
    engine.conn.execute("select pgflow.mark_worker_stopped(w) from unnest(%s::uuid[]) w", ([stopped, holding],))
    assert prune(engine) == 0
    assert engine.value("select count(*) from pgflow.workers") == 5
    engine.set_clock(100_000)
    assert prune(engine) == 0
    left = {row["worker_id"] for row in engine.rows("select worker_id from pgflow.workers")}
    assert left == {holding, foreign, live}, "a worker without a lease lives until it stops"
    engine.value("select pgflow.recover_tasks()")
    prune(engine)
    assert engine.value("select count(*) from pgflow.workers") == 2


@pytest.mark.parametrize("interval", [None, "-1 day"])
def test_an_interval_that_is_null_or_negative_is_refused(engine: Engine, interval: str | None) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute("select pgflow.prune_data_older_than(%s::interval)", (interval,))
    assert refusal.value.sqlstate == "PF400"


def test_pruning_costs_what_it_deletes_whatever_else_there_is(engine: Engine) -> None:
    """Contract §5, point 10."""
    engine.flow("f", {"a": ()})
    engine.serve("f", lease_seconds=10_000_000)

    def finished(count: int) -> None:
        engine.conn.execute("select pgflow.start_flows('f', array_fill('1'::jsonb, array[%s]))", (count,))
        engine.work_off(batch=5000)

    def pages() -> int:
        with engine.conn.transaction(force_rollback=True):
            plan = engine.value(
                "explain (analyze, buffers, timing off, format json) select pgflow.prune_data_older_than('1 day', 20)"
            )[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    finished(20)
    engine.conn.execute("analyze")
    engine.set_clock(100_000)
    small = pages()
    finished(4000)
    engine.set_clock(200_000)
    assert pages() < small * 2
