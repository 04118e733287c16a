"""Workers and clients behind PgBouncer in transaction mode, where consecutive transactions meet different server processes."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

from flowdsl.client import Client
from flowdsl.gateway import connections
from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.postgres import PostgresServer
from flowdsl.runtime.listener import TASKS_CHANNEL
from tests.conftest import Connect, Run
from tests.integration.runtime_support import compile_into, until, working
from tests.poolers import PREPARES_SINCE, Pooler, pgbouncer, program, version
from tests.servers import install_core

pytestmark = pytest.mark.skipif(program() is None, reason="PgBouncer is not installed (apt-get install pgbouncer)")

tried: list[int] = []
KEPT_IN_STEP = "array['application_name', 'client_encoding', 'DateStyle', 'IntervalStyle', 'TimeZone', 'standard_conforming_strings']"
CORE = Path(connections.__file__).parents[1] / "core"


class Part(BaseModel):
    number: int


async def parts(count: int) -> list[Part]:
    return [Part(number=number) for number in range(count)]


async def shaky(part: Part, context: Context) -> int:
    tried.append(part.number)
    if part.number % 5 == 0 and context.attempt == 1:
        raise RuntimeError("the first time it fails")
    return part.number


async def total(numbers: list[int]) -> int:
    return sum(numbers)


summing = Flow("summing", int, base_delay=0).array(parts).map(shaky, parts).step(total, collect(shaky)).returns(total)


async def slow(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


slowly = Flow("slowly", float).step(slow).returns(slow)


@contextmanager
def pooled(
    server: PostgresServer, dsn: str, pool_size: int, mode: str = "transaction", **settings: Any
) -> Iterator[Any]:
    """The pooler, and the URL of the test's database through it."""
    with pgbouncer(server.sockets, mode, pool_size, **settings) as pooler, psycopg.connect(dsn) as conn:
        yield pooler, pooler.url(conn.info.dbname)


@pytest.fixture
def pooler(server: PostgresServer, dsn: str) -> Iterator[tuple[Pooler, str]]:
    with pooled(server, dsn, 2) as made:
        yield made


@pytest.fixture
def one_backend(server: PostgresServer, dsn: str) -> Iterator[str]:
    """Whatever a transaction leaves behind, the next one finds."""
    with pooled(server, dsn, 1) as (_, url):
        yield url


async def sums(url: str, runs: int, count: int, workers: int = 2, **options: Any) -> None:
    """Work some runs off, and look at what comes out."""
    tried.clear()
    async with asyncio.TaskGroup() as group:
        stop = asyncio.Event()

        async def work() -> None:
            async with working(summing, dsn=url, batch=3, concurrency=6, linger_ms=0, **options):
                await stop.wait()

        for _ in range(workers):
            group.create_task(work())
        try:
            async with Client(url) as client:
                started = await client.start_many(summing, [count] * runs)
                assert [await run.result(60) for run in started] == [count * (count - 1) // 2] * runs
        finally:
            stop.set()


def test_workers_and_clients_that_share_few_server_connections_work_runs_off(
    pooler: tuple[Pooler, str], run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    _, url = pooler
    compile_into(url, summing)
    with caplog.at_level("INFO", logger="flowdsl"):
        run(sums(url, 10, 20))
    assert [
        r.getMessage()
        for r in caplog.records
        if r.levelname in {"WARNING", "ERROR"} and "attempt" not in r.getMessage()
    ] == []


def test_a_pooler_that_keeps_prepared_statements_apart_does_as_well(server: PostgresServer, dsn: str, run: Run) -> None:
    if version() < PREPARES_SINCE:
        pytest.skip(f"PgBouncer {version()} keeps no prepared statements")
    with pooled(server, dsn, 2, max_prepared_statements=50) as (_, url):
        compile_into(url, summing)
        run(sums(url, 10, 20))


def test_nothing_is_left_in_a_session_that_others_use_next(one_backend: str, run: Run, connect: Connect) -> None:
    async def scenario() -> None:
        async with connect(one_backend) as conn, Client(one_backend) as client:
            before = await left(conn)
            async with working(summing, dsn=one_backend, lease_seconds=1):
                waiting = asyncio.ensure_future((await client.start(summing, 40)).result(60))
                assert await waiting == 780
                # Sweeps and heartbeats come about once a second.
                await asyncio.sleep(1.5)
                assert await left(conn) == before

    async def left(conn: "psycopg.AsyncConnection[Any]") -> list[Any]:
        """What a session keeps when a transaction ends."""
        return [
            await (await conn.execute(query)).fetchall()
            for query in (
                "select name from pg_prepared_statements",
                "select pg_listening_channels()",
                "select objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
                "select name from pg_cursors where is_holdable",
                "select oid from pg_class where relpersistence = 't'",
                # What poolers keep in step themselves is the clients' own.
                f"select name, setting from pg_settings where source = 'session' and name <> all ({KEPT_IN_STEP}) order by name",
            )
        ]

    compile_into(one_backend, summing)
    run(scenario())


def test_a_worker_tells_once_that_it_polls(
    pooler: tuple[Pooler, str], run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    _, url = pooler

    async def scenario() -> None:
        async with working(slowly, dsn=url), Client(url) as client:
            for _ in range(2):
                assert await (await client.start(slowly, 0.0)).result(30) == 0.0

    compile_into(url, slowly)
    with caplog.at_level("INFO", logger="flowdsl.runtime"):
        run(scenario())
    assert len([r for r in caplog.records if "notifications do not pass" in r.getMessage()]) == 1


def test_a_pooler_in_session_mode_lets_notifications_through(
    server: PostgresServer, dsn: str, run: Run, conn: "psycopg.Connection[Any]"
) -> None:
    listening = "select count(*) from pg_stat_activity where datname = current_database() and query = %s"

    async def scenario(url: str) -> None:
        async with working(slowly, dsn=url):
            await until(lambda: conn.execute(listening, (f'listen "{TASKS_CHANNEL}"',)).fetchall() == [(1,)])

    compile_into(dsn, slowly)
    with pooled(server, dsn, 20, "session") as (_, url):
        run(scenario(url))


def test_the_lease_is_kept_through_a_pooler(
    pooler: tuple[Pooler, str], run: Run, conn: "psycopg.Connection[Any]"
) -> None:
    _, url = pooler

    async def scenario() -> None:
        async with working(slowly, dsn=url, lease_seconds=1), Client(url) as client:
            assert await (await client.start(slowly, 2.5)).result(30) == 2.5

    compile_into(url, slowly)
    run(scenario())
    assert conn.execute("select attempts_count, requeued_count from pgflow.step_tasks").fetchall() == [(1, 0)]


def test_a_pooler_that_is_restarted_costs_no_result(pooler: tuple[Pooler, str], run: Run) -> None:
    between, url = pooler

    async def restarted() -> None:
        await until(lambda: len(tried) > 10)
        await asyncio.to_thread(between.kill)
        await asyncio.to_thread(between.start)

    async def scenario() -> None:
        await asyncio.gather(sums(url, 20, 20), restarted())

    compile_into(url, summing)
    run(scenario())


def test_a_start_in_the_callers_transaction_ends_with_it(
    pooler: tuple[Pooler, str], run: Run, connect: Connect, conn: "psycopg.Connection[Any]"
) -> None:
    _, url = pooler

    async def scenario() -> None:
        async with connect(url) as mine, Client(url) as client:
            for end in ("rollback", "commit"):
                await mine.execute("begin")
                await client.start_many(slowly, [0.0] * 3, connection=mine)
                await mine.execute(end)

    compile_into(url, slowly)
    run(scenario())
    assert conn.execute("select count(*) from pgflow.runs").fetchall() == [(3,)]


def test_the_core_is_installed_through_a_pooler(server: PostgresServer, empty_dsn: str, run: Run) -> None:
    with pooled(server, empty_dsn, 1) as (_, url):
        install_core(url)
        compile_into(url, summing)
        run(sums(url, 1, 10, workers=1))


def test_connections_are_told_apart_from_pooled_ones(one_backend: str, dsn: str, run: Run, connect: Connect) -> None:
    async def scenario() -> None:
        async with connect(dsn) as direct, connect(one_backend) as through:
            assert await connections.hears(direct, dsn)
            assert not await connections.hears(through, one_backend)

    run(scenario())


SESSION_WORDS = re.compile(
    r"pg_(try_)?advisory_lock|set_config\([^;]*,\s*false\)|\btemp(orary)? table|with hold|\blisten\b|\bprepare\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", sorted(CORE.glob("**/*.sql")), ids=lambda path: path.stem)
def test_the_core_keeps_nothing_in_a_session(path: Path) -> None:
    code = re.sub(r"--.*", "", path.read_text())
    assert SESSION_WORDS.findall(code) == []
