"""Tables for pages and terminals."""

from collections.abc import Sequence

from flowdsl.bench.figures import said
from flowdsl.bench.report import Report, Result
from flowdsl.bench.targets import verdicts


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Render a table; `right` are the numbers of the columns that are aligned to the right.

    >>> print(markdown(("what", "how much"), [("a|b", "1")], right=(1,)))
    | what | how much |
    |---|---:|
    | a\\\\|b | 1 |
    """
    rule = "|".join("---:" if number in right else "---" for number in range(len(titles)))
    cells = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join([f"| {' | '.join(titles)} |", f"|{rule}|", *(f"| {line} |" for line in cells)])


def plain(report: Report) -> str:
    """Render the figures and the verdicts for a terminal."""
    lines = [line for result in report.results for line in _lines(result)]
    lines += [
        f"{'met   ' if verdict.is_met else 'MISSED'}  {verdict.target.workload}  {verdict.target.label}: "
        f"{verdict.target.said(verdict.value)} ({verdict.target.bound})"
        for verdict in verdicts(report)
    ]
    return "\n".join(lines)


def _lines(result: Result) -> list[str]:
    width = max(len(figure.label) for figure in result.figures)
    return [
        f"{result.key}  {result.title}  ({result.seconds:.0f} s)",
        *(
            f"    {figure.label:{width}}  {said(figure.median)} {figure.unit}"
            + (f"  ({said(figure.low)} – {said(figure.high)})" if len(figure.values) > 1 else "")
            for figure in result.figures
        ),
        *(f"    {note}" for note in result.notes),
        "",
    ]
