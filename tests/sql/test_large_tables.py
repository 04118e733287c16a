"""What a call costs does not depend on how many rows the tables have, though the plans were made when there were few.

The figure is pages touched, which depends neither on the machine nor on what else it does.
"""

from typing import Any, LiteralString

import pytest
from psycopg.types.json import Jsonb

from tests.sql.engine import Engine

ROWS = 3000
TABLES = (
    "flows",
    "flow_versions",
    "lanes",
    "steps",
    "deps",
    "workers",
    "runs",
    "step_states",
    "step_tasks",
    "task_attempts",
)

CALLS: dict[str, LiteralString] = {
    "start a root map": "select * from pgflow.start_flows('mapped', %(arrays)s::jsonb[])",
    "start again": "select * from pgflow.start_flows('line', array['1']::jsonb[], array[%(run)s]::uuid[])",
    "start_flow": "select * from pgflow.start_flow('line', '1')",
    "_move_abandoned_tasks": "select pgflow._move_abandoned_tasks()",
    "heartbeat_worker": "select pgflow.heartbeat_worker(%(worker)s)",
    "claim_tasks": "select * from pgflow.claim_tasks(%(worker)s, 1)",
    "watch_run": "select pgflow.watch_run(%(run)s)",
    "run_outcome": "select * from pgflow.run_outcome(%(run)s)",
    "step_output": "select * from pgflow.step_output(%(run)s, 'a')",
    "get_run_with_states": "select pgflow.get_run_with_states(%(run)s)",
    "retry_run": "select run_id from pgflow.retry_run(%(run)s)",
    "cancel_run": "select run_id from pgflow.cancel_run(%(run)s)",
    "mark_worker_stopped": "select pgflow.mark_worker_stopped(%(worker)s)",
}


def pages(engine: Engine, query: LiteralString, given: dict[str, Any]) -> int:
    with engine.conn.transaction(force_rollback=True):
        ((plan,),) = engine.conn.execute(
            "explain (analyze, buffers, timing off, format json) " + query, given
        ).fetchall()
    return sum(plan[0]["Plan"][f"Shared {kind} Blocks"] for kind in ("Hit", "Read"))


def fill(engine: Engine) -> None:
    """Rows of other flows, runs and workers, as a backlog of many days leaves them."""
    engine.flow(
        "other", {"m": (), "a": (), "b": ("a",), "later": ()}, maps=["m"], settings={"later": {"start_delay": 600}}
    )
    engine.conn.execute(
        "select count(*) from pgflow.start_flows('other', array(select '[1]'::jsonb from generate_series(1, %s)))",
        (ROWS,),
    )
    engine.conn.execute(
        """
        insert into pgflow.workers (worker_id, lease_seconds, flow_slugs, fingerprints)
        select gen_random_uuid(), 1000, '{other}', '{shape}' from generate_series(1, %s)
        """,
        (ROWS,),
    )
    engine.conn.execute(
        """
        insert into pgflow.task_attempts (flow_slug, run_id, step_slug, task_index, attempt, outcome, error_class, error_message,
          fence, ended_at)
        select flow_slug, run_id, 'a', 0, 1, 'failed', 'E', 'm', 1, now() from pgflow.runs
        """
    )


@pytest.mark.parametrize("statistics", ["of small tables", "of empty tables", "none"])
def test_a_call_reads_its_own_rows_whatever_there_was_when_it_was_planned(engine: Engine, statistics: str) -> None:
    for table in TABLES:
        engine.conn.execute(f"alter table pgflow.{table} set (autovacuum_enabled = off)".encode())
        if statistics == "of empty tables":
            engine.conn.execute(f"vacuum analyze pgflow.{table}".encode())
    engine.flow("line", {"a": (), "b": ("a",)}, max_attempts=1)
    engine.flow("mapped", {"m": (), "b": ("m",)}, maps=["m"])
    engine.serve("line")
    run_id = engine.start("line", 1)
    engine.fail(engine.claim())
    engine.start("line", 2)
    if statistics == "of small tables":
        for table in TABLES:
            engine.conn.execute(f"vacuum analyze pgflow.{table}".encode())
    given = {"run": run_id, "worker": engine.worker_id, "arrays": [Jsonb([]), Jsonb([1])]}
    # more often than a plan is made for each call
    few = {name: [pages(engine, query, given) for _ in range(7)][-1] for name, query in CALLS.items()}
    fill(engine)
    pages(engine, CALLS["claim_tasks"], given)
    many = {name: pages(engine, query, given) for name, query in CALLS.items()}
    assert {name: (count, few[name]) for name, count in many.items() if count > 2 * few[name] + 30} == {}
