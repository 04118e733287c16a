"""create_flow, add_step, is_valid_slug, set_flow_options, set_step_options, drop_flow_version."""

import psycopg
import pytest

from tests.sql.engine import Engine


@pytest.mark.parametrize(
    ("slug", "valid"),
    [
        ("a", True),
        ("_x9", True),
        ("A" * 128, True),
        ("A" * 129, False),
        ("", False),
        ("9a", False),
        ("a-b", False),
        ("run", False),
        ("Run", True),
        ("a b", False),
        ("a\n", False),
        ("é", False),
        (None, False),
    ],
)
def test_slugs(engine: Engine, slug: str | None, valid: bool) -> None:
    assert engine.value("select pgflow.is_valid_slug(%s::text)", slug) is valid


def test_a_flow_gets_the_defaults_and_is_returned_unchanged_the_second_time(engine: Engine) -> None:
    first = engine.row("select * from pgflow.create_flow('f')")
    assert (first["opt_max_attempts"], first["opt_base_delay"], first["opt_timeout"]) == (3, 5, 60)
    assert engine.row("select * from pgflow.create_flow('f', 9, 9, 9)") == first


def test_positional_options_are_attempts_delay_timeout(engine: Engine) -> None:
    flow = engine.row("select * from pgflow.create_flow('f', 1, 2, 3)")
    assert (flow["opt_max_attempts"], flow["opt_base_delay"], flow["opt_timeout"]) == (1, 2, 3)


def test_slugs_that_differ_in_case_are_different_flows_and_queues(engine: Engine) -> None:
    engine.flow("Flow", {"a": ()})
    engine.flow("flow", {"a": ()})
    assert engine.rows('select queue_name from pgflow.lanes order by queue_name collate "C"') == [
        {"queue_name": "Flow"},
        {"queue_name": "flow"},
    ]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("select pgflow.create_flow('9')", "PF400"),
        ("select pgflow.create_flow('f', max_attempts => 0)", "PF400"),
        ("select pgflow.create_flow('f', base_delay => -1)", "PF400"),
        ("select pgflow.create_flow('f', timeout => 0)", "PF400"),
        ("select pgflow.create_flow('f', queue => '  ')", "PF400"),
        ("select pgflow.create_flow('known', version => 3)", "PF400"),
        ("select pgflow.create_flow('known', version => 0)", "PF400"),
        ("select pgflow.add_step('known', 'b', version => 2)", "PF404"),
        ("select pgflow.register_worker(null, '{}', '{}')", "PF400"),
        ("select pgflow.create_flow('known', fingerprint => 'other')", "PF409"),
        ("select pgflow.add_step('nope', 'a')", "PF404"),
        ("select pgflow.add_step('known', 'run')", "PF400"),
        ("select pgflow.add_step('known', 'b', array['nope'])", "PF407"),
        ("select pgflow.add_step('known', 'b', array['a', 'a'])", "PF400"),
        ("select pgflow.add_step('known', 'b', array['a', null])", "PF400"),
        ("select pgflow.add_step('known', 'b', step_type => 'loop')", "PF400"),
        ("select pgflow.add_step('known', 'b', step_type => null)", "PF400"),
        ("select pgflow.add_step('known', 'b', when_unmet => 'never')", "PF400"),
        ("select pgflow.add_step('known', 'b', timeout => 0)", "PF400"),
        ("select pgflow.add_step('known', 'b', map_over => 'a')", "PF400"),
        ("select pgflow.add_step('known', 'm', array['a', 'z'], step_type => 'map')", "PF400"),
        ("select pgflow.add_step('known', 'm', array['a'], step_type => 'map', map_over => 'z')", "PF400"),
        ("select pgflow.add_step('known', 'z', array['a'])", "PF409"),
        ("select pgflow.add_step('known', 'z', step_type => 'map')", "PF409"),
        ("select pgflow.add_step('known', 'b', when_exhausted => 'never')", "PF400"),
        ("select pgflow.add_step('known', 'b', required_input_pattern => '[]')", "PF400"),
        ("select pgflow.add_step('known', 'b', forbidden_input_pattern => 'null')", "PF400"),
        ("select pgflow.create_flow('fresh', deadline => 0)", "PF400"),
        ("select pgflow.set_flow_options('nope')", "PF404"),
        ("select pgflow.set_step_options('known', 1, 'nope')", "PF407"),
        ("select pgflow.set_step_options('known', 1, 'a', max_attempts => 0)", "PF400"),
    ],
)
def test_definition_mistakes_are_refused_and_change_nothing(engine: Engine, call: str, code: str) -> None:
    engine.flow("known", {"a": (), "z": ()})
    before = engine.rows("select * from pgflow.steps order by step_index")
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(call.encode())
    assert refusal.value.sqlstate == code
    assert refusal.value.diag.message_primary
    assert engine.rows("select * from pgflow.steps order by step_index") == before


def test_adding_a_step_again_returns_it_unchanged(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("b", "a")})
    before = engine.rows("select * from pgflow.steps order by step_index")
    assert [step["step_index"] for step in before] == [0, 1, 2]
    assert engine.row("select * from pgflow.add_step('f', 'c', array['b', 'a'], max_attempts => 9)") == before[2]
    assert engine.row("select * from pgflow.add_step('f', 'c', array['a', 'b'])") == before[2]
    assert engine.rows("select * from pgflow.steps order by step_index") == before


def test_what_a_map_runs_over_is_its_only_dependency_or_the_input(engine: Engine) -> None:
    engine.flow("f", {"a": (), "m": ("a",), "r": ()}, maps=("m", "r"))
    engine.conn.execute("select pgflow.add_step('f', 'n', array['a', 'm'], step_type => 'map', map_over => 'm')")
    engine.conn.execute("select pgflow.add_step('f', 'o', array['a'], step_type => 'map', map_over => 'run')")
    over = engine.rows("select step_slug, map_over, feeds_map from pgflow.steps order by step_index")
    assert [(s["step_slug"], s["map_over"], s["feeds_map"]) for s in over] == [
        ("a", None, True),
        ("m", "a", True),
        ("r", "run", False),
        ("n", "m", False),
        ("o", "run", False),
    ]


def test_a_hand_written_insert_with_the_contracts_columns_works(engine: Engine) -> None:
    engine.conn.execute("insert into pgflow.flows (flow_slug) values ('hand')")
    engine.conn.execute(
        "insert into pgflow.steps (flow_slug, step_slug, step_index, deps_count) values ('hand', 'a', 0, 0)"
    )
    engine.conn.execute(
        "insert into pgflow.steps (flow_slug, step_slug, step_index, deps_count) values ('hand', 'b', 1, 1)"
    )
    engine.conn.execute("insert into pgflow.deps (flow_slug, dep_slug, step_slug) values ('hand', 'a', 'b')")
    run_id = engine.start("hand", {"x": 1})
    worker = engine.serve()
    engine.conn.execute("insert into pgflow.flow_versions values ('hand', 1, 'shape')")
    engine.conn.execute("update pgflow.workers set flow_slugs = '{hand}', fingerprints = '{shape}'")
    engine.conn.execute("select pgflow.heartbeat_worker(%s)", (worker,))
    assert [t["step_slug"] for t in engine.work_off("done")] == ["a", "b"]
    assert engine.run(run_id)["output"] == {"b": "done"}


def test_maps_written_by_hand_run_over_the_input_or_their_dependency(engine: Engine) -> None:
    engine.conn.execute("insert into pgflow.flows (flow_slug) values ('hand')")
    engine.conn.execute("insert into pgflow.flow_versions values ('hand', 1, 'shape')")
    engine.conn.execute(
        "insert into pgflow.steps (flow_slug, step_slug, step_type, step_index, deps_count)"
        " values ('hand', 'a', 'map', 0, 0), ('hand', 'b', 'map', 1, 1)"
    )
    engine.conn.execute("insert into pgflow.deps (flow_slug, dep_slug, step_slug) values ('hand', 'a', 'b')")
    engine.serve("hand")
    run_id = engine.start("hand", [1, 2])
    engine.work_off(lambda t: t["element"] * 10)
    assert engine.run(run_id)["output"] == {"b": [100, 200]}


def test_a_worker_serves_every_version_of_its_shape_and_none_of_another(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    first = engine.start("f")
    for version, shape in ((2, "other"), (3, "shape")):
        engine.conn.execute("select pgflow.create_flow('f', version => %s, fingerprint => %s)", (version, shape))
        engine.conn.execute("select pgflow.add_step('f', 'a')")
    engine.serve("f")
    assert [t["run_id"] for t in engine.work_off()] == [first]
    engine.conn.execute("select pgflow.drop_flow_version('f', 3)")
    engine.conn.execute("select pgflow.create_flow('f', version => 3, fingerprint => 'new')")
    engine.conn.execute("select pgflow.add_step('f', 'b')")
    engine.start("f")
    engine.conn.execute("select pgflow.heartbeat_worker(%s)", (engine.worker_id,))
    assert engine.claim() == []


@pytest.mark.broken_data("a second task of a single step")
def test_a_task_inserted_by_hand_finds_its_lane_and_is_claimed_even_below_the_floor(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    run_id = engine.start("f")
    engine.conn.execute("update pgflow.lanes set claim_floor = 1000000")
    engine.conn.execute("update pgflow.step_states set initial_tasks = 2, remaining_tasks = 2")
    engine.conn.execute(
        "insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id) values ('f', %s, 'a', 1, 1)",
        (run_id,),
    )
    assert {t["task_index"] for t in engine.claim()} == {0, 1}


def test_new_runs_get_the_new_version_and_old_runs_end_on_theirs(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    old = engine.start("f")
    engine.conn.execute("select pgflow.create_flow('f', version => 2, fingerprint => 'shape2')")
    engine.conn.execute("select pgflow.add_step('f', 'b')")
    new = engine.start("f")
    assert (engine.states(old), engine.states(new)) == ({"a": "started"}, {"b": "started"})
    engine.serve("f")
    assert [t["step_slug"] for t in engine.work_off()] == ["a"], "a worker claims the version it has handlers for"
    second = engine.value("select gen_random_uuid()")
    engine.conn.execute("select pgflow.register_worker(%s, '{f}', '{shape2}')", (second,))
    tasks = engine.claim(worker_id=second)
    assert [(t["step_slug"], t["flow_version"]) for t in tasks] == [("b", 2)]


def test_changed_options_count_from_now_on_and_move_waiting_tasks(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'a', max_attempts => 7, timeout => 11, queue => 'gpu')")
    assert engine.value("select queue_name from pgflow.lanes join pgflow.step_tasks using (lane_id)") == "gpu"
    engine.conn.execute("select pgflow.heartbeat_worker(%s)", (engine.worker_id,))
    (task,) = engine.claim()
    assert (task["max_attempts"], task["timeout"]) == (7, 11)
    engine.conn.execute("select pgflow.set_flow_options('f', max_attempts => 2, priority => 5)")
    flow = engine.row("select * from pgflow.flows")
    assert (flow["opt_max_attempts"], flow["opt_timeout"], flow["opt_priority"]) == (2, 60, 5)


def test_dropping_a_version_brings_back_the_one_before_and_dropping_the_last_the_flow(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    before = engine.rows("select * from pgflow.flows"), engine.rows("select * from pgflow.steps")
    engine.conn.execute("select pgflow.create_flow('f', version => 2, fingerprint => 'shape2')")
    engine.conn.execute("select pgflow.add_step('f', 'b')")
    run_id = engine.start("f")
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute("select pgflow.drop_flow_version('f', 2)")
    assert refusal.value.sqlstate == "PF411"
    engine.conn.execute("select pgflow.register_worker(%s, '{f}', '{shape2}')", (engine.worker_id,))
    engine.work_off()
    assert engine.run(run_id)["status"] == "completed"
    engine.conn.execute("select pgflow.drop_flow_version('f', 2)")
    assert (engine.rows("select * from pgflow.flows"), engine.rows("select * from pgflow.steps")) == before
    engine.conn.execute("select pgflow.drop_flow_version('f', 1)")
    engine.conn.execute("select pgflow.drop_flow_version('f', 1)")
    for table in ("flows", "flow_versions", "lanes", "steps", "deps", "runs", "step_states", "step_tasks"):
        assert engine.value(f"select count(*) from pgflow.{table}") == 0, table
