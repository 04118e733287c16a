"""The three roles: each does all of its work, and is refused everything else."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from flowdsl.core import manifest
from flowdsl.postgres import PostgresServer
from tests.servers import install_core
from tests.sql.engine import Engine

ROLES = ("pgflow_client", "pgflow_viewer", "pgflow_worker")
TABLES = (
    "deps", "flow_versions", "flows", "lanes", "runs", "step_states", "step_tasks", "steps", "task_attempts", "workers",
)  # fmt: skip


@contextmanager
def role(engine: Engine, name: str) -> Iterator[None]:
    """Run statements with the rights of a role only."""
    engine.conn.execute(sql.SQL("set role {}").format(sql.Identifier(name)))
    try:
        yield
    finally:
        engine.conn.execute("reset role")


def refused(engine: Engine, statement: str) -> bool:
    try:
        with engine.conn.transaction(force_rollback=True):
            engine.conn.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


@pytest.fixture
def flow(engine: Engine) -> str:
    """A flow with everything: a map, conditions, skip modes, a deadline, delays."""
    settings: dict[str, dict[str, object]] = {
        "c": {"required_input_pattern": {"go": True}, "when_unmet": "skip-cascade"},
        "h": {"max_attempts": 1, "when_exhausted": "skip-cascade"},
    }
    steps = {"a": (), "m": ("a",), "e": ("a",), "c": (), "d": ("c",), "h": (), "i": ("h",), "z": ("m",)}
    engine.flow("f", steps, maps=["m"], settings=settings, deadline=1000)
    return "f"


def test_every_public_function_is_somebodys(engine: Engine) -> None:
    public = {
        row["proname"]
        for row in engine.rows("select proname from pg_proc where pronamespace = 'pgflow'::regnamespace")
        if not row["proname"].startswith("_")
    }
    listed = engine.rows("select * from pgflow._role_functions()")
    assert {row["function_name"] for row in listed} == public
    assert {row["role_name"] for row in listed} == {*ROLES, "owner"}
    assert len({(row["role_name"], row["function_name"]) for row in listed}) == len(listed)


def test_each_role_may_execute_what_is_listed_for_it_and_no_other_public_function(engine: Engine) -> None:
    for name in ROLES:
        listed = engine.rows("select function_name as f from pgflow._role_functions() where role_name = %s", name)
        granted = engine.rows(
            "select proname as f from pg_proc where pronamespace = 'pgflow'::regnamespace"
            " and has_function_privilege(%s, oid, 'execute') and not starts_with(proname, '_')",
            name,
        )
        assert {row["f"] for row in granted} == {row["f"] for row in listed}


def test_the_public_has_no_right_at_all(engine: Engine) -> None:
    engine.conn.execute("create role nobody_yet")
    try:
        assert not engine.value("select has_schema_privilege('nobody_yet', 'pgflow', 'usage')")
        rights = engine.rows(
            """
            select c.relname from pg_class c
            where c.relnamespace = 'pgflow'::regnamespace and case c.relkind
              when 'r' then has_table_privilege('nobody_yet', c.oid, 'select, insert, update, delete')
              when 'S' then has_sequence_privilege('nobody_yet', c.oid, 'usage, select, update') end
            """
        )
        assert rights == []
    finally:
        engine.conn.execute("drop role nobody_yet")


def test_a_client_starts_waits_cancels_and_retries(engine: Engine, flow: str) -> None:
    with role(engine, "pgflow_client"):
        run_id = engine.start(flow, {"go": False})
        engine.rows("select * from pgflow.start_flows(%s, array['{}']::jsonb[])", flow)
        assert engine.value("select pgflow.start_flow_with_states(%s, '[]')", flow)
        assert engine.value("select pgflow.watch_run(%s)", run_id) == "started"
        assert engine.value("select status from pgflow.run_outcome(%s)", run_id) == "started"
        assert engine.value("select status from pgflow.cancel_run(%s, 'enough')", run_id) == "cancelled"
        assert engine.value("select status from pgflow.retry_run(%s)", run_id) == "started"
        engine.rows("select * from pgflow.cancel_run(%s)", run_id)
        assert engine.value("select status from pgflow.retry_run(%s, 'a')", run_id) == "started"
        assert len(engine.rows("select * from pgflow.list_runs()")) == 3
        assert engine.value("select pgflow.describe_run(%s)", run_id)
        assert engine.rows("select * from pgflow.explain_run(%s)", run_id)


def test_a_client_starts_flows_that_settle_or_fail_at_once(engine: Engine) -> None:
    engine.flow("empty", {"m": (), "n": ("m",), "b": ("n",)}, maps=["m", "n"])
    engine.flow("unmet", {"x": ()}, settings={"x": {"required_input_pattern": {"a": 1}, "when_unmet": "fail"}})
    with role(engine, "pgflow_client"):
        empty, unmet = engine.start("empty", []), engine.start("unmet", {})
    assert engine.states(empty) == {"m": "completed", "n": "completed", "b": "started"}
    assert engine.run(unmet)["status"] == "failed"


def test_a_worker_runs_a_whole_flow(engine: Engine, flow: str) -> None:
    run_id = engine.start(flow, {"go": False})
    with role(engine, "pgflow_worker"):
        engine.serve(flow)
        tasks = {task["step_slug"]: task for task in engine.claim()}
        assert set(tasks) == {"a", "h"}
        assert engine.release([tasks["a"]]) == []
        assert engine.fail([tasks["h"]]) == []
        (a,) = engine.claim()
        assert engine.fail([a], retry_after=0) == []
        (a,) = engine.claim()
        assert engine.complete([a], [1, 2, 3]) == []
        assert engine.value("select pgflow.release_strays(%s, '{}')", engine.worker_id) == 0
        assert engine.value("select pgflow.heartbeat_worker(%s)", engine.worker_id) is False
        taken = engine.claim(2)
        arguments = (
            [t["run_id"] for t in taken],
            [t["step_slug"] for t in taken],
            [t["task_index"] for t in taken],
            [t["fence"] for t in taken],
        )
        assert (
            engine.rows("select * from pgflow.lost_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[])", *arguments)
            == []
        )
        assert engine.rows(
            "select * from pgflow.complete_and_claim_tasks(%s, 100, %s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])",
            engine.worker_id,
            *arguments,
            [Jsonb(1) for _ in taken],
        )
        engine.conn.execute("select pgflow.mark_worker_stopped(%s)", (engine.worker_id,))
        assert engine.value("select pgflow.run_sweep('recover')") == 2
        engine.serve(flow, worker_id=uuid.uuid4())
        (again,) = engine.rows("select worker_id from pgflow.workers where stopped_at is null")
        engine.worker_id = again["worker_id"]
        engine.work_off(1)
    assert engine.run(run_id)["status"] == "completed"
    assert engine.states(run_id) == {
        "a": "completed", "m": "completed", "e": "completed", "z": "completed",
        "c": "skipped", "d": "skipped", "h": "skipped", "i": "skipped",
    }  # fmt: skip


def test_a_worker_fails_runs_and_does_every_sweep(engine: Engine) -> None:
    engine.flow("f", {"a": ()}, max_attempts=1, deadline=5)
    failed, overdue = engine.start("f"), engine.start("f")
    with role(engine, "pgflow_worker"):
        engine.serve("f", lease_seconds=1)
        engine.fail(engine.claim(1))
        engine.claim(1)
        engine.set_clock(200)
        for sweep in ("recover", "stalled", "deadlines", "timers"):
            engine.value("select pgflow.run_sweep(%s)", sweep)
        engine.set_clock(100_000)
        assert engine.run(failed)["status"] == "failed"
        assert engine.run(overdue)["status"] == "failed"
        assert engine.value("select pgflow.run_sweep('prune', 100, '1 hour')") == 2


def test_a_worker_of_another_language_reads_starts_and_completes(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)})
    run_id = engine.start("f")
    with role(engine, "pgflow_worker"):
        engine.conn.execute("insert into pgflow.workers (worker_id, queue_name) values (%s, 'f')", (engine.worker_id,))
        for step in ("a", "b"):
            (message,) = engine.rows("select * from pgflow.read_with_poll('f', 20, 1, 0)")
            engine.rows("select * from pgflow.set_vt_batch('f', %s, '{30}')", [message["msg_id"]])
            assert engine.rows("select * from pgflow.start_tasks('f', %s, %s)", [message["msg_id"]], engine.worker_id)
            engine.rows("select * from pgflow.complete_task(%s, %s, 0, '1')", run_id, step)
    assert engine.run(run_id)["status"] == "completed"


def test_a_worker_moves_the_claim_floor(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.start("f")
    with role(engine, "pgflow_worker"):
        engine.conn.execute("select pgflow._advance_claim_floor(lane_id) from pgflow.lanes")
    assert engine.value("select next_floor is not null from pgflow.lanes")


def test_a_viewer_reads_everything(engine: Engine, flow: str) -> None:
    run_id = engine.start(flow, {"go": True})
    with role(engine, "pgflow_viewer"):
        for table in TABLES:
            engine.conn.execute(sql.SQL("select * from pgflow.{}").format(sql.Identifier(table)))
        assert engine.value("select pgflow.core_version()") == manifest.SCHEMA_VERSION
        assert engine.rows("select * from pgflow.list_flows()")
        assert engine.rows("select * from pgflow.list_runs(%s)", flow)
        assert engine.rows("select * from pgflow.find_runs(%s)", str(run_id))
        assert engine.rows("select * from pgflow.run_outcome(%s)", run_id)
        assert engine.rows("select * from pgflow.explain_run(%s)", run_id)
        assert engine.rows("select * from pgflow.step_output(%s, 'a')", run_id)
        assert engine.rows("select * from pgflow.check_invariants()") == []
        assert engine.value("select pgflow.describe_run(%s)", run_id)["run"]["status"] == "started"
        assert engine.value("select pgflow.get_run_with_states(%s)", run_id)["run"]["status"] == "started"
        with pytest.raises(psycopg.Error) as caught:
            engine.rows("select * from pgflow.run_outcome(%s)", uuid.uuid4())
        assert caught.value.sqlstate == "PF405", "refusals work for everybody"


DEFINITIONS = (
    "select pgflow.create_flow('g')",
    "select pgflow.add_step('f', 'x')",
    "select pgflow.set_flow_options('f')",
    "select pgflow.set_step_options('f', 1, 'a')",
    "select pgflow.ensure_flow_compiled('g', '{\"steps\": []}')",
    "select pgflow.drop_flow_version('f', 1)",
    "select pgflow.delete_flow_and_data('f')",
    "select pgflow.grant_roles()",
    "insert into pgflow.flows (flow_slug) values ('g')",
    "update pgflow.flows set opt_timeout = 1",
    "delete from pgflow.flows",
    "update pgflow.steps set opt_timeout = 1",
    "delete from pgflow.deps",
    "delete from pgflow.lanes",
    "update pgflow.flow_versions set output_step = null",
    "truncate pgflow.runs",
    "update pgflow.runs set input = '{}'",
    "update pgflow.step_tasks set input = '{}'",
    "update pgflow.task_attempts set error_message = ''",
    "create table pgflow.mine ()",
    "drop schema pgflow cascade",
)
WORK = (
    "select pgflow.claim_tasks('00000000-0000-0000-0000-000000000001', 1)",
    "select pgflow.complete_task('00000000-0000-0000-0000-000000000001', 'a', 0, '1')",
    "select pgflow.fail_task('00000000-0000-0000-0000-000000000001', 'a', 0, 'no')",
    "select pgflow.register_worker('00000000-0000-0000-0000-000000000001', '{f}', '{shape}')",
    "select pgflow.read_with_poll('f', 1, 1, 0)",
    "select pgflow.run_sweep('recover')",
    "select pgflow.prune_data_older_than('1 day')",
    "insert into pgflow.workers (worker_id) values ('00000000-0000-0000-0000-000000000001')",
    "update pgflow.step_tasks set last_worker_id = null",
    "update pgflow.workers set stopped_at = now()",
    "delete from pgflow.runs",
    "delete from pgflow.step_states",
    "delete from pgflow.task_attempts",
    "delete from pgflow.workers",
    "select nextval('pgflow.fences')",
)
STARTS = (
    "select pgflow.start_flow('f', '{}')",
    "select pgflow.start_flows('f', array['{}']::jsonb[])",
    "select pgflow.cancel_run('00000000-0000-0000-0000-000000000001')",
    "select pgflow.retry_run('00000000-0000-0000-0000-000000000001')",
    "select pgflow.watch_run('00000000-0000-0000-0000-000000000001')",
    "insert into pgflow.runs (flow_slug, input) values ('f', '{}')",
    "insert into pgflow.step_states (flow_slug, run_id, step_slug) select 'f', gen_random_uuid(), 'a'",
    "update pgflow.runs set watched = true",
)
WRITES = (
    "update pgflow.runs set status = 'failed'",
    "update pgflow.step_states set status = 'failed'",
    "update pgflow.step_tasks set status = 'queued'",
    "delete from pgflow.step_tasks",
    "update pgflow.lanes set waiting = true",
    "select nextval('pgflow.message_ids')",
)


@pytest.mark.parametrize(
    ("name", "statements"),
    [
        ("pgflow_client", (*DEFINITIONS, *WORK, "update pgflow.lanes set waiting = true")),
        ("pgflow_worker", (*DEFINITIONS, *STARTS)),
        ("pgflow_viewer", (*DEFINITIONS, *WORK, *STARTS, *WRITES)),
    ],
)
def test_a_role_is_refused_what_is_not_its_work(
    engine: Engine, name: str, statements: tuple[str, ...], flow: str
) -> None:
    engine.start(flow, {"go": True})
    with role(engine, name):
        assert [statement for statement in statements if not refused(engine, statement)] == []


def test_granting_again_takes_back_what_was_given_by_hand(engine: Engine) -> None:
    engine.conn.execute("grant delete on pgflow.flows to pgflow_viewer")
    engine.conn.execute("grant execute on function pgflow.cancel_run to pgflow_viewer")
    engine.conn.execute("select pgflow.grant_roles()")
    engine.conn.execute("select pgflow.grant_roles()")
    assert not engine.value("select has_table_privilege('pgflow_viewer', 'pgflow.flows', 'delete')")
    assert not engine.value(
        "select has_function_privilege('pgflow_viewer', 'pgflow.cancel_run(uuid, text)', 'execute')"
    )


def roles_of(server: PostgresServer) -> list[str]:
    with psycopg.connect(server.url(), autocommit=True) as conn:
        rows = conn.execute("select rolname from pg_roles where rolname like 'pgflow%' order by 1").fetchall()
        return [name for (name,) in rows]


def test_somebody_who_may_not_make_roles_installs_all_the_same_and_the_roles_come_later(
    own_server: PostgresServer,
) -> None:
    with psycopg.connect(own_server.url(), autocommit=True) as conn:
        conn.execute("create role plain login")
        for database in ("first", "second"):
            conn.execute(sql.SQL("create database {} owner plain").format(sql.Identifier(database)))
    notices: list[str] = []
    with psycopg.connect(own_server.url("first"), autocommit=True) as conn:
        conn.add_notice_handler(lambda notice: notices.append(f"{notice.message_primary} {notice.message_hint}"))
        conn.execute("set session authorization plain")
        conn.execute(manifest.install_sql().encode())
        assert [notice for notice in notices if "pgflow_client" in notice and "select pgflow.grant_roles()" in notice]
        assert conn.execute("select pgflow.core_version()").fetchone() == (manifest.SCHEMA_VERSION,)
        assert roles_of(own_server) == []
        conn.execute("reset session authorization")
        conn.execute("select pgflow.grant_roles()")
        assert roles_of(own_server) == list(ROLES)
    # now that they are there, the right to make roles is not needed
    with psycopg.connect(own_server.url("second"), autocommit=True) as conn:
        conn.execute("set session authorization plain")
        conn.execute(manifest.install_sql().encode())
        engine = Engine(conn)
        engine.flow("f", {"a": ()})
        assert engine.value(
            "select has_function_privilege('pgflow_client', 'pgflow.cancel_run(uuid, text)', 'execute')"
        )


def test_two_installations_at_once_share_the_roles_and_removing_one_leaves_them(own_server: PostgresServer) -> None:
    names = ("first", "second", "third")
    with psycopg.connect(own_server.url(), autocommit=True) as conn:
        for name in names:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    failures: list[Exception] = []

    def install(name: str) -> None:
        try:
            install_core(own_server.url(name))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=install, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert roles_of(own_server) == list(ROLES)
    with psycopg.connect(own_server.url("first"), autocommit=True) as conn:
        conn.execute(manifest.uninstall_sql().encode())
    assert roles_of(own_server) == list(ROLES)
    with psycopg.connect(own_server.url("second"), autocommit=True) as conn:
        # a login that is a member of a role
        conn.execute("create role app login in role pgflow_client")
        engine = Engine(conn)
        engine.flow("f", {"a": ()})
        conn.execute("set session authorization app")
        assert isinstance(engine.start("f"), uuid.UUID)
        assert refused(engine, "select pgflow.create_flow('g')")
