"""A worker and a client that may do no more than their roles: everything they do, they may."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from flowdsl.client import Client
from flowdsl.errors import DatabaseError, RunCancelled, RunFailed
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect
from flowdsl.types import RunStatus
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, until, working

DbConn = psycopg.Connection[Any]


def as_role(dsn: str, role: str) -> str:
    return f"{dsn}{'&' if '?' in dsn else '?'}options=-c%20role%3D{role}"


def test_a_worker_and_a_client_get_on_with_the_rights_of_their_roles(
    dsn: str, conn: DbConn, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    broken, running = [True], asyncio.Event()

    async def each(number: int) -> int:
        if number == 2 and broken[0]:
            raise ValueError("no twos")
        if number == 9:
            running.set()
            await asyncio.Event().wait()
        return number

    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    flow = (
        Flow("guarded", list[int], max_attempts=2, base_delay=0, timeout=600)
        .map(each)
        .step(total, collect(each))
        .returns(total)
    )

    async def scenario() -> None:
        worker_dsn, client_dsn = as_role(dsn, "pgflow_worker"), as_role(dsn, "pgflow_client")
        options: dict[str, Any] = {"lease_seconds": 1, "poll_seconds": 0.1, "retention": timedelta(days=1)}
        async with working(flow, dsn=worker_dsn, **options), Client(client_dsn) as client:
            started = await client.start(flow, [1, 2, 3])
            with pytest.raises(RunFailed, match="no twos"):
                await started.result(30)
            broken[0] = False
            await started.retry()
            assert await started.result(30) == 6
            await started.retry(from_step=total)
            assert await started.result(30) == 6
            assert await started.output(collect(each)) == [1, 2, 3]
            endless = await client.start(flow, [9])
            await running.wait()
            assert [one.waits_for for one in await endless.explain()] == ["lease", "lease", "dependency"]
            assert await endless.cancel("enough") is RunStatus.CANCELLED
            with pytest.raises(RunCancelled):
                await endless.result(30)
            assert len(await client.list_runs(flow)) == 2
            conn.execute(
                "update pgflow.runs set started_at = started_at - interval '2 days', completed_at = completed_at - interval '2 days'"
                " where run_id = %s",
                (started.run_id,),
            )
        async with working(flow, dsn=worker_dsn, **options):
            count = "select count(*) from pgflow.runs"
            await until(lambda: conn.execute(count).fetchall() == [(1,)])

    compile_into(dsn, flow)
    run(scenario())
    assert [r.getMessage() for r in caplog.records if "sweep" in r.getMessage() or "may not" in r.getMessage()] == []


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda client, flow: client.start(flow, 1),
        lambda client, flow: client.cancel("00000000-0000-4000-8000-000000000001"),
    ],
    ids=["start", "cancel"],
)
def test_a_viewer_may_only_look(dsn: str, run: Run, forbidden: Callable[[Client, Any], Any]) -> None:
    async def double(number: int) -> int:
        return number * 2

    flow = Flow("doubling", int).step(double).returns(double)

    async def scenario() -> None:
        async with Client(as_role(dsn, "pgflow_viewer")) as client:
            assert await client.list_runs() == []
            with pytest.raises(DatabaseError, match="may not do this"):
                await forbidden(client, flow)

    compile_into(dsn, flow)
    run(scenario())
