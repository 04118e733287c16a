"""Print how many mistakes of the table each checker and the definition itself find: `python -m tests.typing.report`.

Exit status 1 when a mistake is missed, or a correct snippet is flagged; what and where goes to stderr.
"""

import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as package_version
from pathlib import Path

from tests.typing.checkers import CHECKERS, version
from tests.typing.definition import defined
from tests.typing.entry import Table, Unseen
from tests.typing.source import write_sources
from tests.typing.table import TABLE
from tests.typing.verdict import Verdict, judged

DEFINITION = "at definition"
UNSEEN = "not its business"


def verdicts(table: Table) -> dict[str, Verdict]:
    """Let both rings judge the table; the checkers run side by side."""
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor() as pool:
        running = {name: pool.submit(_checked, name, table, Path(directory) / name) for name in CHECKERS}
        found = {name: verdict.result() for name, verdict in running.items()}
        own = Path(directory) / "definition"
        own.mkdir()
        return {**found, DEFINITION: defined(write_sources(table, own), table)}


def _checked(name: str, table: Table, directory: Path) -> Verdict:
    directory.mkdir()
    sources = write_sources(table, directory)
    return judged(sources, CHECKERS[name](directory))


def rows(table: Table, by_ring: Mapping[str, Verdict]) -> list[list[str]]:
    """Return the report's table: a row per topic, one of sums, and one of correct snippets that were flagged."""
    seen = [entry for entry in table if not isinstance(entry.says, Unseen)]
    unseen = Counter(entry.topic for entry in table if isinstance(entry.says, Unseen))
    found = {name: verdict.found(seen if name == DEFINITION else table) for name, verdict in by_ring.items()}
    topics = Counter(entry.topic for entry in table)
    report = [["topic", "mistakes", *by_ring, UNSEEN]]
    for topic, count in topics.items():
        report.append([topic, str(count), *(str(found[name][topic]) for name in by_ring), str(unseen[topic])])
    report.append(["all", str(topics.total()), *(str(found[name].total()) for name in by_ring), str(unseen.total())])
    flagged = (str(len(verdict.flagged)) for verdict in by_ring.values())
    report.append(["flagged of as many correct", str(topics.total()), *flagged, ""])
    return report


def _laid_out(report: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*report, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in report
    )


def main() -> int:
    versions = ", ".join(f"{name} {version(name)}" for name in CHECKERS)
    print(
        f"flowdsl {package_version('flowdsl')} on Python {platform.python_version()}; strictest settings of {versions}\n"
    )
    by_ring = verdicts(TABLE)
    print(_laid_out(rows(TABLE, by_ring)))
    for name, verdict in by_ring.items():
        if not verdict.is_right:
            print(f"\n{name}\n{verdict}", file=sys.stderr)
    return int(not all(verdict.is_right for verdict in by_ring.values()))


if __name__ == "__main__":
    sys.exit(main())
