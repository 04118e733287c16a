"""ensure_flow_compiled and its parts: _get_flow_shape, _compare_flow_shapes, _create_flow_from_shape."""

import threading
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.engine import Engine

Shape = dict[str, Any]

OPEN = {"defined": False}


def step(slug: str, *deps: str, **more: Any) -> Shape:
    plain = {
        "slug": slug,
        "stepType": "single",
        "dependencies": list(deps),
        "whenUnmet": "skip",
        "whenExhausted": "fail",
        "requiredInputPattern": OPEN,
        "forbiddenInputPattern": OPEN,
    }
    return plain | more


def flow(*steps: Shape, **more: Any) -> Shape:
    return {"steps": list(steps), **more}


def pattern(value: object) -> Shape:
    return {"defined": True, "value": value}


def shape_of(engine: Engine, slug: str = "f") -> Shape:
    shape: Shape = engine.value("select pgflow._get_flow_shape(%s)", slug)
    return shape


def compare(engine: Engine, local: Shape, db: Shape) -> list[str]:
    differences: list[str] = engine.value("select pgflow._compare_flow_shapes(%s, %s)", Jsonb(local), Jsonb(db))
    return differences


def create(engine: Engine, shape: Shape, slug: str = "f") -> None:
    engine.conn.execute("select pgflow._create_flow_from_shape(%s, %s)", (slug, Jsonb(shape)))


def ensure(engine: Engine, shape: Shape, slug: str = "f", **more: bool) -> Shape:
    result: Shape = engine.value(
        "select pgflow.ensure_flow_compiled(%s, %s, %s)", slug, Jsonb(shape), more.get("allow_data_loss", False)
    )
    return result


EVERYTHING = flow(
    step("a", options={"maxAttempts": 9, "baseDelay": 1, "timeout": 7, "startDelay": 2}),
    step("b", whenUnmet="skip-cascade", whenExhausted="skip", requiredInputPattern=pattern({"n": None, "deep": [{}]})),
    step("m", "a", "b", stepType="map", mapOver="a", usesRunInput=False, options={"queue": "gpu", "priority": 3}),
    step("n", "m", stepType="map", mapOver="run", forbiddenInputPattern=pattern({})),
    step("o", "a", inputPredicate='($."run" == 1)', options={"retryOn": ["ValueError"], "maxDelay": 50}),
    outputStep="n",
    options={
        "maxAttempts": 4,
        "baseDelay": 6,
        "timeout": 61,
        "maxDelay": 90,
        "queue": "q",
        "priority": 1,
        "deadline": 99,
    },
)


def test_a_shape_lists_the_steps_in_their_order_with_sorted_dependencies(engine: Engine) -> None:
    engine.conn.execute("select pgflow.create_flow('f')")
    for call in ("'z'", "'a'", "'m', '{z}', step_type => 'map'", "'end', '{z,m,a}'"):
        engine.conn.execute(f"select pgflow.add_step('f', {call})".encode())
    assert shape_of(engine) == flow(step("z"), step("a"), step("m", "z", stepType="map"), step("end", "a", "m", "z")), (
        "and what is at its default has no further words"
    )


def test_an_unknown_flow_has_no_steps(engine: Engine) -> None:
    assert shape_of(engine) == {"steps": []}


def test_the_shape_is_that_of_the_current_version(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, base_delay=5)
    engine.conn.execute("select pgflow.create_flow('f', version => 2, fingerprint => 'shape2')")
    engine.conn.execute("select pgflow.add_step('f', 'b')")
    assert shape_of(engine) == flow(step("b"))


def test_a_shape_read_from_the_database_makes_the_same_flow_again(engine: Engine) -> None:
    create(engine, EVERYTHING)
    assert shape_of(engine) == EVERYTHING
    create(engine, shape_of(engine), "g")
    assert shape_of(engine, "g") == EVERYTHING
    columns = """
        select to_jsonb(s) - 'flow_slug' - 'created_at' - 'lane_id' as step from pgflow.steps s
        where flow_slug = %s order by step_index
    """
    assert engine.rows(columns, "f") == engine.rows(columns, "g")
    assert engine.value("select opt_deadline from pgflow.flows where flow_slug = 'g'") == 99


def test_a_flow_made_from_a_shape_runs(engine: Engine) -> None:
    create(engine, flow(step("a"), step("m", "a", stepType="map"), step("z", "m")))
    engine.conn.execute("insert into pgflow.workers (worker_id, queue_name) values (%s, 'f')", (engine.worker_id,))
    run_id = engine.start("f")
    for _ in range(3):
        tasks = engine.rows(
            "select t.* from pgflow.start_tasks('f', array(select msg_id from pgflow.read_with_poll('f', 9, 9, 0)), %s) t",
            engine.worker_id,
        )
        engine.complete(tasks, [1, 2])
    assert engine.run(run_id)["output"] == {"z": [1, 2]}


def test_equal_shapes_have_no_differences(engine: Engine) -> None:
    assert compare(engine, EVERYTHING, EVERYTHING) == []
    assert compare(engine, flow(step("c", "b", "a")), flow(step("c", "a", "b"))) == [], "dependencies are a set"
    assert compare(engine, {"steps": [{"slug": "a"}]}, flow(step("a"))) == [], "what is absent is at its default"
    assert compare(engine, flow(step("a", options={"timeout": 5})), flow(step("a"))) == [], "options are no shape"


@pytest.mark.parametrize(
    ("local", "db", "sentence"),
    [
        (step("b", "a"), step("b"), """Step 'b': dependencies differ: ["a"] vs []"""),
        (step("b", stepType="map"), step("b"), """Step 'b': stepType differs: "map" vs "single\""""),
        (step("b", whenUnmet="fail"), step("b"), """Step 'b': whenUnmet differs: "fail" vs "skip\""""),
        (step("b"), step("b", whenExhausted="skip"), """Step 'b': whenExhausted differs: "fail" vs "skip\""""),
        (
            step("b", requiredInputPattern=pattern({"x": 1})),
            step("b"),
            """Step 'b': requiredInputPattern differs: {"value": {"x": 1}, "defined": true} vs {"defined": false}""",
        ),
        (
            step("b", forbiddenInputPattern=pattern({"x": 1})),
            step("b", forbiddenInputPattern=pattern({"x": 2})),
            (
                """Step 'b': forbiddenInputPattern differs: {"value": {"x": 1}, "defined": true} """
                """vs {"value": {"x": 2}, "defined": true}"""
            ),
        ),
        (
            step("b", inputPredicate="$.x == 1"),
            step("b"),
            """Step 'b': inputPredicate differs: "($.\\"x\\" == 1)" vs null""",
        ),
        (step("b", usesRunInput=False), step("b"), "Step 'b': usesRunInput differs: false vs true"),
    ],
)
def test_a_difference_names_step_and_property(engine: Engine, local: Shape, db: Shape, sentence: str) -> None:
    assert compare(engine, flow(step("a"), local), flow(step("a"), db)) == [sentence]


def test_a_pattern_of_an_empty_object_is_not_the_same_as_none(engine: Engine) -> None:
    empty = step("a", forbiddenInputPattern=pattern({}))
    assert len(compare(engine, flow(empty), flow(step("a")))) == 1


def test_missing_steps_and_another_order_are_differences(engine: Engine) -> None:
    assert compare(engine, flow(step("a"), step("b")), flow(step("b"), step("c"))) == [
        "Step 'a' is missing in the database",
        "Step 'c' is only in the database",
    ]
    assert compare(engine, flow(step("a"), step("b")), flow(step("b"), step("a"))) == [
        'Flow: order of steps differs: ["a", "b"] vs ["b", "a"]'
    ]


def test_what_the_contract_has_no_word_for_counts_only_where_the_local_shape_names_it(engine: Engine) -> None:
    plain = flow(step("a"), step("b"), step("m", "a", "b", stepType="map"))
    ours = flow(
        step("a", inputPredicate="$ == 1"),
        step("b", usesRunInput=False),
        step("m", "a", "b", stepType="map", mapOver="b"),
        outputStep="m",
    )
    assert compare(engine, plain, ours) == []
    assert compare(engine, ours, plain) == [
        """Step 'a': inputPredicate differs: "($ == 1)" vs null""",
        "Step 'b': usesRunInput differs: false vs true",
        """Step 'm': mapOver differs: "b" vs null""",
        """Flow: outputStep differs: "m" vs null""",
    ]
    spelt_out = flow(step("a", usesRunInput=True), step("m", "a", stepType="map", mapOver="a"), outputStep=None)
    assert compare(engine, spelt_out, flow(step("a"), step("m", "a", stepType="map"))) == [], "as it is by default"


def test_a_missing_flow_is_compiled_and_then_verified(engine: Engine) -> None:
    assert ensure(engine, EVERYTHING) == {"status": "compiled", "differences": []}
    assert ensure(engine, EVERYTHING) == {"status": "verified", "differences": []}
    assert ensure(engine, EVERYTHING, allow_data_loss=True) == {"status": "verified", "differences": []}


def test_another_shape_is_a_mismatch_and_changes_nothing(engine: Engine) -> None:
    ensure(engine, flow(step("a")))
    engine.start("f")
    difference = "Step 'b' is missing in the database"
    assert ensure(engine, flow(step("a"), step("b"))) == {"status": "mismatch", "differences": [difference]}
    assert shape_of(engine) == flow(step("a"))
    assert engine.value("select count(*) from pgflow.runs") == 1


def test_with_leave_to_lose_data_another_shape_is_compiled_anew(engine: Engine) -> None:
    ensure(engine, flow(step("a")))
    engine.start("f")
    result = ensure(engine, flow(step("a"), step("b", "a")), allow_data_loss=True)
    assert result == {"status": "recompiled", "differences": ["Step 'b' is missing in the database"]}
    assert shape_of(engine) == flow(step("a"), step("b", "a"))
    assert engine.value("select count(*) from pgflow.runs") == 0
    assert engine.value("select count(*) from pgflow.step_tasks") == 0


def test_a_recompilation_that_fails_keeps_the_old_flow(engine: Engine) -> None:
    ensure(engine, flow(step("a")))
    engine.start("f")
    with pytest.raises(psycopg.Error) as refusal:
        ensure(engine, flow(step("a"), step("b", "nobody")), allow_data_loss=True)
    assert refusal.value.sqlstate == "PF407"
    assert shape_of(engine) == flow(step("a"))
    assert engine.value("select count(*) from pgflow.runs") == 1


def test_of_two_callers_at_once_one_compiles_and_the_other_verifies(engine: Engine, dsn: str) -> None:
    results: list[Shape] = []
    with psycopg.connect(dsn) as other_conn:
        assert ensure(Engine(other_conn), EVERYTHING)["status"] == "compiled"
        thread = threading.Thread(target=lambda: results.append(ensure(engine, EVERYTHING)))
        thread.start()
        with psycopg.connect(dsn, autocommit=True) as watcher:
            while not watcher.execute("select from pg_stat_activity where wait_event_type = 'Lock'").fetchall():
                watcher.execute("select pg_sleep(0.005)")
        other_conn.commit()
        thread.join()
    assert [r["status"] for r in results] == ["verified"]


def test_slugs_that_differ_only_in_case_are_compiled_apart(engine: Engine) -> None:
    """Contract §5, point 8."""
    assert ensure(engine, flow(step("a")), "Flow")["status"] == "compiled"
    assert ensure(engine, flow(step("A")), "flow")["status"] == "compiled"
    assert ensure(engine, flow(step("a")), "f" * 128)["status"] == "compiled"
    assert shape_of(engine, "flow") == flow(step("A"))


def test_a_dependency_named_twice_is_refused(engine: Engine) -> None:
    """Contract §5, point 6."""
    with pytest.raises(psycopg.Error) as refusal:
        ensure(engine, flow(step("a"), step("b", "a", "a")))
    assert refusal.value.sqlstate == "PF400"
    assert engine.value("select count(*) from pgflow.flows") == 0


def test_a_step_made_again_with_other_dependencies_is_refused_and_not_changed(engine: Engine) -> None:
    """Contract §5, point 6."""
    create(engine, flow(step("a"), step("b", "a")))
    create(engine, flow(step("a"), step("b", "a")))
    with pytest.raises(psycopg.Error) as refusal:
        create(engine, flow(step("a"), step("b")))
    assert refusal.value.sqlstate == "PF409"
    assert shape_of(engine) == flow(step("a"), step("b", "a"))


@pytest.mark.parametrize(
    "shape",
    [None, {}, {"steps": {}}, {"steps": [{}]}, {"steps": ["a"]}, {"steps": [{"slug": "a", "dependencies": "b"}]}],
)
def test_what_is_no_shape_is_refused(engine: Engine, shape: Any) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        ensure(engine, shape)
    assert refusal.value.sqlstate == "PF400"
    assert engine.value("select count(*) from pgflow.flows") == 0


@pytest.mark.parametrize("slug", ["f" * 129, "run", "1a", "a-b", "", None])
def test_a_flow_slug_that_is_not_valid_is_refused(engine: Engine, slug: Any) -> None:
    """Contract §5, point 8: 128 characters work, 129 are refused and not cut."""
    with pytest.raises(psycopg.Error) as refusal:
        ensure(engine, flow(step("a")), slug)
    assert refusal.value.sqlstate == "PF400"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("'b', '{a,a}'", "PF400"),
        ("'c', '{a}'", "PF409"),
        ("'c', '{a,b}', step_type => 'map', map_over => 'a'", "PF409"),
    ],
)
def test_add_step_refuses_duplicate_dependencies_and_a_changed_step(engine: Engine, call: str, code: str) -> None:
    """Contract §5, point 6."""
    create(engine, flow(step("a"), step("b"), step("c", "b", "a")))
    before = shape_of(engine)
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(f"select pgflow.add_step('f', {call})".encode())
    assert refusal.value.sqlstate == code
    assert shape_of(engine) == before
    engine.conn.execute("select pgflow.add_step('f', 'c', '{a,b}')")
    assert shape_of(engine) == before, "the same step again is no change"
