"""Contract §5, point 11, as far as the catalogue cannot tell it: side effects in CTEs, hostile search paths."""

import re
from collections.abc import Iterator

import pytest

from flowdsl.core import manifest
from tests.sql.engine import Engine

FUNCTIONS = sorted(name for name in manifest.file_names() if name.startswith("functions/"))
CTE = re.compile(r"(?:\bwith(?: recursive)?\s+|\),\s*)(\w+)(?:\([^)]*\))? as (?:materialized )?\(", re.MULTILINE)


def without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*", "", text)


def ctes(text: str) -> Iterator[tuple[str, str]]:
    """Every CTE's name and body."""
    for match in CTE.finditer(text):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield match[1], text[match.end() : end - 1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_cte_is_there_for_its_side_effect_unless_postgresql_runs_it_for_certain(name: str) -> None:
    """Contract §5, point 11: a SELECT in a CTE that nobody reads is never executed; a data-modifying one always is."""
    text = without_comments(manifest.read(name))
    for cte, body in ctes(text):
        if not re.match(r"\s*(insert into|update|delete from) ", body):
            assert len(re.findall(rf"\b(?:from|join|cross join|,|using)\s+{cte}\b", text)) >= 1, (name, cte)


def test_ctes_are_found_at_all() -> None:
    found = [cte for name in FUNCTIONS for cte, _ in ctes(without_comments(manifest.read(name)))]
    assert len(found) > 40
    assert {"picked", "claimed", "found", "started"} <= set(found)


def test_nothing_of_the_core_is_led_astray_by_the_search_path_of_its_caller(engine: Engine) -> None:
    """Contract §5, point 11: pinned search paths."""
    engine.conn.execute("create schema evil")
    for signature in (
        "format(text, variadic text[])",
        "pg_notify(text, text)",
        "nextval(text)",
        "cardinality(bigint[])",
    ):
        name, arguments = signature.rstrip(")").split("(")
        engine.conn.execute(
            f"create function evil.{name}({arguments}) returns void language plpgsql as"
            " $$ begin raise exception 'astray'; end $$".encode()
        )
    for table in ("runs", "step_tasks", "step_states", "steps", "workers", "lanes", "flows"):
        engine.conn.execute(f"create table evil.{table} (none int)".encode())
    engine.conn.execute("create function evil.astray(jsonb, jsonb) returns bool language sql as 'select 1 / 0 = 1'")
    engine.conn.execute("create operator evil.@> (leftarg = jsonb, rightarg = jsonb, function = evil.astray)")
    engine.conn.execute("set search_path = evil, pg_catalog")
    engine.flow("f", {"a": (), "m": ("a",), "z": ("m",)}, maps=("m",))
    engine.conn.execute("insert into pgflow.workers (worker_id, queue_name) values (%s, 'f')", (engine.worker_id,))
    run_id = engine.start("f")
    for _ in range(4):
        messages = [row["msg_id"] for row in engine.rows("select * from pgflow.read_with_poll('f', 9, 9, 0)")]
        engine.rows("select * from pgflow.set_vt_batch('f', %s, %s)", messages, [9] * len(messages))
        tasks = engine.rows("select * from pgflow.start_tasks('f', %s, %s)", messages, engine.worker_id)
        engine.complete(tasks, [1, 2])
    assert engine.run(run_id)["status"] == "completed"
    for sweep in ("recover", "stalled", "deadlines", "timers", "prune"):
        assert engine.value("select pgflow.run_sweep(%s, 10, '1 day')", sweep) == 0
    shape = engine.value("select pgflow._get_flow_shape('f')::text")
    assert engine.value("select pgflow.ensure_flow_compiled('f', %s::jsonb) ->> 'status'", shape) == "verified"
    engine.conn.execute("select pgflow.delete_flow_and_data('f')")
