"""docs/benchmarks.md, rendered from docs/benchmarks.json and bench/prose.md: python -m bench.page renders it anew."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.comparison import comparison, peer_settings
from bench.tables import markdown
from flowdsl.bench.figures import Figure, said
from flowdsl.bench.report import Report, Result
from flowdsl.bench.targets import verdicts

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "benchmarks.json"
PROSE = ROOT / "bench" / "prose.md"
NOTHING_YET = "*Nothing has been measured yet.*"


def read(path: Path) -> Report:
    """Read what was published in a JSON file; an empty report if there is none."""
    return Report.of_json(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Report()


def publish(path: Path, newer: Report) -> None:
    """Merge results into a JSON file, and render the page beside it."""
    report = read(path).merged(newer)
    path.write_text(json.dumps(report.json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """Render the page."""
    parts = {
        "headline": comparison(report),
        "targets": _targets(report),
        "circumstances": _circumstances(report),
        "figures": "\n\n".join(_workload(result) for result in report.results) or NOTHING_YET,
        "peers": peer_settings(report),
    }
    text = PROSE.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"[[ {name} ]]\n\n" if not part else f"[[ {name} ]]", part)
    return text


def _targets(report: Report) -> str:
    rows = [
        (verdict.target.workload, verdict.target.label, verdict.target.bound, verdict.target.said(verdict.value), word)
        for verdict in verdicts(report)
        for word in ("met" if verdict.is_met else "**missed**",)
    ]
    return markdown(("", "", "Target", "Measured", ""), rows, right=(2, 3)) if rows else NOTHING_YET


def _circumstances(report: Report) -> str:
    def circumstances(result: Result) -> str:
        return json.dumps(result.environment, sort_keys=True)

    parts = [
        _environment([result.key for result in results], results[0].environment)
        for _, group in groupby(sorted(report.results, key=circumstances), key=circumstances)
        for results in [list(group)]
    ]
    return "\n\n".join(parts) or NOTHING_YET


def _environment(keys: Sequence[str], found: Any) -> str:
    machine, versions, settings = found["machine"], found["versions"], found["settings"]
    return "\n".join(
        [
            f"{', '.join(keys)}:",
            "",
            f"- {machine['cores']} cores ({machine['processor']}, {machine['architecture']})",
            f"- {machine['memory_gb']} GB of memory, {machine['system']}",
            "- " + ", ".join(f"{name} {version}" for name, version in versions.items()),
            "- " + ", ".join(f"`{name} = {value}`" for name, value in settings.items()),
        ]
    )


def _workload(result: Result) -> str:
    return "\n\n".join(_parts(result))


def _parts(result: Result) -> Iterator[str]:
    yield f"### {result.key}: {result.title}"
    yield f"{result.description} {_when(result)}"
    yield markdown(
        ("", "Median", "", ""), [(figure.label, said(figure.median), figure.unit, spread(figure)) for figure in result.figures],
        right=(1,),
    )  # fmt: skip
    for title, rows in result.tables.items():
        yield markdown((title, ""), [(at, said(value)) for at, value in rows.items()], right=(1,))
    if result.notes:
        yield "\n".join(f"- {note}" for note in result.notes)


def _when(result: Result) -> str:
    rounds = "One round" if result.rounds == 1 else f"{result.rounds} rounds"
    less = "" if result.scale == "full" else f", only the `{result.scale}` sizes"
    return f"{rounds}{less}, {result.seconds / 60:.0f} min, on {result.date[:10]}."


def spread(figure: Figure) -> str:
    """Return the smallest and the largest value, if there are several."""
    return "" if len(figure.values) == 1 else f"({said(figure.low)} – {said(figure.high)})"


def main() -> None:
    """Render the published results anew."""
    publish(RESULTS, Report())


if __name__ == "__main__":
    main()
