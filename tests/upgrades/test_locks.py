"""An upgrade under load: calls wait for a moment or have to be repeated, nothing is lost, and it gives up rather than block for ever."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from flowdsl.core import manifest
from tests.sql.engine import Engine

from .support import RELEASED, Call, assert_sound, install_released, upgrade, version

FIRST = RELEASED[0]


@pytest.fixture(params=[FIRST], ids=lambda path: path.stem)
def url(empty_dsn: str, request: pytest.FixtureRequest) -> str:
    install_released(empty_dsn, request.param)
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        engine = Engine(conn)
        engine.flow("f", {"items": (), "each": ("items",), "join": ("each",)}, maps=["each"], max_attempts=1000)
    return empty_dsn


class Client(threading.Thread):
    """Does one thing over and over until it is told to stop, and keeps the error that ended it."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__()
        self._url = url
        self._stop_asked = stop
        self.rounds = 0
        self.error: psycopg.Error | None = None

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as conn:
            engine = Engine(conn)
            self.begin(engine)
            while not self._stop_asked.is_set():
                try:
                    self.act(engine)
                except psycopg.errors.DeadlockDetected:
                    # What a client may see where calls come very thick; a machine that runs other tests as well is such a place.
                    continue
                except psycopg.Error as error:
                    self.error = error
                    return
                self.rounds += 1

    def begin(self, engine: Engine) -> None:
        pass

    def act(self, engine: Engine) -> None:
        raise NotImplementedError


class Starter(Client):
    def act(self, engine: Engine) -> None:
        engine.conn.execute(
            "select pgflow.start_flows('f', array['1', '2']::jsonb[], array[gen_random_uuid(), gen_random_uuid()], 'shape')"
        )


class Worker(Client):
    tasks: list[Any] = []  # noqa: RUF012 - replaced, never changed

    def begin(self, engine: Engine) -> None:
        engine.serve("f")

    def act(self, engine: Engine) -> None:
        if self.rounds % 7 == 3 and self.tasks:
            engine.fail(self.tasks[-1:])
            self.tasks = self.tasks[:-1]
        keys = [[task[key] for task in self.tasks] for key in ("run_id", "step_slug", "task_index", "fence")]
        outputs = ["[1, 2]" if task["step_slug"] == "items" else "1" for task in self.tasks]
        self.tasks = engine.rows(
            "select * from pgflow.complete_and_claim_tasks(%s, 5, %s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])",
            engine.worker_id,
            *keys,
            outputs,
        )
        assert not [task for task in self.tasks if task["refusal"]]
        if self.rounds % 5 == 0:
            engine.conn.execute("select pgflow.heartbeat_worker(%s)", (engine.worker_id,))


class Sweeper(Client):
    def act(self, engine: Engine) -> None:
        engine.conn.execute("select pgflow.recover_tasks(100)")
        engine.conn.execute("select * from pgflow.list_runs(max_runs => 5)")
        engine.conn.execute("select pgflow.describe_run(run_id) from pgflow.list_runs(max_runs => 1)")


@contextmanager
def load(url: str) -> Iterator[list[Client]]:
    stop = threading.Event()
    clients: list[Client] = [kind(url, stop) for kind in (Starter, Worker, Worker, Worker, Sweeper)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        stop.set()
        for client in clients:
            client.join()


def await_rounds(clients: list[Client], more: int) -> None:
    """Wait until each client has done so many more rounds, or has stopped with an error."""
    goals = [client.rounds + more for client in clients]
    while any(client.is_alive() and client.rounds < goal for client, goal in zip(clients, goals, strict=True)):
        threading.Event().wait(0.01)


@pytest.mark.parametrize(
    "url",
    [path for path in RELEASED if version(path) < manifest.SCHEMA_VERSION],
    indirect=True,
    ids=lambda path: path.stem,
)
def test_clients_under_load_see_nothing_but_a_wait_or_a_call_to_repeat(
    url: str, request: pytest.FixtureRequest
) -> None:
    released = version(request.node.callspec.params["url"])
    with load(url) as clients:
        await_rounds(clients, 10)
        upgrade(url, released)
        await_rounds(clients, 10)
    assert [client.error for client in clients] == [None] * len(clients)
    with psycopg.connect(url, autocommit=True) as conn:
        engine = Engine(conn)
        assert engine.value("select pgflow.core_version()") == manifest.SCHEMA_VERSION
        engine.serve("f")
        engine.conn.execute("update pgflow.workers set lease_seconds = 1 where worker_id <> %s", (engine.worker_id,))
        engine.set_clock(60)
        engine.conn.execute("select pgflow.heartbeat_worker(%s)", (engine.worker_id,))
        engine.conn.execute("select pgflow.recover_tasks(100000)")
        engine.work_off(lambda task: [1, 2] if task["step_slug"] == "items" else 1)
        assert engine.rows("select distinct status from pgflow.runs") == [{"status": "completed"}]
    assert_sound(url)


def test_a_transaction_that_takes_the_tables_in_another_order_is_no_deadlock(url: str) -> None:
    with psycopg.connect(url, options="-c deadlock_timeout=5s") as other:
        engine = Engine(other)
        engine.rows("select * from pgflow.step_tasks")
        upgrading = Call(lambda: upgrade(url))
        wait_until_blocked(url)
        # Holds the tasks and now wants the runs, which the upgrade has taken first.
        engine.rows("select * from pgflow.runs for update")
        other.commit()
        upgrading.end()
    with psycopg.connect(url) as conn:
        assert Engine(conn).value("select pgflow.core_version()") == manifest.SCHEMA_VERSION


def test_vacuum_is_kept_out_without_keeping_out_calls(url: str) -> None:
    with psycopg.connect(url) as other, psycopg.connect(url, autocommit=True) as conn:
        other.execute("lock table pgflow.step_tasks in share update exclusive mode")
        upgrading = Call(lambda: upgrade(url))
        wait_until_blocked(url)
        engine = Engine(conn)
        engine.serve("f")
        engine.start("f")
        assert len(engine.claim()) == 1
        other.commit()
        upgrading.end()


def test_an_upgrade_gives_up_on_tables_that_stay_in_use_and_names_who_keeps_them(url: str) -> None:
    script = manifest.upgrade_sql(1)
    assert script.count("interval '1 minute'") == 1
    script = script.replace("interval '1 minute'", "interval '0'")
    with psycopg.connect(url) as other, psycopg.connect(url) as conn:
        pid = other.info.backend_pid
        other.execute("select * from pgflow.step_tasks")
        with pytest.raises(psycopg.errors.LockNotAvailable, match=r"the table pgflow\.step_tasks is in use") as caught:
            conn.execute(script.encode())
        assert caught.value.diag.message_detail == f"Transactions that keep it: pid {pid}."
        conn.rollback()
        engine = Engine(conn)
        assert engine.value("select pgflow.core_version()") == 1
        assert engine.value("show lock_timeout") == "0"


def wait_until_blocked(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as watcher:
        for _ in range(6000):
            row = watcher.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            ).fetchone()
            if row != (0,):
                return
            watcher.execute("select pg_sleep(0.005)")
    pytest.fail("nobody waits for a lock")


def test_settings_of_the_session_are_as_before(url: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute("set lock_timeout = '7s'; set search_path = public, pg_catalog")
        conn.execute(manifest.upgrade_sql(1).encode())
        assert conn.execute("show lock_timeout").fetchone() == ("7s",)
        assert conn.execute("show search_path").fetchone() == ("public, pg_catalog",)
        assert uuid.UUID(str(conn.execute("select pgflow._new_run_id()").fetchone()[0])).version == 7  # type: ignore[index]
