"""Three ways to show a run as it goes: a table drawn over in place, a line for each change, a JSON document for each change.

A view is given the whole run again and again, and finds out by itself what is new.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flowdsl.cli.description import Description, StepPart
from flowdsl.cli.output import duration, print_json, status_text
from flowdsl.types import JsonValue, StepStatus, StepType

LINE_SECONDS = 2.0
BAR_WIDTH = 24


class View(Protocol):
    """Something that shows a run as it goes."""

    def show(self, document: dict[str, JsonValue], description: Description) -> None:
        """Show the run as it is now."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _NothingToClose:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class LiveView:
    """A table drawn over in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def show(self, document: dict[str, JsonValue], description: Description) -> None:
        """Draw the table again."""
        del document
        self._live.update(progress_table(description, datetime.now(UTC)), refresh=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)


class LineView(_NothingToClose):
    """A line for each step that changed; the counts of a map step at most every two seconds."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._said: dict[str, tuple[StepStatus, str, float]] = {}

    def show(self, document: dict[str, JsonValue], description: Description) -> None:
        """Print the lines of what changed."""
        del document
        for step in description.steps:
            line = step_line(step, datetime.now(UTC))
            if self._is_news(step):
                self._console.print(Text(line), soft_wrap=True)
                self._said[step.step_slug] = (step.status, _counts(step), self._clock())

    def _is_news(self, step: StepPart) -> bool:
        if step.step_slug not in self._said:
            return step.status is not StepStatus.CREATED
        status, counts, at = self._said[step.step_slug]
        return status != step.status or (counts != _counts(step) and self._clock() - at >= LINE_SECONDS)


class JsonLinesView(_NothingToClose):
    """One JSON document per line, for each change."""

    def __init__(self) -> None:
        self._last: dict[str, JsonValue] | None = None

    def show(self, document: dict[str, JsonValue], description: Description) -> None:
        """Print the document when it differs from the last one."""
        del description
        if document != self._last:
            print_json(document, indent=None)
            self._last = document


def view_on(console: Console) -> View:
    """Return the view that suits the console: drawn over on a terminal, line by line elsewhere."""
    return LiveView(console) if console.is_terminal else LineView(console)


def progress_table(description: Description, now: datetime) -> Group:
    """Return the picture of a run: a line for the run, and one for each step."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for step in description.steps:
        done, total = _done(step), step.initial_tasks
        bar = (
            ProgressBar(total=total, completed=done, width=BAR_WIDTH)
            if step.step_type is StepType.MAP and total
            else Text("")
        )
        table.add_row(
            Text(f"  {step.step_slug}"),
            status_text(step.status),
            bar,
            Text(_counts(step) or step.skipped_because),
            Text(duration(step.took(now))),
        )
    run = description.run
    head = Text.assemble(
        (f"{run.flow_slug} ", "bold"), (f"{run.run_id} ", "dim"), status_text(run.status),
        f" {duration((run.ended_at or now) - run.started_at)}",
    )  # fmt: skip
    return Group(head, table)


def step_line(step: StepPart, now: datetime) -> str:
    """Return a step's state in one line."""
    parts = (step.step_slug, step.status, _counts(step), duration(step.took(now)), step.skipped_because)
    return "  ".join(part for part in parts if part)


def _done(step: StepPart) -> int:
    tasks = step.tasks
    return tasks.completed + tasks.failed + tasks.skipped + tasks.cancelled


def _counts(step: StepPart) -> str:
    parts = []
    if step.step_type is StepType.MAP and step.initial_tasks is not None:
        parts.append(f"{_done(step)}/{step.initial_tasks}")
    if step.tasks.retrying:
        parts.append(f"{step.tasks.retrying} retrying")
    if step.tasks.failed:
        parts.append(f"{step.tasks.failed} failed")
    return ", ".join(parts)
