"""What one ring made of the table: which mistakes it missed, what else it found, what it says about correct snippets."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.typing.entry import Entry, Table
from tests.typing.source import Place, Sources


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judged table; a ring that does its work has no `missed`, no `astray` and no `flagged`.

    missed: mistakes of which nothing was said, or nothing of what had to be said.
    astray: what was said about a mistake, but not at its line, or not in the expected words.
    flagged: what was said about correct snippets, or about what all of them share.
    """

    missed: tuple[Entry, ...] = ()
    astray: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        return not (self.missed or self.astray or self.flagged)

    def found(self, table: Table) -> Counter[str]:
        """Count by topic the mistakes that were found."""
        missed = set(self.missed)
        return Counter(entry.topic for entry in table if entry not in missed)

    def __str__(self) -> str:
        lines = [f"missed: {entry.topic}: {entry.name}" for entry in self.missed]
        lines += [f"astray: {text}" for text in self.astray] + [
            f"flagged, but correct: {text}" for text in self.flagged
        ]
        return "\n".join(lines) or "as expected"


def judged(sources: Sources, found: Collection[Place]) -> Verdict:
    """Hold the lines a checker flagged against the lines it has to flag."""
    missed = [entry for place, entry in sources.mistakes.items() if place not in found]
    astray, flagged = [], []
    for place in sorted(set(found) - set(sources.mistakes)):
        text = _line(sources.directory, place)
        if place in sources.mistaken:
            astray.append(f"{sources.mistaken[place].name}: {text}")
        else:
            flagged.append(f"{sources.correct[place].name}: {text}" if place in sources.correct else text)
    return Verdict(tuple(missed), tuple(astray), tuple(flagged))


def _line(directory: Path, place: Place) -> str:
    name, number = place
    text = (directory / name).read_text(encoding="utf-8").splitlines()[number - 1]
    return f"{name}:{number}: {text.strip()}"
