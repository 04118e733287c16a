"""docs/benchmarks.md, rendered from docs/benchmarks.json: python -m bench.page renders it anew."""

import json
from pathlib import Path

from flowdsl.bench.figures import Figure, said
from flowdsl.bench.report import Report, Result
from flowdsl.bench.targets import verdicts


def publish(path: Path, newer: Report) -> None:
    """Merge results into a JSON file and render the page beside it."""
    report = Report()
    if path.exists():
        report = Report.of_json(json.loads(path.read_text(encoding="utf-8")))
    report = report.merged(newer)
    path.write_text(json.dumps(report.json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(report: Report) -> str:
    """Render the figures for a terminal."""
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
        f"{result.key}  {result.title}",
        *(f"    {figure.label:{width}}  {_spread(figure)} {figure.unit}" for figure in result.figures),
        *(f"    {note}" for note in result.notes),
        "",
    ]


def _spread(figure: Figure) -> str:
    if len(figure.values) == 1:
        return said(figure.median)
    return f"{said(figure.median)} ({said(figure.low)} – {said(figure.high)})"
