"""What the views show of a run as it goes."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from flowdsl.cli.description import Description, described
from flowdsl.cli.progress import JsonLinesView, LineView, LiveView, progress_table, view_on

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NONE = {"queued": 0, "started": 0, "completed": 0, "failed": 0, "skipped": 0, "cancelled": 0, "retrying": 0}


def step(slug: str, status: str, *, kind: str = "single", total: int | None = 1, **counts: int) -> dict[str, Any]:
    return {
        "step_slug": slug,
        "step_type": kind,
        "status": status,
        "deps": [],
        "initial_tasks": total,
        "remaining_tasks": None,
        "tasks": NONE | counts,
        "error_message": None,
        "skip_reason": None,
        "started_at": None if status == "created" else "2026-03-01T11:59:58Z",
        "ended_at": "2026-03-01T11:59:59Z" if status == "completed" else None,
    }


def run(*steps: dict[str, Any], status: str = "started") -> dict[str, Any]:
    return {
        "run": {
            "run_id": "00000000-0000-4000-8000-000000000001",
            "flow_slug": "invoice",
            "flow_version": 1,
            "status": status,
            "input": None,
            "output": None,
            "started_at": "2026-03-01T11:59:57Z",
            "ended_at": None,
            "end_reason": None,
            "deadline_at": None,
            "retried_count": 0,
        },
        "steps": list(steps),
        "tasks": [],
        "tasks_total": 0,
        "attempts": [],
    }


def console() -> Console:
    return Console(file=StringIO(), width=120, markup=False, highlight=False, emoji=False)


def written(console: Console) -> list[str]:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def show(view: Any, document: dict[str, Any]) -> None:
    view.show(document, described(document))


def test_lines_are_printed_for_changes_only() -> None:
    target = console()
    view = LineView(target)
    show(view, run(step("items", "started"), step("total", "created")))
    show(view, run(step("items", "started"), step("total", "created")))
    show(view, run(step("items", "completed"), step("total", "started")))
    show(view, run(step("items", "completed"), step("total", "completed"), status="completed"))
    words = [line.split()[:2] for line in written(target)]
    assert words == [["items", "started"], ["items", "completed"], ["total", "started"], ["total", "completed"]]
    assert written(target)[1] == "items  completed  1.0 s"


def test_counts_of_a_map_are_printed_every_other_second_and_at_its_end() -> None:
    target, clock = console(), Clock()
    view = LineView(target, clock)
    for done, at in ((0, 0.0), (10, 0.5), (20, 1.9), (30, 2.0), (31, 2.1)):
        clock.now = at
        show(view, run(step("price", "started", kind="map", total=40, completed=done, retrying=1)))
    show(view, run(step("price", "completed", kind="map", total=40, completed=40)))
    assert [line.split("  ")[2] for line in written(target)] == ["0/40, 1 retrying", "30/40, 1 retrying", "40/40"]


def test_the_table_shows_counts_retries_failures_and_a_bar() -> None:
    target = console()
    document = run(
        step("items", "completed"),
        step("price", "started", kind="map", total=4, completed=2, failed=1, queued=1, retrying=1),
        step("total", "created", total=None),
    )
    target.print(progress_table(described(document), NOW))
    head, items, price, total = written(target)
    assert head.split() == ["invoice", "00000000-0000-4000-8000-000000000001", "started", "3.0", "s"]
    assert items.split() == ["items", "completed", "1.0", "s"]
    assert price.split()[:2] == ["price", "started"]
    assert "3/4, 1 retrying, 1 failed" in price
    assert "━" in price
    assert total.split() == ["total", "created"]


def test_json_lines_are_printed_for_changes_only(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonLinesView()
    first, second = run(step("items", "started")), run(step("items", "completed"))
    with view:
        for document in (first, first, second):
            show(view, document)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [first, second]


def test_a_terminal_is_drawn_over_and_a_pipe_gets_lines() -> None:
    assert isinstance(view_on(Console(file=StringIO(), force_terminal=True)), LiveView)
    assert isinstance(view_on(console()), LineView)


def test_a_step_that_runs_counts_its_time_up_to_now() -> None:
    description: Description = described(run(step("items", "started"), step("total", "created")))
    assert [part.took(NOW) for part in description.steps] == [timedelta(seconds=2), None]


def test_skipped_and_cancelled_steps_are_changes_like_others() -> None:
    target = console()
    view = LineView(target)
    show(view, run(step("items", "started"), step("tax", "created"), step("total", "created")))
    skipped = step("tax", "skipped") | {"skip_reason": "condition_unmet"}
    show(view, run(step("items", "started"), skipped, step("total", "created")))
    show(view, run(step("items", "cancelled"), step("tax", "skipped"), step("total", "cancelled"), status="cancelled"))
    assert [line.split()[:2] for line in written(target)] == [
        ["items", "started"],
        ["tax", "skipped"],
        ["items", "cancelled"],
        ["total", "cancelled"],
    ]
    assert written(target)[1].endswith("its condition was not met")


def test_a_step_that_is_tried_again_is_news() -> None:
    target = console()
    view = LineView(target)
    show(view, run(step("items", "failed"), status="started"))
    show(view, run(step("items", "started")))
    assert [line.split()[1] for line in written(target)] == ["failed", "started"]


def test_skipped_and_cancelled_tasks_of_a_map_count_as_done() -> None:
    document = run(step("price", "cancelled", kind="map", total=9, completed=3, skipped=1, cancelled=4, failed=1))
    target = console()
    target.print(progress_table(described(document), NOW))
    assert "9/9" in target.file.getvalue()  # type: ignore[attr-defined] # a StringIO
