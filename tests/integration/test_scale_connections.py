"""How many connections a fleet takes, and one flow per database."""

import asyncio
from typing import Any

import psycopg
import pytest

from flowdsl.client import Client
from flowdsl.model.flow import Flow
from flowdsl.postgres import PostgresServer
from tests.conftest import Run, fresh_database, install_core
from tests.integration.runtime_support import compile_into, until, working

DbConn = psycopg.Connection[Any]
CONNECTIONS = "select count(*) from pg_stat_activity where datname = current_database() and application_name = %s"


async def double(number: int) -> int:
    return number * 2


async def triple(number: int) -> int:
    return number * 3


doubling = Flow("doubling", int).step(double).returns(double)
tripling = Flow("tripling", int).step(triple).returns(triple)


def open_by(conn: DbConn, name: str) -> int:
    row = conn.execute(CONNECTIONS, (name,)).fetchone()
    return row[0] if row else 0


@pytest.mark.parametrize(("listen", "expected"), [(True, 4), (False, 3)])
def test_a_worker_has_a_connection_for_tasks_heartbeats_sweeps_and_notifications(
    dsn: str, conn: DbConn, run: Run, listen: bool, expected: int
) -> None:
    async def scenario() -> None:
        async with working(doubling, dsn=dsn, name="w", listen=listen, concurrency=50), Client(dsn) as client:
            await asyncio.gather(*(run.result(30) for run in await client.start_many(doubling, list(range(100)))))
            await until(lambda: open_by(conn, "flowdsl worker w") == expected)

    compile_into(dsn, doubling)
    run(scenario())


def test_a_client_has_its_pool_and_one_connection_for_all_who_wait(dsn: str, conn: DbConn, run: Run) -> None:
    async def scenario() -> None:
        async with Client(dsn, min_size=1, max_size=3) as client:
            started = await client.start_many(doubling, list(range(20)))
            waiting = [asyncio.ensure_future(one.result(30)) for one in started]
            await until(lambda: open_by(conn, "flowdsl client") >= 2)
            async with working(doubling, dsn=dsn):
                await asyncio.gather(*waiting)
            assert open_by(conn, "flowdsl client") <= 3 + 1

    compile_into(dsn, doubling)
    run(scenario())


def test_flows_in_databases_of_their_own_are_served_by_one_process(
    server: PostgresServer, template: str, run: Run
) -> None:
    async def scenario(first: str, second: str) -> None:
        async with (
            working(doubling, dsn=first),
            working(tripling, dsn=second),
            Client(first) as doubles,
            Client(second) as triples,
        ):
            twice, thrice = await doubles.start(doubling, 7), await triples.start(tripling, 7)
            assert (await twice.result(30), await thrice.result(30)) == (14, 21)

    assert template
    with fresh_database(server, "flowdsl_template") as first, fresh_database(server, "template1") as second:
        install_core(second)
        compile_into(first, doubling)
        compile_into(second, tripling)
        run(scenario(first, second))
