"""What `pgflow compile` found and did, printed for a reviewer or as JSON."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from flowdsl.cli.output import harmless, note, out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowdsl.compiler.compilation import Plan, Written
    from flowdsl.compiler.diff import FlowChange

STYLES = {
    "title": "bold",
    "heading": "dim",
    "+": "green",
    "-": "red",
    "~": "yellow",
    "safe": "green",
    "needs drain": "yellow",
    "breaking": "bold red",
}
MARKS = {"+": "added", "-": "removed", "~": "changed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What there is to say: the plan (None where the migrations contradict each other), what was written, and problems.

    `open_runs` are those of the database by flow and version; None when it was not asked.
    """

    check: bool
    plan: "Plan | None" = None
    written: "Written | None" = None
    open_runs: "Mapping[str, Mapping[int, int]] | None" = None
    problems: tuple[str, ...] = field(default=())

    @property
    def changes(self) -> "tuple[FlowChange, ...]":
        """What changed."""
        return () if self.plan is None else self.plan.changes

    @property
    def is_fine(self) -> bool:
        """Whether --check has nothing to object to."""
        return not self.check or not (self.changes or self.problems)

    @property
    def status(self) -> str:
        """One word for all of it."""
        if self.written is not None:
            return "written"
        if self.changes:
            return "missing"
        return "unfit" if self.problems else "unchanged"


def print_outcome(outcome: Outcome) -> None:
    """Print what changed, with colours on a terminal."""
    console = out()
    for problem in outcome.problems:
        console.print(Text(harmless(problem), style="red"), soft_wrap=True)
    if outcome.written is not None:
        console.print(Text(f"wrote {_shown(outcome.written.path)}"), soft_wrap=True)
    elif outcome.changes:
        console.print(Text("a migration is missing:"), soft_wrap=True)
    elif not outcome.problems:
        console.print("nothing to compile: the migrations are up to date", soft_wrap=True)
    for change in outcome.changes:
        for line, style in _lines(change, outcome.open_runs):
            console.print(Text(harmless(line), style=style), soft_wrap=True)
    if retired := [change.slug for change in outcome.changes if change.kind == "retired"]:
        note(
            f"no module of `flows` under [tool.pgflow] has {', '.join(retired)} any more: if it still exists, list its module there"
        )
    if outcome.written is not None:
        note("next: alembic upgrade head")
    elif outcome.changes:
        note("write it with: pgflow compile")


def _lines(change: "FlowChange", open_runs: "Mapping[str, Mapping[int, int]] | None") -> list[tuple[str, str]]:
    from flowdsl.compiler.report import report

    lines = [(f"  {line}", STYLES[line.tone]) for line in report(change)]
    if open_runs is not None:
        counts = open_runs.get(change.slug, {})
        words = ", ".join(f"{count} of version {version}" for version, count in sorted(counts.items()))
        lines.append((f"    open runs: {words or 'none'}", "bold" if counts else ""))
    return lines


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def json_of(outcome: Outcome) -> dict[str, Any]:
    """Return all of it as JSON."""
    written = outcome.written
    return {
        "status": outcome.status,
        "path": None if written is None else str(written.path),
        "revision": None if written is None else written.revision.revision,
        "down_revision": None if written is None else written.revision.parent,
        "changes": [_change_json(change, outcome.open_runs) for change in outcome.changes],
        "edited": [] if outcome.plan is None else [str(path) for path in outcome.plan.edited],
        "problems": list(outcome.problems),
    }


def _change_json(change: "FlowChange", open_runs: "Mapping[str, Mapping[int, int]] | None") -> dict[str, Any]:
    found: dict[str, Any] = {
        "flow": change.slug,
        "kind": change.kind.value,
        "version": change.version,
        "fingerprint": change.current.fingerprint,
        "restored": change.is_restored,
        "impact": change.impact.level.value,
        "reasons": [{"impact": reason.level.value, "text": reason.text} for reason in change.impact.reasons],
        "serves_from": change.impact.serves_from,
        "accepts_from": change.impact.accepts_from,
        "details": [
            {
                "topic": detail.topic.value,
                "change": MARKS[detail.mark.value],
                "step": detail.step,
                "subject": detail.subject,
                "path": detail.path,
                "old": detail.old,
                "new": detail.new,
                "text": detail.text,
            }
            for detail in change.details
        ],
    }
    if open_runs is not None:
        counts = open_runs.get(change.slug, {})
        found["open_runs"] = [{"version": version, "count": count} for version, count in sorted(counts.items())]
    return found
