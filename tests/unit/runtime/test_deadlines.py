import asyncio

from flowdsl.runtime.deadlines import Deadlines
from tests.conftest import Run


def test_items_become_due_after_their_own_limit_and_removed_ones_never(run: Run) -> None:
    async def scenario() -> None:
        due: list[str] = []
        all_due = asyncio.Event()

        def on_due(item: str) -> None:
            due.append(item)
            if len(due) == 3:
                all_due.set()

        deadlines: Deadlines[str] = Deadlines(asyncio.get_running_loop(), on_due)
        deadlines.add("late", 0.1)
        deadlines.add("gone", 0.01)
        deadlines.add("early", 0.01)
        deadlines.add("next", 0.01)
        deadlines.remove("gone", 0.01)
        await all_due.wait()
        assert due == ["early", "next", "late"]
        deadlines.remove("late", 0.1)

    run(scenario(), 10)


def test_the_timer_follows_the_oldest_item_that_is_left(run: Run) -> None:
    async def scenario() -> None:
        due = asyncio.Event()
        deadlines: Deadlines[int] = Deadlines(asyncio.get_running_loop(), lambda _: due.set())
        for number in range(1000):
            deadlines.add(number, 0.02)
            deadlines.remove(number, 0.02)
        deadlines.add(-1, 0.02)
        await due.wait()

    run(scenario(), 10)


def test_closing_forgets_everything(run: Run) -> None:
    async def scenario() -> None:
        due: list[int] = []
        reached = asyncio.Event()
        deadlines: Deadlines[int] = Deadlines(asyncio.get_running_loop(), due.append)
        deadlines.add(1, 0.0)
        deadlines.close()
        other: Deadlines[int] = Deadlines(asyncio.get_running_loop(), lambda _: reached.set())
        other.add(2, 0.0)
        await reached.wait()
        assert due == []

    run(scenario(), 10)
