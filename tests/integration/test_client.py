"""What a client may rely on: starts in transactions, results, outputs, listings, and clear errors."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from pydantic import BaseModel

from flowdsl.client import Client
from flowdsl.client import client as client_module
from flowdsl.client import run as run_module
from flowdsl.client.session import TRIES
from flowdsl.errors import (
    ConfigError,
    CoreNotInstalled,
    DatabaseUnavailable,
    DefinitionError,
    FlowNotCompiled,
    FlowNotFound,
    InputError,
    OutputUnavailable,
    ResultTimeout,
    RunConflict,
    RunNotFound,
    StepNotFound,
)
from flowdsl.gateway import calls
from flowdsl.gateway.connections import Connection
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.postgres import PostgresServer
from flowdsl.types import RunStatus, StepStatus
from tests.conftest import Connect, Run, install_core
from tests.integration.runtime_support import compile_into, until, working

DbConn = psycopg.Connection[Any]


class Order(BaseModel):
    number: int


async def price(order: Order) -> int:
    return order.number * 10


async def parts(order: Order) -> list[int]:
    return list(range(order.number))


async def check(part: int) -> bool:
    return part > 0


orders = Flow("orders", Order).step(price).array(parts).map(check, parts).returns(price)


async def increment(number: int) -> int:
    return number + 1


counting = Flow("counting", int).step(increment).returns(increment)


def test_a_start_commits_with_the_callers_rows(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        async with (
            working(counting, dsn=dsn),
            Client(dsn) as client,
            await psycopg.AsyncConnection.connect(dsn) as mine,
        ):
            await mine.execute("insert into mine values (1)")
            started = await client.start(counting, 1, connection=mine)
            assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(0,)]
            await mine.commit()
            assert await started.result(30) == 2
            assert await started.output(increment, connection=mine) == 2
            assert await started.result(30, connection=mine) == 2

    compile_into(dsn, counting)
    conn.execute("create table mine (id int)")
    run(scenario())
    assert conn.execute("select count(*) from mine").fetchall() == [(1,)]


def test_a_start_rolls_back_with_the_callers_rows(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as mine:
            # With connections of one's own the client need not even be open.
            client = Client(dsn)
            started = await client.start(counting, 1, connection=mine)
            many = await client.start_many(counting, list(range(2500)), connection=mine)
            assert (await started.status(connection=mine)).status is RunStatus.STARTED
            assert len(many) == 2500
            assert mine.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
            await mine.rollback()
            with pytest.raises(RunNotFound):
                await started.status(connection=mine)

    compile_into(dsn, counting)
    run(scenario())
    assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(0,)]


def test_many_runs_start_in_order_and_all_or_none(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            runs = await client.start_many(counting, list(range(2500)))
            stored = conn.execute("select run_id, input from pgflow.runs order by run_id").fetchall()
            assert stored == [(started.run_id, number) for number, started in enumerate(runs)]
            assert await client.start_many(counting, []) == []
            with pytest.raises(InputError, match="input 1 does not fit"):
                await client.start_many(counting, [1, "two", 3])  # type: ignore[misc] # the mistake under test

    compile_into(dsn, counting)
    run(scenario())
    assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(2500,)]


@pytest.mark.parametrize("has_begun", [False, True])
def test_runs_that_take_several_statements_are_the_callers_to_commit(
    dsn: str, conn: DbConn, run: Run, monkeypatch: pytest.MonkeyPatch, has_begun: bool
) -> None:
    monkeypatch.setattr(client_module, "START_MAX", 2)

    async def scenario() -> None:
        async with Client(dsn) as client, await psycopg.AsyncConnection.connect(dsn) as mine:
            if has_begun:
                await mine.execute("select 1")
            await client.start_many(counting, [1, 2, 3], connection=mine)
            assert mine.info.transaction_status is TransactionStatus.INTRANS
            assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(0,)]
            await mine.rollback()
            assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(0,)]
            await client.start_many(counting, [1, 2, 3], connection=mine)
            await mine.commit()

    compile_into(dsn, counting)
    run(scenario())
    assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(3,)]


def test_a_thousand_runs_are_awaited_over_two_connections(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(counting, dsn=dsn), Client(dsn, max_size=2) as client:
            runs = await client.start_many(counting, list(range(1000)))
            async with asyncio.TaskGroup() as group:
                results = [group.create_task(started.result(60)) for started in runs]
            assert [result.result() for result in results] == list(range(1, 1001))

    compile_into(dsn, counting)
    run(scenario())


def test_a_start_made_twice_with_the_same_id_starts_once(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            run_id = uuid4()
            first = await client.start(counting, 1, run_id=run_id)
            second = await client.start(counting, 1, run_id=run_id)
            assert first.run_id == second.run_id == run_id
            with pytest.raises(RunConflict):
                await client.start(counting, 2, run_id=run_id)

    compile_into(dsn, counting)
    run(scenario())
    assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(1,)]


def test_outputs_are_read_by_handler(dsn: str, run: Run) -> None:
    async def stranger(order: Order) -> int:
        return 0

    async def scenario() -> None:
        async with working(orders, dsn=dsn), Client(dsn) as client:
            started = await client.start(orders, Order(number=3))
            assert await started.result(timedelta(seconds=30)) == 30
            number: int = await started.output(price)
            assert number == 30
            flags: list[bool] = await started.output(collect(check))
            assert flags == [False, True, True]
            with pytest.raises(DefinitionError, match="collect"):
                await started.output(check)
            with pytest.raises(DefinitionError, match="stranger"):
                await started.output(stranger)

    compile_into(dsn, orders)
    run(scenario())


def test_waiting_ends_with_the_callers_patience_and_the_run_goes_on(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client, await psycopg.AsyncConnection.connect(dsn, autocommit=True) as mine:
            started = await client.start(counting, 1)
            for patience in (0, 0.05, timedelta(milliseconds=50)):
                with pytest.raises(ResultTimeout):
                    await started.result(patience)
            with pytest.raises(ResultTimeout):
                await started.result(0.05, connection=mine)
            with pytest.raises(OutputUnavailable, match="started"):
                await started.output(increment)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await started.result()
            async with working(counting, dsn=dsn):
                assert await started.result(30) == 2

    compile_into(dsn, counting)
    run(scenario())


def test_the_end_of_a_run_is_heard_without_polling(dsn: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "FIRST_POLL_SECONDS", 36_000.0)
    monkeypatch.setattr(run_module, "LAST_POLL_SECONDS", 36_000.0)

    async def scenario() -> None:
        async with working(counting, dsn=dsn), Client(dsn) as client:
            for number in range(10):
                assert await (await client.start(counting, number)).result(30) == number + 1

    compile_into(dsn, counting)
    run(scenario())


def test_waiting_outlasts_a_restart_of_the_database(own_server: PostgresServer, run: Run) -> None:
    dsn = own_server.url()
    install_core(dsn)
    compile_into(dsn, counting)

    async def scenario() -> None:
        async with Client(dsn) as client:
            started = await client.start(counting, 1)
            result = asyncio.ensure_future(started.result(60))
            with psycopg.connect(dsn, autocommit=True) as watching:
                watched = "select count(*) from pgflow.runs where watched"
                await until(lambda: watching.execute(watched).fetchall() == [(1,)])
            await asyncio.to_thread(own_server.stop)
            await asyncio.to_thread(own_server.start)
            # Idle connections of the pool are dead now; a start does not show it.
            second = await client.start(counting, 5)
            async with working(counting, dsn=dsn):
                assert await result == 2
                assert await second.result(60) == 6

    run(scenario())


def test_a_restart_of_the_database_does_not_show_however_many_idle_connections_it_broke(
    own_server: PostgresServer, run: Run
) -> None:
    dsn = own_server.url()
    install_core(dsn)
    size = 3 * TRIES

    async def scenario() -> None:
        all_lent = asyncio.Barrier(size)

        async def held(conn: Connection) -> None:
            await all_lent.wait()

        async with Client(dsn, min_size=size, max_size=size) as client:

            async def outlive_a_restart(tries: int) -> None:
                async with asyncio.TaskGroup() as group:
                    for _ in range(size):
                        group.create_task(client.do(held))
                await asyncio.to_thread(own_server.stop)
                await asyncio.to_thread(own_server.start)
                await client.do(calls.check_core, tries=tries)

            await outlive_a_restart(TRIES)
            await outlive_a_restart(1)

    run(scenario())


def test_a_migration_that_changes_what_a_prepared_statement_returns_does_not_show(dsn: str, run: Run) -> None:
    first = "create function public.answer() returns int return 1"
    second = "drop function public.answer(); create function public.answer() returns text return 'two'"

    async def asked(conn: Connection) -> list[calls.Row]:
        return await calls._query(conn, "select public.answer()", ())

    async def scenario() -> None:
        async with Client(dsn, max_size=1) as client:
            for _ in range(10):
                assert await client.do(asked) == [(1,)]
            await asyncio.to_thread(migrating.execute, second)
            assert await client.do(asked) == [("two",)]

    with psycopg.connect(dsn, autocommit=True) as migrating:
        migrating.execute(first)
        run(scenario())


def test_runs_are_listed_newest_first(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            first = await client.start(counting, 1)
            second = await client.start(orders, Order(number=1))
            third = await client.start(counting, 3)
            everything = [row.run_id for row in await client.list_runs()]
            assert everything == [third.run_id, second.run_id, first.run_id]
            assert [row.run_id for row in await client.list_runs(counting)] == [third.run_id, first.run_id]
            assert [row.run_id for row in await client.list_runs("orders", RunStatus.STARTED)] == [second.run_id]
            assert await client.list_runs(status=RunStatus.FAILED) == []
            (newest,) = await client.list_runs(limit=1)
            assert (newest.flow_slug, newest.flow_version, newest.status) == ("counting", 1, RunStatus.STARTED)
            older = await client.list_runs(before=newest.started_at)
            assert [row.run_id for row in older] == [second.run_id, first.run_id]

    compile_into(dsn, counting, orders)
    run(scenario())


def test_a_run_is_found_again_by_its_id_and_only_by_its_own_flow(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with working(counting, orders, dsn=dsn), Client(dsn) as client:
            started = await client.start(counting, 1)
            assert await client.run(counting, str(started.run_id)).result(30) == 2
            with pytest.raises(RunNotFound, match="is of flow 'counting', not of 'orders'"):
                await client.run(orders, started.run_id).result(30)
            with pytest.raises(StepNotFound):
                await client.run(orders, started.run_id).output(price)
            with pytest.raises(RunNotFound):
                await client.run(counting, uuid4()).result(30)
            with pytest.raises(RunNotFound):
                await client.run(counting, uuid4()).status()
            with pytest.raises(ConfigError, match="not a run id"):
                client.run(counting, "latest")

    compile_into(dsn, counting, orders)
    run(scenario())


def test_status_tells_where_each_step_stands(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            detail = await (await client.start(orders, Order(number=2))).status()
            assert (detail.flow_slug, detail.flow_version, detail.ended_at) == ("orders", 1, None)
            stand = {step.slug: step.status for step in detail.steps}
            assert stand == {"price": StepStatus.STARTED, "parts": StepStatus.STARTED, "check": StepStatus.CREATED}
            with pytest.raises(KeyError):
                detail.step("absent")

    compile_into(dsn, orders)
    run(scenario())


def test_every_refusal_to_start_has_its_own_error(dsn: str, empty_dsn: str, conn: DbConn, run: Run) -> None:
    changed = Flow("counting", int).step(increment, slug="other")

    async def scenario() -> None:
        async with Client(dsn) as client:
            with pytest.raises(InputError, match="flow 'counting': the input does not fit"):
                await client.start(counting, "one")  # type: ignore[misc] # the mistake under test
            with pytest.raises(FlowNotCompiled, match="pgflow compile"):
                await client.start(changed, 1)
            with pytest.raises(FlowNotFound, match="pgflow compile"):
                await client.start(orders, Order(number=1))
        async with Client(empty_dsn) as client:
            with pytest.raises(CoreNotInstalled):
                await client.start(counting, 1)
        async with Client("postgresql://127.0.0.1:1/none") as client:
            with pytest.raises(DatabaseUnavailable):
                await client.start(counting, 1)
        with pytest.raises(ConfigError, match="not open"):
            await Client(dsn).start(counting, 1)

    compile_into(dsn, counting)
    run(scenario())
    assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(0,)]


def test_an_error_inside_of_the_context_leaves_it_as_it_is(dsn: str, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn) as client:
            await client.start(counting, 1)
            with pytest.raises(ResultTimeout):
                await client.run(counting, (await client.list_runs())[0].run_id).result(0.01)
            raise LookupError("the caller's own")

    compile_into(dsn, counting)
    with pytest.raises(LookupError, match="the caller's own"):
        run(scenario())


def test_any_row_factory_of_the_callers_connection_will_do(dsn: str, run: Run, connect: Connect) -> None:
    async def scenario() -> None:
        async with connect(dsn) as mine:
            mine.row_factory = dict_row
            client = Client(dsn)
            started = await client.start(counting, 1, connection=mine)
            assert (await started.status(connection=mine)).status is RunStatus.STARTED
            assert [row.run_id for row in await client.list_runs(connection=mine)] == [started.run_id]

    compile_into(dsn, counting)
    run(scenario())


def test_text_is_kept_whatever_encoding_the_environment_names(
    dsn: str, conn: DbConn, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def echo(word: str) -> str:
        return word

    flow = Flow("flow", str).step(echo).returns(echo)

    async def scenario() -> None:
        async with working(flow, dsn=dsn), Client(f"{dsn}{'&' if '?' in dsn else '?'}client_encoding=latin1") as client:
            assert await (await client.start(flow, "Zoë – 東京")).result(60) == "Zoë – 東京"

    compile_into(dsn, flow)
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    run(scenario())
    assert conn.execute("select input #>> '{}' from pgflow.runs").fetchall() == [("Zoë – 東京",)]


def test_a_connection_in_another_encoding_is_refused_with_what_mends_it(dsn: str, run: Run, connect: Connect) -> None:
    async def scenario() -> None:
        async with connect(dsn) as mine, Client(dsn) as client:
            await mine.execute("set client_encoding to 'LATIN1'")
            with pytest.raises(ConfigError, match="SET client_encoding TO 'UTF8'"):
                await client.start(counting, 1, connection=mine)
            await mine.execute("set client_encoding to 'UTF8'")
            await client.start(counting, 1, connection=mine)

    compile_into(dsn, counting)
    run(scenario())


def test_a_client_that_was_not_entered_says_so(dsn: str, run: Run) -> None:
    with pytest.raises(ConfigError, match="async with Client"):
        run(Client(dsn).start(counting, 1))
