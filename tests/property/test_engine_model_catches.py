"""The comparison with the reference model is worth something: it finds mistakes that are planted into the core.

Each is one that somebody could make, in one function; none of them is a crash.
"""

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from flowdsl.core.manifest import read
from tests.servers import version

from .engine_machine import EngineMachine
from .side_by_side import Database

MISTAKES = {
    "a forbidden pattern that is contained is no hindrance": (
        "_verdicts",
        "not j.judged @> s.forbidden_input_pattern",
        "j.judged is not null",
    ),
    "an unknown predicate counts as met": ("_verdicts", "s.input_predicate, false)", "s.input_predicate, true)"),
    "an unmet condition never cascades": (
        "_judge_steps",
        "array_agg(v.when_unmet = 'skip-cascade')",
        "array_agg(v.when_unmet = 'cascade')",
    ),
    "an exhausted step always fails": ("_exhaust_steps", " and g.when_exhausted = 'fail'", ""),
    "a map over a skipped step waits for ever": (
        "_settle_steps",
        "coalesce(jsonb_array_length(done.output), 0)",
        "jsonb_array_length(done.output)",
    ),
    "a late result is accepted": (
        "complete_tasks",
        "where o.status = 'started' and o.fence = i.fence",
        "where o.status = 'started'",
    ),
    "the output of a map is in no order": ("complete_tasks", "order by o.task_index", "order by o.output"),
    "a retry is not counted": ("fail_tasks", "h.attempts_count < h.max_attempts", "h.attempts_count <= h.max_attempts"),
    "a lost lease uses an attempt": ("_take_back", "greatest(t.attempts_count - 1, 0)", "t.attempts_count"),
    "poison is found a worker too late": (
        "recover_tasks",
        "v_max_losses constant int := 3",
        "v_max_losses constant int := 4",
    ),
    "a retried step keeps its old attempts": ("retry_run", "attempts_count = 0, ", ""),
    "low priorities are claimed first": ("claim_tasks", "l.priority desc, random()", "l.priority, random()"),
}

UNTIL_FOUND = settings(
    max_examples=500,
    stateful_step_count=25,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.skipif(version() != 18, reason="once is enough: this tests the test")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_comparison_finds(mistake: str, dsn: str) -> None:
    function, right, wrong = MISTAKES[mistake]
    text = read(f"functions/{function}.sql")
    assert text.count(right) == 1, "the mistake is planted in one place"
    planted = text.replace(right, wrong).replace("create function", "create or replace function", 1)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(planted.encode())

        class Machine(EngineMachine):
            database = Database(conn)

        with pytest.raises((AssertionError, psycopg.Error)):
            run_state_machine_as_test(seed(0)(Machine), settings=UNTIL_FOUND)
