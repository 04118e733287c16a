"""Versions that serve earlier ones (serves_from, accepts_from), retired flows, describe_flow, open_runs."""

import uuid

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.engine import Engine

NUMBER = {"type": "integer"}
NOTHING = {"const": None, "type": "null"}


def version(engine: Engine, number: int, *, serves_from: int | None = None, accepts_from: int | None = None) -> None:
    """Define version `number` of flow `f`: one step `a`, fingerprint `shape<number>`."""
    engine.conn.execute(
        "select pgflow.create_flow('f', version => %s, fingerprint => %s, serves_from => %s, accepts_from => %s)",
        (number, f"shape{number}", serves_from, accepts_from),
    )
    engine.conn.execute("select pgflow.add_step('f', 'a', version => %s)", (number,))


def worker(engine: Engine, shape: str) -> uuid.UUID:
    worker_id = uuid.uuid4()
    engine.value("select pgflow.register_worker(%s, array['f'], array[%s], lease_seconds => 1000)", worker_id, shape)
    return worker_id


def start(engine: Engine, shape: str | None, run_id: uuid.UUID | None = None, value: int = 1) -> uuid.UUID:
    run_ids = None if run_id is None else [run_id]
    found = engine.value("select pgflow.start_flows('f', array[%s::jsonb], %s, %s)", Jsonb(value), run_ids, shape)
    assert isinstance(found, uuid.UUID)
    return found


def versions(tasks: list[dict[str, object]]) -> list[object]:
    return sorted(task["flow_version"] for task in tasks)  # type: ignore[type-var]


def test_workers_of_a_version_that_serves_earlier_ones_carry_out_their_runs(engine: Engine) -> None:
    version(engine, 1)
    old = start(engine, "shape1")
    version(engine, 2, serves_from=1)
    start(engine, "shape2")
    tasks = engine.claim(worker_id=worker(engine, "shape2"))
    assert versions(tasks) == [1, 2]
    engine.complete(tasks, "done")
    assert engine.run(old)["status"] == "completed"
    assert engine.run(old)["flow_version"] == 1


def test_a_version_serves_only_itself_by_default(engine: Engine) -> None:
    version(engine, 1)
    start(engine, "shape1")
    version(engine, 2)
    start(engine, "shape2")
    assert versions(engine.claim(worker_id=worker(engine, "shape2"))) == [2]
    assert versions(engine.claim(worker_id=worker(engine, "shape1"))) == [1]


def test_a_worker_of_an_earlier_version_never_takes_runs_of_a_later_one(engine: Engine) -> None:
    version(engine, 1)
    version(engine, 2, serves_from=1)
    start(engine, "shape2")
    assert engine.claim(worker_id=worker(engine, "shape1")) == []


def test_a_worker_that_is_there_already_serves_a_version_that_is_compiled_later_only_after_it_registers(
    engine: Engine,
) -> None:
    version(engine, 1)
    old = worker(engine, "shape1")
    version(engine, 2, serves_from=1)
    start(engine, "shape2")
    engine.conn.execute("select pgflow.heartbeat_worker(%s)", (old,))
    assert engine.claim(worker_id=old) == []
    assert versions(engine.claim(worker_id=worker(engine, "shape2"))) == [2]


def test_served_versions_end_where_a_version_serves_none_before_it(engine: Engine) -> None:
    for number, serves in ((1, None), (2, None), (3, 2), (4, 2)):
        version(engine, number, serves_from=serves)
        start(engine, f"shape{number}")
    assert versions(engine.claim(worker_id=worker(engine, "shape4"))) == [2, 3, 4]
    assert versions(engine.claim(worker_id=worker(engine, "shape2"))) == []
    assert versions(engine.claim(worker_id=worker(engine, "shape1"))) == [1]


def test_callers_of_an_accepted_version_start_the_current_one(engine: Engine) -> None:
    version(engine, 1)
    version(engine, 2, accepts_from=1)
    assert engine.run(start(engine, "shape1"))["flow_version"] == 2
    version(engine, 3)
    for shape in ("shape1", "shape2", "shape4"):
        with pytest.raises(psycopg.DatabaseError, match="its current version 3 has another shape") as refused:
            start(engine, shape)
        assert refused.value.sqlstate == "PF414"
        engine.conn.rollback()


def test_serving_runs_and_accepting_callers_are_two_things(engine: Engine) -> None:
    version(engine, 1)
    version(engine, 2, serves_from=1)
    with pytest.raises(psycopg.DatabaseError, match="another shape"):
        start(engine, "shape1")


@pytest.mark.parametrize("name", ["serves_from", "accepts_from"])
@pytest.mark.parametrize("since", [0, 3, -1])
def test_a_version_cannot_serve_from_what_is_no_earlier_version(engine: Engine, name: str, since: int) -> None:
    version(engine, 1)
    with pytest.raises(psycopg.DatabaseError, match=f"{name} must be from 1 to the version itself, not {since}") as no:
        engine.conn.execute(f"select pgflow.create_flow('f', version => 2, {name} => {since})")
    assert no.value.sqlstate == "PF400"


def test_explain_and_list_flows_count_workers_of_a_serving_version(engine: Engine) -> None:
    version(engine, 1)
    old = start(engine, "shape1")
    version(engine, 2, serves_from=1)

    def waits_for() -> set[str]:
        return {row["waits_for"] for row in engine.rows("select * from pgflow.explain_run(%s)", old)}

    assert "no_worker" in waits_for()
    worker(engine, "shape2")
    assert "no_worker" not in waits_for()
    assert "worker" in waits_for()
    found = engine.rows("select flow_version, live_workers from pgflow.list_flows()")
    assert found == [{"flow_version": 2, "live_workers": 1}, {"flow_version": 1, "live_workers": 1}]


def test_an_old_version_that_is_only_served_by_later_workers_is_listed_while_it_has_open_runs(engine: Engine) -> None:
    version(engine, 1)
    version(engine, 2, serves_from=1)
    worker(engine, "shape2")
    assert [row["flow_version"] for row in engine.rows("select * from pgflow.list_flows()")] == [2]


# ---- retired flows --------------------------------------------------------------------------------------------------


def test_a_retired_flow_starts_nothing_and_its_open_runs_go_on(engine: Engine) -> None:
    version(engine, 1)
    run = start(engine, "shape1")
    retired = engine.row("select * from pgflow.retire_flow('f')")
    assert retired["retired_at"] is not None
    with pytest.raises(psycopg.DatabaseError, match="flow 'f' is retired and starts no new runs") as refused:
        start(engine, "shape1")
    assert refused.value.sqlstate == "PF416"
    engine.conn.rollback()
    engine.conn.execute("select pgflow.retire_flow('f')")
    engine.complete(engine.claim(worker_id=worker(engine, "shape1")), 1)
    assert engine.run(run)["status"] == "completed"


def test_retiring_twice_keeps_the_first_moment_and_restoring_takes_it_away(engine: Engine) -> None:
    version(engine, 1)
    first = engine.row("select * from pgflow.retire_flow('f')")
    engine.set_clock(60)
    assert engine.row("select * from pgflow.retire_flow('f')") == first
    assert engine.row("select * from pgflow.restore_flow('f')")["retired_at"] is None
    assert engine.row("select * from pgflow.restore_flow('f')")["retired_at"] is None
    start(engine, "shape1")


@pytest.mark.parametrize("function", ["retire_flow", "restore_flow"])
def test_only_a_known_flow_is_retired_or_restored(engine: Engine, function: str) -> None:
    with pytest.raises(psycopg.DatabaseError, match="flow 'nobody' does not exist") as refused:
        engine.conn.execute(f"select pgflow.{function}('nobody')")
    assert refused.value.sqlstate == "PF404"


def test_a_failed_run_of_a_retired_flow_may_be_retried(engine: Engine) -> None:
    version(engine, 1)
    run = start(engine, "shape1")
    engine.conn.execute("select pgflow.cancel_run(%s)", (run,))
    engine.conn.execute("select pgflow.retire_flow('f')")
    engine.conn.execute("select pgflow.retry_run(%s)", (run,))
    assert engine.run(run)["status"] == "started"


def test_a_start_that_comes_again_is_answered_as_before_whatever_became_of_the_flow(engine: Engine) -> None:
    version(engine, 1)
    run = uuid.uuid4()
    assert start(engine, "shape1", run) == run
    version(engine, 2)
    assert start(engine, "shape1", run) == run
    engine.conn.execute("select pgflow.retire_flow('f')")
    assert start(engine, "shape1", run) == run
    assert engine.value("select count(*) from pgflow.runs") == 1


def test_a_start_that_comes_again_beside_a_new_one_is_refused_with_it(engine: Engine) -> None:
    version(engine, 1)
    run = start(engine, "shape1", uuid.uuid4())
    engine.conn.execute("select pgflow.retire_flow('f')")
    with pytest.raises(psycopg.DatabaseError, match="retired"):
        engine.conn.execute(
            "select pgflow.start_flows('f', array['1', '1']::jsonb[], array[%s, gen_random_uuid()])", (run,)
        )


# ---- descriptions ---------------------------------------------------------------------------------------------------


def described(engine: Engine) -> None:
    engine.conn.execute(
        "select pgflow.create_flow('f', version => 1, fingerprint => 'shape1', output_step => 'each',"
        " input_schema => %s, output_schema => %s)",
        (Jsonb(NUMBER), Jsonb({"type": "array", "items": NOTHING})),
    )
    engine.conn.execute(
        "select pgflow.add_step('f', 'items', input_schema => %s, output_schema => %s)",
        (Jsonb({"type": "object", "properties": {"run": NUMBER}}), Jsonb({"type": "array", "items": NUMBER})),
    )
    engine.conn.execute(
        "select pgflow.add_step('f', 'each', array['items'], step_type => 'map', when_unmet => 'skip-cascade',"
        " input_predicate => '$.items[0] > 1', output_schema => %s)",
        (Jsonb({"type": "array", "items": NOTHING}),),
    )


def test_describe_flow_tells_what_a_caller_has_to_know(engine: Engine) -> None:
    described(engine)
    found = engine.value("select pgflow.describe_flow('f')")
    steps = found.pop("steps")
    assert found == {
        "slug": "f",
        "version": 1,
        "fingerprint": "shape1",
        "isCurrent": True,
        "retiredAt": None,
        "inputSchema": NUMBER,
        "outputSchema": {"type": "array", "items": NOTHING},
        "outputStep": "each",
    }
    assert [step["slug"] for step in steps] == ["items", "each"]
    assert steps[1] == {
        "slug": "each",
        "stepType": "map",
        "dependencies": ["items"],
        "isConditional": True,
        "whenUnmet": "skip-cascade",
        "whenExhausted": "fail",
        "inputSchema": None,
        "outputSchema": {"type": "array", "items": NOTHING},
    }


def test_describe_flow_knows_old_versions_and_nothing_of_unknown_ones(engine: Engine) -> None:
    version(engine, 1)
    version(engine, 2)
    assert engine.value("select pgflow.describe_flow('f')")["version"] == 2
    assert engine.value("select pgflow.describe_flow('f', 1)")["isCurrent"] is False
    assert engine.value("select pgflow.describe_flow('f', 3)") is None
    assert engine.value("select pgflow.describe_flow('nobody')") is None


def test_schemas_travel_in_a_shape_and_nulls_inside_them_stay(engine: Engine) -> None:
    described(engine)
    shape = engine.value("select pgflow._get_flow_shape('f')")
    assert shape["outputSchema"]["items"] == NOTHING
    assert shape["steps"][1]["outputSchema"]["items"] == NOTHING
    assert "inputSchema" not in shape["steps"][1]
    engine.conn.execute("select pgflow._create_flow_from_shape('copy', %s)", (Jsonb(shape),))
    assert engine.value("select pgflow._get_flow_shape('copy')") == shape


def test_shapes_differ_in_schemas_only_where_the_local_one_names_them(engine: Engine) -> None:
    described(engine)
    there = engine.value("select pgflow._get_flow_shape('f')")
    local = engine.value("select pgflow._get_flow_shape('f')")
    del local["inputSchema"], local["steps"][0]["outputSchema"]

    def differences() -> list[str]:
        found: list[str] = engine.value("select pgflow._compare_flow_shapes(%s, %s)", Jsonb(local), Jsonb(there))
        return found

    assert differences() == []
    local["inputSchema"] = {"type": "string"}
    local["steps"][1]["inputSchema"] = {}
    step, flow = differences()
    assert step.startswith("Step 'each': inputSchema differs")
    assert flow == 'Flow: inputSchema differs: {"type": "string"} vs {"type": "integer"}'


def test_open_runs_are_counted_by_version(engine: Engine) -> None:
    version(engine, 1)
    first, _ = start(engine, None), start(engine, None)
    version(engine, 2)
    start(engine, None)
    engine.conn.execute("select pgflow.cancel_run(%s)", (first,))
    engine.flow("g", {"a": ()})
    engine.start("g")
    of_f = [{"flow_slug": "f", "flow_version": 1, "runs": 1}, {"flow_slug": "f", "flow_version": 2, "runs": 1}]
    assert engine.rows("select * from pgflow.open_runs(array['f'])") == of_f
    assert engine.rows("select * from pgflow.open_runs()") == [*of_f, {"flow_slug": "g", "flow_version": 1, "runs": 1}]
