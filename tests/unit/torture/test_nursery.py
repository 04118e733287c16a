"""Processes that are forked, told, and never left behind."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from flowdsl.torture.nursery import Nursery
from tests.conftest import Run

CHILDREN = "tests.unit.torture.children"


def test_a_child_runs_its_function_and_its_end_is_told(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Nursery(CHILDREN) as nursery:
            good = await nursery.spawn(f"{CHILDREN}:say", tmp_path / "good", text="hello")
            bad = await nursery.spawn(f"{CHILDREN}:fail", tmp_path / "bad")
            await asyncio.gather(good.ended.wait(), bad.ended.wait())
            assert (good.returncode, bad.returncode) == (0, 1)
            # A signal for one that has ended reaches nobody.
            await good.signal(signal.SIGKILL)
            assert (good.is_alive, good.returncode) == (False, 0)

    run(scenario())
    assert (tmp_path / "good").read_text() == "hello"
    assert "ValueError: on purpose" in (tmp_path / "bad").read_text()


def test_a_child_that_is_killed_is_gone_when_kill_returns(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Nursery(CHILDREN) as nursery:
            child = await nursery.spawn(f"{CHILDREN}:wait", tmp_path / "log")
            assert child.is_alive
            await child.kill()
            assert child.returncode == -signal.SIGKILL

    run(scenario())


def test_the_nursery_takes_its_children_along_and_cleans_up(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Nursery(CHILDREN) as nursery:
            child = await nursery.spawn(f"{CHILDREN}:wait", tmp_path / "log")
            await nursery.at_the_end(f"{CHILDREN}:leave", path=str(tmp_path / "left"))
        assert not child.is_alive

    run(scenario())
    assert (tmp_path / "left").read_text() == "cleaned up"


def test_a_module_that_cannot_be_imported_is_told(run: Run) -> None:
    async def scenario() -> None:
        async with Nursery("tests.unit.torture.no_such_module"):
            pass

    with pytest.raises(RuntimeError, match="the nursery ended"):
        run(scenario())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
