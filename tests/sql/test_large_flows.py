"""What a task costs does not depend on how many steps its flow has, whatever the statistics say.

The figure is pages touched, which depends neither on the machine nor on what else it does.
"""

from typing import Any, LiteralString

import pytest
from psycopg.types.json import Jsonb

from tests.sql.engine import Engine

Row = dict[str, Any]

BATCH = 10
COMPLETE: LiteralString = "select * from pgflow.complete_tasks(%s, %s, %s, %s, %s::jsonb[])"
CLAIM: LiteralString = "select * from pgflow.claim_tasks(%s, %s)"
FAIL: LiteralString = "select * from pgflow.fail_tasks(%s, %s, %s, %s, %s::jsonb[])"


def pages(engine: Engine, query: LiteralString, arguments: tuple[object, ...]) -> int:
    with engine.conn.transaction(force_rollback=True):
        ((plan,),) = engine.conn.execute(
            "explain (analyze, buffers, timing off, format json) " + query, arguments
        ).fetchall()
    return sum(plan[0]["Plan"][f"Shared {kind} Blocks"] for kind in ("Hit", "Read"))


def arrays(tasks: list[Row], last: object) -> tuple[list[object], ...]:
    columns = ("run_id", "step_slug", "task_index", "fence")
    return (*([t[column] for t in tasks] for column in columns), [Jsonb(last)] * len(tasks))


def figures(engine: Engine, slug: str) -> dict[str, int]:
    """Pages of each call on tasks in the middle of the flow's chain, with plans that this connection has already."""
    for _ in range(BATCH):
        engine.start(slug)
    engine.complete(engine.claim(BATCH))
    claim = (engine.worker_id, BATCH)
    pages(engine, CLAIM, claim)
    found = {"claim": pages(engine, CLAIM, claim)}
    tasks = engine.claim(BATCH)
    assert len(tasks) == BATCH
    for name, query, last in (("complete", COMPLETE, {"a": 1}), ("fail", FAIL, {"class": "E", "message": "m"})):
        pages(engine, query, arrays(tasks, last))
        found[name] = pages(engine, query, arrays(tasks, last))
    engine.conn.execute("select pgflow.cancel_run(run_id) from pgflow.runs where status = 'started'")
    return found


@pytest.mark.parametrize("analysed", [True, False], ids=["with statistics of small flows", "without statistics"])
def test_a_task_of_a_flow_with_many_steps_costs_what_one_of_few_steps_costs(engine: Engine, analysed: bool) -> None:
    for table in ("steps", "deps"):
        engine.conn.execute(f"alter table pgflow.{table} set (autovacuum_enabled = off)".encode())
    engine.flow("few", {"s0": (), "s1": ("s0",), "s2": ("s1",)})
    if analysed:
        engine.conn.execute("analyze pgflow.steps, pgflow.deps")
    engine.serve("few")
    few = figures(engine, "few")
    engine.flow("many", {f"s{i}": (f"s{i - 1}",) if i else () for i in range(300)})
    engine.serve("many")
    many = figures(engine, "many")
    assert {name: (count, few[name]) for name, count in many.items() if count > 2 * few[name]} == {}
