"""list_runs page by page; list_flows with workers that are not ours."""

import uuid

import psycopg
import pytest

from tests.sql.engine import Engine


@pytest.mark.parametrize("size", [1, 3, 4, 20])
def test_paging_misses_no_run_although_many_started_at_the_same_moment(engine: Engine, size: int) -> None:
    engine.flow("f", {"a": ()})
    engine.flow("g", {"a": ()})
    for second in (10, 20):
        engine.set_clock(second)
        engine.conn.execute(
            "select pgflow.start_flows(x, array_fill('1'::jsonb, array[5])) from unnest('{f,g}'::text[]) x"
        )
    seen: list[uuid.UUID] = []
    last: tuple[object, object] = (None, None)
    while page := engine.rows(
        "select * from pgflow.list_runs(max_runs => %s, before => %s, before_run => %s)", size, *last
    ):
        seen += [row["run_id"] for row in page]
        last = (page[-1]["started_at"], page[-1]["run_id"])
    expected = engine.rows("select run_id from pgflow.runs order by started_at desc, run_id desc")
    assert seen == [row["run_id"] for row in expected]


def test_paging_goes_on_after_a_run_id_alone(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    ids = [engine.start("f", i) for i in range(4)]
    rest = engine.rows("select run_id from pgflow.list_runs('f', before_run => %s)", ids[2])
    assert [row["run_id"] for row in rest] == ids[1::-1]
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute("select pgflow.list_runs(before_run => gen_random_uuid())")
    assert refusal.value.sqlstate == "PF405"


def test_a_worker_without_a_lease_is_live_until_it_stops(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    worker = uuid.uuid4()
    engine.conn.execute("insert into pgflow.workers (worker_id, queue_name) values (%s, 'f')", (worker,))
    query = "select live_workers from pgflow.list_flows()"
    engine.set_clock(1_000_000)
    assert engine.value(query) == 1
    engine.serve("f")
    assert engine.value(query) == 2
    engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker,))
    assert engine.value(query) == 1


def test_a_foreign_worker_does_not_keep_an_old_version_in_the_list(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.conn.execute("select pgflow.create_flow('f', version => 2, fingerprint => 'shape2')")
    engine.conn.execute("select pgflow.add_step('f', 'b')")
    engine.conn.execute("insert into pgflow.workers (worker_id, queue_name) values (gen_random_uuid(), 'f')")
    query = "select flow_version, live_workers from pgflow.list_flows()"
    assert engine.rows(query) == [{"flow_version": 2, "live_workers": 1}]
