"""The public SQL interface: tables, columns, functions, parameters and defaults, by the names others rely on.

`FUNCTIONS` also says where each function's behaviour is tested; docs/sql.md prints the same list.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.sql.engine import Engine

ROOT = Path(__file__).resolve().parents[2]


class Function(NamedTuple):
    parameters: str
    """Names in order; with `=default` where there is one."""
    result: str
    tests: str


FUNCTIONS = {
    "is_valid_slug": Function("slug", "boolean", "tests/sql/test_definitions.py"),
    "create_flow": Function(
        "flow_slug, max_attempts=, base_delay=, timeout=", "flows", "tests/sql/test_definitions.py"
    ),
    "add_step": Function(
        "flow_slug, step_slug, deps_slugs='{}', max_attempts=, base_delay=, timeout=, start_delay=, step_type='single', "
        "required_input_pattern=, forbidden_input_pattern=, when_unmet='skip', when_exhausted='fail'",
        "steps",
        "tests/sql/test_definitions.py",
    ),
    "start_flow": Function("flow_slug, input, run_id=", "SETOF runs", "tests/sql/test_start_flows.py"),
    "start_flow_with_states": Function("flow_slug, input, run_id=", "jsonb", "tests/sql/test_transitions.py"),
    "get_run_with_states": Function("run_id", "jsonb", "tests/sql/test_transitions.py"),
    "read_with_poll": Function(
        "queue_name, vt, qty, max_poll_seconds=5, poll_interval_ms=100", "SETOF", "tests/sql/test_read_with_poll.py"
    ),
    "start_tasks": Function("flow_slug, msg_ids, worker_id", "SETOF step_task_record", "tests/sql/test_start_tasks.py"),
    "complete_task": Function(
        "run_id, step_slug, task_index, output", "SETOF step_tasks", "tests/sql/test_complete_tasks.py"
    ),
    "fail_task": Function(
        "run_id, step_slug, task_index, error_message", "SETOF step_tasks", "tests/sql/test_fail_tasks.py"
    ),
    "start_ready_steps": Function("run_id", "", "tests/sql/test_transitions.py"),
    "cascade_complete_taskless_steps": Function("run_id", "integer", "tests/sql/test_transitions.py"),
    "cascade_resolve_conditions": Function("run_id", "boolean", "tests/sql/test_transitions.py"),
    "_cascade_force_skip_steps": Function("run_id, step_slug, skip_reason", "integer", "tests/sql/test_transitions.py"),
    "maybe_complete_run": Function("run_id", "", "tests/sql/test_transitions.py"),
    "calculate_retry_delay": Function("base_delay, attempts_count", "integer", "tests/sql/test_fail_tasks.py"),
    "set_vt_batch": Function("queue_name, msg_ids, vt_offsets", "SETOF", "tests/sql/test_set_vt_batch.py"),
    "requeue_stalled_tasks": Function("", "integer", "tests/sql/test_requeue_stalled_tasks.py"),
    "mark_worker_stopped": Function("worker_id", "", "tests/sql/test_recover_tasks.py"),
    "delete_flow_and_data": Function("p_flow_slug", "", "tests/sql/test_delete_and_prune.py"),
    "prune_data_older_than": Function("retention_interval", "", "tests/sql/test_delete_and_prune.py"),
    "_get_flow_shape": Function("p_flow_slug", "jsonb", "tests/sql/test_shapes.py"),
    "_compare_flow_shapes": Function("p_local, p_db", "text[]", "tests/sql/test_shapes.py"),
    "_create_flow_from_shape": Function("p_flow_slug, p_shape", "", "tests/sql/test_shapes.py"),
    "ensure_flow_compiled": Function("flow_slug, shape, allow_data_loss=false", "jsonb", "tests/sql/test_shapes.py"),
}

TYPES = {
    "max_attempts": "integer",
    "base_delay": "integer",
    "timeout": "integer",
    "start_delay": "integer",
    "run_id": "uuid",
    "input": "jsonb",
    "output": "jsonb",
    "task_index": "integer",
    "msg_ids": "bigint[]",
    "vt_offsets": "integer[]",
    "deps_slugs": "text[]",
    "required_input_pattern": "jsonb",
    "forbidden_input_pattern": "jsonb",
    "worker_id": "uuid",
    "retention_interval": "interval",
    "attempts_count": "integer",
    "vt": "integer",
    "qty": "integer",
    "max_poll_seconds": "integer",
    "poll_interval_ms": "integer",
    "allow_data_loss": "boolean",
    "shape": "jsonb",
    "p_shape": "jsonb",
    "p_local": "jsonb",
    "p_db": "jsonb",
}
"""Of parameters that are no text."""

COLUMNS = {
    "flows": "flow_slug opt_max_attempts opt_base_delay opt_timeout created_at",
    "steps": (
        "flow_slug step_slug step_index step_type deps_count opt_max_attempts opt_base_delay opt_timeout opt_start_delay "
        "required_input_pattern forbidden_input_pattern when_unmet when_exhausted created_at"
    ),
    "deps": "flow_slug dep_slug step_slug",
    "runs": "run_id flow_slug status input output remaining_steps started_at completed_at failed_at",
    "step_states": (
        "flow_slug run_id step_slug status remaining_tasks initial_tasks remaining_deps output error_message skip_reason "
        "created_at started_at completed_at failed_at skipped_at"
    ),
    "step_tasks": (
        "flow_slug run_id step_slug task_index message_id status attempts_count error_message output queued_at started_at "
        "completed_at failed_at last_worker_id requeued_count last_requeued_at permanently_stalled_at"
    ),
    "workers": "worker_id queue_name function_name started_at last_heartbeat_at deprecated_at stopped_at",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_parameters_and_defaults_others_rely_on(engine: Engine, name: str) -> None:
    (row,) = engine.rows(
        "select pg_get_function_arguments(oid) as arguments, pg_get_function_result(oid) as result "
        "from pg_proc where pronamespace = 'pgflow'::regnamespace and proname = %s",
        name,
    )
    actual = [_parameter(text) for text in _split(row["arguments"])]
    expected = [tuple(given.partition("=")) for given in FUNCTIONS[name].parameters.split(", ") if given]
    for (parameter, kind, default), (wanted, has_default, value) in zip(actual, expected, strict=False):
        assert parameter == wanted
        # calculate_retry_delay takes fractions of seconds, everything else counts whole ones
        exact = "numeric" if (name, parameter) == ("calculate_retry_delay", "base_delay") else "text"
        assert kind == (exact if exact == "numeric" else TYPES.get(parameter, "text"))
        assert (default is not None) == bool(has_default)
        if has_default:
            assert default == (value or "NULL")
    assert len(actual) >= len(expected)
    assert all(default is not None for _, _, default in actual[len(expected) :]), (
        "what is ours comes last, with defaults"
    )
    result = FUNCTIONS[name].result
    if result == "SETOF":
        assert row["result"].startswith(("SETOF ", "TABLE("))
    elif result:
        assert row["result"].replace("pgflow.", "") == result


def test_read_with_poll_returns_messages(engine: Engine) -> None:
    engine.flow("f", {"a": []})
    run_id = engine.start("f", {})
    (row,) = engine.rows("select * from pgflow.read_with_poll('f', 5, 1, 0)")
    assert set(row) >= {"msg_id", "read_ct", "enqueued_at", "vt", "message"}
    assert row["message"] == {"flow_slug": "f", "run_id": str(run_id), "step_slug": "a", "task_index": 0}


def test_step_task_record_has_its_fields_in_order(engine: Engine) -> None:
    rows = engine.rows(
        "select attname, format_type(atttypid, null) as kind from pg_attribute "
        "where attrelid = 'pgflow.step_task_record'::regclass order by attnum"
    )
    assert [(row["attname"], row["kind"]) for row in rows][:7] == [
        ("flow_slug", "text"),
        ("run_id", "uuid"),
        ("step_slug", "text"),
        ("input", "jsonb"),
        ("msg_id", "bigint"),
        ("task_index", "integer"),
        ("flow_input", "jsonb"),
    ]


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_has_the_columns_others_rely_on_and_needs_no_others(engine: Engine, table: str) -> None:
    rows = engine.rows(
        "select column_name, is_nullable = 'YES' or column_default is not null or is_generated = 'ALWAYS' "
        "or is_identity = 'YES' as optional "
        "from information_schema.columns where table_schema = 'pgflow' and table_name = %s",
        table,
    )
    named = set(COLUMNS[table].split())
    assert named <= {row["column_name"] for row in rows}
    # triggers fill in the lane
    assert {row["column_name"] for row in rows if not row["optional"]} - named <= {"lane_id"}


def test_rows_written_by_hand_with_these_columns_alone_work(engine: Engine) -> None:
    engine.conn.execute("insert into pgflow.flows (flow_slug) values ('f')")
    engine.conn.execute(
        "insert into pgflow.steps (flow_slug, step_slug, step_index, step_type) values ('f', 'a', 0, 'single')"
    )
    engine.conn.execute(
        "insert into pgflow.steps (flow_slug, step_slug, step_index, deps_count) values ('f', 'b', 1, 1)"
    )
    engine.conn.execute("insert into pgflow.deps (flow_slug, dep_slug, step_slug) values ('f', 'a', 'b')")
    worker = engine.value(
        "insert into pgflow.workers (worker_id, queue_name, function_name) values (gen_random_uuid(), 'f', 'mine') "
        "returning worker_id"
    )
    run_id = engine.start("f", {"x": 1})
    for step, given in (("a", {}), ("b", {"a": 1})):
        (message,) = engine.rows("select * from pgflow.read_with_poll('f', 5, 1, 0)")
        (task,) = engine.rows(
            "select * from pgflow.start_tasks('f', array[%s]::bigint[], %s)", message["msg_id"], worker
        )
        assert (task["step_slug"], task["input"]) == (step, given)
        assert task["flow_input"] == (
            {"x": 1} if step == "a" else None
        )  # a root step's; others have it in the run's row
        engine.rows("select * from pgflow.complete_task(%s, %s, 0, '1')", run_id, step)
    assert engine.run(run_id)["output"] == {"b": 1}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_called_in_the_test_file_that_is_said_to_test_it(name: str) -> None:
    assert f"pgflow.{name}(" in (ROOT / FUNCTIONS[name].tests).read_text(encoding="utf-8")


def test_the_documentation_lists_every_function_with_its_test_file() -> None:
    text = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)\([^`]*` \|.*\| `(tests/\S+)` \|$", text, re.MULTILINE)) == {
        name: function.tests for name, function in FUNCTIONS.items()
    }


def _split(arguments: str) -> list[str]:
    return [text for text in re.split(r", (?=\w+ )", arguments) if text]


def _parameter(text: str) -> tuple[str, str, str | None]:
    declaration, _, default = text.partition(" DEFAULT ")
    name, _, kind = declaration.partition(" ")
    return name, kind, re.sub(r"::[\w\[\] ]+$", "", default) if default else None
