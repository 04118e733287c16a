"""A change as lines: the same on a terminal, where each has its colour, and in a revision's docstring, where it has none."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowdsl.compiler.diff import FlowChange


@dataclass(frozen=True, slots=True)
class Line:
    """A line: how far it is indented, its text, and what it is (a mark, a class of impact, `title`, `heading`, `reason`)."""

    indent: int
    text: str
    tone: str

    def __str__(self) -> str:
        return "  " * self.indent + self.text


def report(change: "FlowChange") -> Iterator[Line]:
    """Yield the lines of a change: its summary, the details under their topics, its class and the reasons for it."""
    yield Line(0, change.summary, "title")
    for topic, details in groupby(change.details, key=lambda detail: detail.topic):
        yield Line(1, topic.value, "heading")
        for detail in details:
            yield Line(2, f"{detail.mark.value} {detail.text}", detail.mark.value)
    level = change.impact.level
    yield Line(1, level.value, level.value)
    for reason in change.impact.reasons:
        # The gravest ones say it all; what is less grave is marked, so that it is not taken for one of them.
        prefix = "" if reason.level is level else f"{reason.level.value}: "
        yield Line(2, f"{prefix}{reason.text}", reason.level.value)
