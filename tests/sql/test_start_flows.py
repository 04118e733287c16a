"""start_flow, start_flows."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.engine import Engine


def test_a_run_begins_with_states_for_all_steps_and_tasks_for_the_roots(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b")})
    run_id = engine.start("f", {"x": 1})
    assert engine.states(run_id) == {"a": "started", "b": "started", "c": "created"}
    run = engine.run(run_id)
    assert (run["status"], run["input"], run["remaining_steps"], run["output"]) == ("started", {"x": 1}, 3, None)
    tasks = engine.rows("select step_slug, status, attempts_count from pgflow.step_tasks order by message_id")
    assert [tuple(t.values()) for t in tasks] == [("a", "queued", 0), ("b", "queued", 0)]


def test_start_flows_answers_in_the_order_of_its_inputs(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    inputs = [Jsonb(i) for i in range(50)]
    ids = [row["start_flows"] for row in engine.rows("select pgflow.start_flows('f', %s::jsonb[])", inputs)]
    assert [engine.run(i)["input"] for i in ids] == list(range(50))
    given = [uuid.uuid4() for _ in range(3)]
    again = engine.rows("select pgflow.start_flows('f', %s::jsonb[], %s)", inputs[:3], given)
    assert [row["start_flows"] for row in again] == given


def test_generated_run_ids_are_version_7_uuids_in_the_order_of_time(engine: Engine) -> None:
    ids = []
    for _ in range(5):
        ids.append(engine.value("select pgflow._new_run_id()"))
        engine.conn.execute("select pg_sleep(0.002)")
    assert all(i.version == 7 and i.variant == uuid.RFC_4122 for i in ids)
    assert ids == sorted(ids)


def test_the_same_run_id_starts_once(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    run_id = uuid.uuid4()
    first = engine.row("select * from pgflow.start_flow('f', '{\"x\": 1}', %s)", run_id)
    assert engine.row("select * from pgflow.start_flow('f', '{\"x\": 1}', %s)", run_id) == first
    assert engine.value("select count(*) from pgflow.step_tasks") == 1
    more = [run_id, uuid.uuid4()]
    engine.conn.execute("select pgflow.start_flows('f', array['{\"x\": 1}', '2']::jsonb[], %s)", (more,))
    assert engine.value("select count(*) from pgflow.step_tasks") == 2


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("select pgflow.start_flow('nope', '{}')", "PF404"),
        ("select pgflow.start_flow('single', null)", "PF422"),
        ("select pgflow.start_flow('mapped', 'null')", "PF422"),
        ("select pgflow.start_flow('mapped', '{}')", "PF422"),
        ("select pgflow.start_flows('mapped', array['[]', '1']::jsonb[])", "PF422"),
        ("select pgflow.start_flows('single', array['1', null]::jsonb[])", "PF422"),
        ("select pgflow.start_flows('single', array['1', '2']::jsonb[], array[gen_random_uuid()])", "PF400"),
        ("select pgflow.start_flows('single', array['1']::jsonb[], array[null]::uuid[])", "PF400"),
        ("select pgflow.start_flows('single', array['1']::jsonb[], fingerprint => 'other')", "PF414"),
        ("select pgflow.start_flow('single', '2', '00000000-0000-0000-0000-000000000001')", "PF410"),
        ("select pgflow.start_flow('mapped', '[]', '00000000-0000-0000-0000-000000000001')", "PF410"),
    ],
)
def test_what_cannot_start_is_refused_and_leaves_nothing(engine: Engine, call: str, code: str) -> None:
    engine.flow("single", {"a": ()})
    engine.flow("mapped", {"a": ()}, maps=("a",))
    engine.conn.execute("select pgflow.start_flow('single', '1', '00000000-0000-0000-0000-000000000001')")
    with pytest.raises(psycopg.Error) as refusal:
        engine.conn.execute(call.encode())
    assert refusal.value.sqlstate == code
    assert engine.value("select count(*) from pgflow.runs") == 1
    assert engine.value("select count(*) from pgflow.step_states") == 1


def test_a_start_that_is_rolled_back_leaves_nothing(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    with engine.conn.transaction(force_rollback=True):
        engine.start("f")
    assert engine.value("select count(*) from pgflow.runs") == 0


def test_a_flow_without_steps_completes_at_once(engine: Engine) -> None:
    engine.flow("f", {})
    run = engine.run(engine.start("f"))
    assert (run["status"], run["output"]) == ("completed", None)


def test_json_null_is_an_input_like_any_other(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f", None)
    (task,) = engine.claim()
    assert task["input"] == {"run": None}


def test_a_start_delay_keeps_the_task_out_of_claims_until_it_is_due(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.conn.execute("select pgflow.set_step_options('f', 1, 'a', start_delay => 100)")
    engine.serve("f")
    engine.start("f")
    assert engine.claim() == []
    engine.set_clock(99)
    assert engine.claim() == []
    engine.set_clock(101)
    assert len(engine.claim()) == 1


def wait_until_blocked(engine: Engine) -> None:
    for _ in range(2000):
        if engine.value(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ):
            return
        engine.conn.execute("select pg_sleep(0.005)")
    pytest.fail("nobody waits for a lock")


def test_a_flow_that_becomes_another_while_a_start_waits_is_refused(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"a": ()})
    with (
        psycopg.connect(dsn) as other,
        psycopg.connect(dsn, autocommit=True) as starter,
        ThreadPoolExecutor(1) as threads,
    ):
        migration = Engine(other)
        migration.conn.execute("select pgflow.delete_flow_and_data('f')")
        # its only step runs over the input, which is no array
        migration.flow("f", {"m": ()}, maps=["m"])
        starting = threads.submit(Engine(starter).start, "f", {"x": 1})
        wait_until_blocked(engine)
        other.commit()
        with pytest.raises(psycopg.Error, match="was changed by a migration") as caught:
            starting.result()
    assert caught.value.sqlstate == "PF404"
    assert engine.rows("select * from pgflow.runs") == []


def test_a_worker_that_finds_the_lane_empty_while_a_map_is_made_is_woken(engine: Engine, dsn: str) -> None:
    engine.flow("f", {"m": ()}, maps=["m"])
    engine.serve("f")
    engine.conn.execute(
        """
        create function public.hold() returns trigger language plpgsql as
          $$ begin perform pg_advisory_xact_lock(1); return new; end $$;
        create trigger hold before insert on pgflow.step_tasks for each row execute function public.hold();
        """
    )
    engine.conn.execute("select pg_advisory_lock(1)")
    with (
        psycopg.connect(dsn, autocommit=True) as listener,
        psycopg.connect(dsn, autocommit=True) as starter,
        ThreadPoolExecutor(1) as threads,
    ):
        listener.execute("listen pgflow_tasks")
        starting = threads.submit(Engine(starter).start, "f", [1, 2])
        wait_until_blocked(engine)
        assert engine.claim() == []
        engine.conn.execute("select pg_advisory_unlock(1)")
        starting.result()
        assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == ["f"]
    engine.conn.execute("drop trigger hold on pgflow.step_tasks")


def test_triggers_on_tasks_find_the_states_and_fire_after_theirs(engine: Engine) -> None:
    engine.flow("f", {"a": (), "b": ("a",)})
    engine.conn.execute(
        """
        create table public.seen (at bigint generated always as identity, what text, states bigint);
        create function public.see() returns trigger language plpgsql as $$
          begin
            insert into public.seen (what, states)
            select concat_ws(' ', lower(tg_when), tg_table_name), count(*) from pgflow.step_states s where s.run_id = new.run_id;
            return new;
          end $$;
        create trigger see_run after insert on pgflow.runs for each row execute function public.see();
        create trigger see_state after insert on pgflow.step_states for each row execute function public.see();
        create trigger see_new_task before insert on pgflow.step_tasks for each row execute function public.see();
        create trigger see_task after insert on pgflow.step_tasks for each row execute function public.see();
        """
    )
    engine.start("f")
    seen = [tuple(row.values()) for row in engine.rows("select what, states from public.seen order by at")]
    assert seen == [
        ("before step_tasks", 2),
        ("after runs", 2),
        ("after step_states", 2),
        ("after step_states", 2),
        ("after step_tasks", 2),
    ]
    engine.conn.execute(
        "drop trigger see_run on pgflow.runs; drop trigger see_state on pgflow.step_states;"
        "drop trigger see_new_task on pgflow.step_tasks; drop trigger see_task on pgflow.step_tasks"
    )
