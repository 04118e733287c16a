"""Which sweeps there are, in which order they come, and what becomes of those that fail."""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flowdsl.errors import DatabaseError, DatabaseUnavailable
from flowdsl.runtime import sweeper as module
from flowdsl.runtime.options import WorkerOptions
from flowdsl.runtime.sweeper import Sweep, Sweeper, sweeps_of
from tests.conftest import Run
from tests.unit.runtime.test_exchange import FakeLink

Answer = Callable[[str, int], int | None]


class Link(FakeLink):
    closed = False

    async def close(self) -> None:
        self.closed = True


async def swept(
    monkeypatch: pytest.MonkeyPatch, sweeps: list[Sweep], answer: Answer, calls: int
) -> tuple[list[tuple[str, int, timedelta | None]], Link, int]:
    """Let the sweeps run until that many calls were made; returns them, the link, and how often there was work."""
    made: list[tuple[str, int, timedelta | None]] = []
    link, works, enough = Link(), 0, asyncio.Event()

    class Calls:
        async def run_sweep(self, conn: Any, sweep: str, max_rows: int, retention: timedelta | None) -> int | None:
            if len(made) >= calls:
                enough.set()
                await asyncio.Event().wait()
            made.append((sweep, max_rows, retention))
            return answer(sweep, len(made))

    def on_work() -> None:
        nonlocal works
        works += 1

    monkeypatch.setattr(module, "calls", Calls())
    sweeper = Sweeper(link, sweeps, on_work=on_work, extra={})  # type: ignore[arg-type] # a fake of Link
    running = asyncio.ensure_future(sweeper.run())
    await enough.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return made, link, works


def names(made: list[tuple[str, int, timedelta | None]]) -> list[str]:
    return [name for name, _, _ in made]


def test_deadlines_and_timers_are_looked_for_as_often_as_an_idle_worker_looks_for_tasks() -> None:
    by_name = {sweep.name: sweep for sweep in sweeps_of(WorkerOptions(poll_seconds=0.5, lease_seconds=12))}
    assert {name: sweep.seconds for name, sweep in by_name.items()} == {
        "recover": 12,
        "stalled": 30.0,
        "deadlines": 0.5,
        "timers": 0.5,
    }
    rare = {sweep.name: sweep.seconds for sweep in sweeps_of(WorkerOptions(poll_seconds=60, lease_seconds=600))}
    assert (rare["recover"], rare["deadlines"]) == (30.0, 5.0)


def test_old_runs_are_deleted_only_where_a_retention_is_given() -> None:
    assert "prune" not in {sweep.name for sweep in sweeps_of(WorkerOptions())}
    *_, prune = sweeps_of(WorkerOptions(retention=timedelta(days=3)))
    assert (prune.name, prune.retention) == ("prune", timedelta(days=3))


@pytest.mark.parametrize(("kept", "seconds"), [(3 * 86_400, 300.0), (600, 60.0), (5, 1.0)])
def test_runs_that_are_kept_for_a_short_time_are_deleted_soon_after_it(kept: int, seconds: float) -> None:
    *_, prune = sweeps_of(WorkerOptions(retention=timedelta(seconds=kept)))
    assert prune.seconds == seconds


def test_a_full_batch_is_followed_by_another_but_not_before_the_others_that_are_due(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 5

    def answer(name: str, _: int) -> int:
        nonlocal left
        left -= name == "prune"
        return 2 if name == "prune" and left else 0

    prune = Sweep(name="prune", seconds=3600.0, max_rows=2, retention=timedelta(1))
    timers = Sweep(name="timers", seconds=0.0, max_rows=9)
    monkeypatch.setattr(random.Random, "random", lambda _: 0.0)
    made, link, _ = run(swept(monkeypatch, [timers, prune], answer, 40))
    assert names(made) == ["timers", "prune"] * 5 + ["timers"] * 30
    assert made[1] == ("prune", 2, timedelta(1))
    assert link.closed


def test_only_sweeps_that_put_tasks_into_queues_wake_the_worker(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    recover = Sweep(name="recover", seconds=0.0, max_rows=9, makes_work=True)
    answers = {1: 1, 2: 0, 3: None, 4: 3}
    _, _, works = run(swept(monkeypatch, [recover], lambda _, call: answers.get(call, 0), 6))
    assert works == 2
    deadlines = Sweep(name="deadlines", seconds=0.0, max_rows=9)
    assert run(swept(monkeypatch, [deadlines], lambda _, __: 1, 6))[2] == 0


def test_what_is_found_is_told_in_the_log_and_nothing_else_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recover = Sweep(name="recover", seconds=0.0, max_rows=9, said="recovered %d", level=logging.WARNING)
    answers = {2: 3, 3: None}
    with caplog.at_level(logging.DEBUG, logger="flowdsl"):
        run(swept(monkeypatch, [recover], lambda _, call: answers.get(call, 0), 5))
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, "recovered 3")]


def test_a_sweep_that_is_refused_is_told_once_and_the_others_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(name: str, _: int) -> int:
        if name == "prune":
            raise DatabaseError("permission denied", sqlstate="42501")
        return 0

    sweeps = [Sweep(name="prune", seconds=0.0, max_rows=9), Sweep(name="recover", seconds=0.0, max_rows=9)]
    made, link, _ = run(swept(monkeypatch, sweeps, answer, 20))
    assert min(names(made).count("prune"), names(made).count("recover")) >= 5
    assert link.drops == 0
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the sweep 'prune' failed: permission denied"
    ]


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), RuntimeError("a defect")], ids=str)
def test_sweeping_survives_every_error(run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def answer(_: str, call: int) -> int:
        if call < 4:
            raise error
        return 0

    made, link, _ = run(swept(monkeypatch, [Sweep(name="recover", seconds=0.0, max_rows=9)], answer, 6))
    assert len(made) == 6
    assert link.drops == (3 if isinstance(error, DatabaseUnavailable) else 0)
