"""fail_tasks, fail_task, calculate_retry_delay."""

import pytest

from tests.sql.engine import Engine


def test_a_failed_attempt_is_tried_again_until_none_is_left(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)}, max_attempts=2)
    engine.serve("f")
    run_id = engine.start("f")
    assert engine.fail(engine.claim(), message="first") == []
    task = engine.task(run_id, "a")
    assert (task["status"], task["error_message"], task["started_at"]) == ("queued", "first", None)
    (second,) = engine.claim()
    assert second["attempt"] == 2
    engine.fail([second], message="second")
    assert engine.task(run_id, "a")["status"] == "failed"
    assert engine.states(run_id) == {"a": "failed", "b": "cancelled"}
    run = engine.run(run_id)
    assert (run["status"], run["output"]) == ("failed", None)
    attempts = engine.rows("select attempt, outcome, error_class, error_message from pgflow.task_attempts order by 1")
    assert [tuple(a.values()) for a in attempts] == [
        (1, "failed", "ValueError", "first"),
        (2, "failed", "ValueError", "second"),
    ]


def test_a_retry_waits_for_its_backoff_with_at_most_a_tenth_of_jitter(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, max_attempts=5, base_delay=10)
    engine.serve("f")
    run_id = engine.start("f")
    engine.set_clock(0)
    for expected in (20, 40, 80):
        engine.fail(engine.claim())
        delay = engine.value(
            "select extract(epoch from visible_at - pgflow._now())::float from pgflow.step_tasks where run_id = %s",
            run_id,
        )
        assert expected <= delay <= expected * 1.1
        assert engine.claim() == []
        engine.conn.execute(
            "select set_config('pgflow.now', (pgflow._now() + %s * interval '1 s')::text, false)", (delay,)
        )


def test_the_backoff_has_a_cap_which_is_never_below_the_base(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, max_attempts=50, base_delay=60, max_delay=100)
    engine.flow("g", {"a": ()}, max_attempts=50, base_delay=60, max_delay=10)
    engine.serve("f", "g")
    for slug, cap in (("f", 100), ("g", 60)):
        run_id = engine.start(slug)
        engine.claim()
        engine.conn.execute("update pgflow.step_tasks set attempts_count = 49 where run_id = %s", (run_id,))
        engine.conn.execute("select pgflow.fail_task(%s, 'a', 0, 'boom')", (run_id,))
        delay = engine.value(
            "select extract(epoch from visible_at - queued_at)::float from pgflow.step_tasks where run_id = %s", run_id
        )
        assert cap - 1 <= delay <= cap * 1.1 + 5


def test_retry_after_replaces_the_backoff(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, base_delay=10)
    engine.serve("f")
    engine.start("f")
    engine.set_clock(0)
    engine.fail(engine.claim(), retry_after=7)
    delay = engine.value("select extract(epoch from visible_at - pgflow._now())::int from pgflow.step_tasks")
    assert delay == 7


@pytest.mark.parametrize(
    ("value", "least", "most"), [(-5, 0, 0), (1e300, 2147483647, 2147483647), ("soon", 20, 22), (None, 20, 22)]
)
def test_a_strange_retry_after_does_no_harm(engine: Engine, value: object, least: int, most: int) -> None:
    engine.flow("f", {"a": ()}, base_delay=10)
    engine.serve("f")
    engine.start("f")
    engine.set_clock(0)
    engine.fail(engine.claim(), retry_after=value, retryable="maybe")
    delay = engine.value("select extract(epoch from visible_at - pgflow._now())::float from pgflow.step_tasks")
    assert least <= delay <= most


def test_what_is_not_retryable_fails_at_once(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    engine.fail(engine.claim(), retryable=False)
    assert engine.run(run_id)["status"] == "failed"


@pytest.mark.parametrize(("classes", "status"), [(["KeyError", "LookupError"], "started"), (["ValueError"], "failed")])
def test_retry_on_names_the_classes_worth_another_attempt(engine: Engine, classes: list[str], status: str) -> None:
    engine.flow("f", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'a', retry_on => '{LookupError,OSError}')")
    engine.serve("f")
    run_id = engine.start("f")
    engine.fail(engine.claim(), classes=classes)
    assert engine.run(run_id)["status"] == status


def test_a_failed_run_ends_everything_open_in_it_and_nothing_of_it_is_claimed(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "m": ("b",), "done": ()}, maps=("m",), max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f")
    by_slug = {t["step_slug"]: t for t in engine.claim()}
    engine.complete([by_slug["done"]], 1)
    engine.complete([by_slug["b"]], [1, 2, 3])
    running = engine.claim(1)
    engine.fail([by_slug["a"]])
    assert engine.states(run_id) == {"a": "failed", "b": "completed", "done": "completed", "m": "cancelled"}
    tasks = engine.rows("select status, count(*) from pgflow.step_tasks where step_slug = 'm' group by 1")
    assert [tuple(t.values()) for t in tasks] == [("cancelled", 3)]
    assert engine.claim() == []
    assert [r["reason"] for r in engine.complete(running)] == ["run_ended"]
    assert [r["reason"] for r in engine.fail(running)] == ["run_ended"]


def test_two_failures_of_one_run_in_one_batch_are_both_recorded(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ()}, max_attempts=1)
    engine.serve("f")
    run_id = engine.start("f")
    assert engine.fail(engine.claim()) == []
    assert engine.states(run_id) == {"a": "failed", "b": "failed"}
    assert engine.value("select count(*) from pgflow.task_attempts") == 2


def test_a_failure_handed_in_twice_is_recorded_once(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    tasks = engine.claim()
    assert engine.fail(tasks) == []
    assert engine.fail(tasks) == []
    assert engine.value("select count(*) from pgflow.task_attempts") == 1


def test_a_stale_failure_does_not_touch_the_next_attempt(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    stale = engine.claim()
    engine.release(stale)
    engine.claim()
    assert [r["reason"] for r in engine.fail(stale)] == ["lease_lost"]
    assert engine.task(run_id, "a")["status"] == "started"


def test_fail_task_acts_on_the_current_claim_and_returns_the_row(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    engine.claim()
    row = engine.row("select * from pgflow.fail_task(%s, 'a', 0, 'boom')", run_id)
    assert (row["status"], row["error_message"], row["attempts_count"]) == ("queued", "boom", 1)
    assert engine.row("select * from pgflow.fail_task(%s, 'a', 0, 'late')", run_id) == row
    assert engine.rows("select * from pgflow.fail_task(%s, 'a', 5, 'x')", run_id) == []


@pytest.mark.parametrize(
    ("base", "attempts", "delay"),
    [
        (5, 0, 5),
        (5, 1, 10),
        (5, 3, 40),
        (0, 40, 0),
        (0.5, 1, 1),
        (0.3, 1, 0),
        (1, 31, 2147483647),
        (5, 1000, 2147483647),
        (2147483647, 5, 2147483647),
    ],
)
def test_the_backoff_is_exact_and_never_overflows(engine: Engine, base: float, attempts: int, delay: int) -> None:
    assert engine.value("select pgflow.calculate_retry_delay(%s::numeric, %s)", base, attempts) == delay


def test_an_output_after_the_final_failure_of_the_same_claim_is_refused(engine: Engine) -> None:
    engine.flow("f", {"a": []}, max_attempts=1)
    engine.serve("f")
    engine.start("f", {})
    tasks = engine.claim()
    engine.fail(tasks)
    assert engine.complete(tasks, 1)[0]["reason"] == "run_ended"
    assert engine.fail(tasks) == []
