"""Ours beside the peers': the same figures in one table, with ratios, and how each peer was set up."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.tables import markdown
from flowdsl.bench.figures import Figure, said
from flowdsl.bench.report import PeerResult, Report

NAMES = {"dbos": "DBOS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A figure that we and peers have under the same key. `more_is_better`: a rate, not a time or a cost."""

    workload: str
    key: str
    label: str
    unit: str
    more_is_better: bool = False


SHARED = (
    Shared(workload="W1", key="steps_per_second_1", label="one worker process", unit="steps/s", more_is_better=True),
    Shared(workload="W1", key="steps_per_second_2", label="two worker processes", unit="steps/s", more_is_better=True),
    Shared(workload="W1", key="starts_per_second", label="starts one by one", unit="runs/s", more_is_better=True),
    Shared(workload="W1", key="batch_starts_per_second", label="starts in batches", unit="runs/s", more_is_better=True),
    Shared(workload="W2", key="seconds_1000", label="fan-out over 1,000", unit="s"),
    Shared(workload="W2", key="seconds_10000", label="fan-out over 10,000", unit="s"),
    Shared(workload="W3", key="p50_ms", label="idle latency, p50", unit="ms"),
    Shared(workload="W3", key="p99_ms", label="idle latency, p99", unit="ms"),
    Shared(workload="W4", key="wal_bytes_per_step", label="WAL per step", unit="bytes"),
    Shared(workload="W4", key="statements_per_step", label="statements per step", unit="statements"),
    Shared(workload="W5", key="steps_per_second_queued_1000", label="1,000 queued", unit="steps/s", more_is_better=True),
    Shared(workload="W5", key="steps_per_second_queued_100000", label="100,000 queued", unit="steps/s", more_is_better=True),
)  # fmt: skip


def comparison(report: Report) -> str:
    """Render what is shared with peers, and by what factor ours is better; nothing without peers."""
    peers = sorted({result.peer for result in report.peers})
    if not peers:
        return ""
    rows = [
        (
            shared.workload,
            f"{shared.label}, {shared.unit}",
            f"**{said(ours.median)}**",
            *_cells(report, shared, ours, peers),
        )
        for shared in SHARED
        for ours in [report.figure(shared.workload, shared.key)]
        if ours is not None
    ]
    titles = ("", "", "flowdsl", *(NAMES.get(peer, peer) for peer in peers))
    table = markdown(titles, rows, right=range(2, len(titles)))
    return f"In brackets: how many times better flowdsl is than that.\n\n{table}"


def _cells(report: Report, shared: Shared, ours: Figure, peers: list[str]) -> Iterator[str]:
    for peer in peers:
        theirs = report.figure(shared.workload, shared.key, peer)
        yield "–" if theirs is None else f"{said(theirs.median)} ({factor(shared, ours, theirs)})"


def factor(shared: Shared, ours: Figure, theirs: Figure) -> str:
    """Return how many times better ours is: `2×`; less than 1 where theirs is better."""
    better, worse = (ours, theirs) if shared.more_is_better else (theirs, ours)
    if not worse.median:
        return "∞"
    ratio = better.median / worse.median
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def peer_settings(report: Report) -> str:
    """Render how each peer was set up, and what could not be measured."""
    parts = []
    for peer in sorted({result.peer for result in report.peers}):
        results = [result for result in report.peers if result.peer == peer]
        parts.append("\n".join([f"### {NAMES.get(peer, peer)} {results[0].version}", "", *_lines(results)]))
    return "\n\n".join(["## The other libraries", *parts]) if parts else ""


def _lines(results: list[PeerResult]) -> Iterator[str]:
    dates = sorted({result.date[:10] for result in results})
    yield f"Measured on {', '.join(dates)}. Rounds: {', '.join(_rounds(result) for result in results if result.figures)}."
    yield ""
    settings = {name: value for result in results for name, value in result.settings.items()}
    yield from (f"- {name}: {value}" for name, value in settings.items())
    missing = {f"{result.workload}, {name}": why for result in results for name, why in result.missing.items()}
    yield from (f"- not measured: {name}: {why}" for name, why in missing.items())


def _rounds(result: PeerResult) -> str:
    return f"{result.workload} {max(len(figure.values) for figure in result.figures)}"
