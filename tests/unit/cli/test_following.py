"""Following a run whose end is not the last word."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from flowdsl.cli import following
from flowdsl.cli.following import Follower
from flowdsl.cli.progress import JsonLinesView
from flowdsl.gateway.rows import RunOutcome
from flowdsl.types import FlowSlug, RunId, RunStatus
from tests.conftest import Run
from tests.unit.cli.test_progress import run as document


def test_a_run_that_is_retried_at_the_moment_of_its_end_is_followed_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = iter(["started", "failed", "started", "completed"])
    ends = iter([RunStatus.STARTED, RunStatus.COMPLETED])

    @contextlib.asynccontextmanager
    async def connected(*_: object) -> AsyncIterator[Any]:
        yield None

    async def describe_run(*_: object, **__: object) -> dict[str, Any]:
        return document(status=next(seen))

    async def run_outcome(*_: object) -> RunOutcome:
        return RunOutcome(status=next(ends), flow_slug=FlowSlug("invoice"), output=b"8", failure=None)

    monkeypatch.setattr(following, "connected", connected)
    monkeypatch.setattr(following, "describe_run", describe_run)
    monkeypatch.setattr(following, "run_outcome", run_outcome)
    follower = Follower(database=None, command="show", view=JsonLinesView())  # type: ignore[arg-type] # not looked at
    assert run(follower.follow(RunId(UUID(int=1)))).status is RunStatus.COMPLETED
    assert len(capsys.readouterr().out.splitlines()) == 4
