"""What the figures ought to be on two shared cores, and whether they are."""

from collections.abc import Iterator
from dataclasses import dataclass

from flowdsl.bench.report import Report
from flowdsl.bench.workload import Scale

_SPEEDS = ("steps/s", "runs/s", "s", "ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound on a figure, or on its ratio to another one, `over`, of this workload, of another one or of a peer."""

    workload: str
    label: str
    figure: str
    over: str | None = None
    over_workload: str | None = None
    over_peer: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    full_only: bool = False
    """Said of the full sizes: what grows slowly does not show in a minute."""

    @property
    def is_of_the_machine(self) -> bool:
        """Whether it is a speed as such, which says as much about the machine as about what runs on it."""
        return self.over is None and self.unit in _SPEEDS

    @property
    def bound(self) -> str:
        """The bound in words."""
        sign, value = ("≥", self.at_least) if self.at_most is None else ("≤", self.at_most)
        return f"{sign} {self._said(value or 0.0)}"

    def value(self, report: Report) -> float | None:
        """Return the median, or the ratio of the medians; None when it was not measured, or not at this size."""
        figure = report.figure(self.workload, self.figure)
        if self.full_only and report.scale(self.workload) != Scale.FULL:
            return None
        if figure is None or self.over is None:
            return None if figure is None else figure.median
        other = report.figure(self.over_workload or self.workload, self.over, self.over_peer)
        return figure.median / other.median if other is not None and other.median else None

    def is_met_by(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def said(self, value: float) -> str:
        """Return a value in words."""
        return self._said(value)

    def _said(self, value: float) -> str:
        if self.over is None:
            return f"{value:,.{0 if value >= 100 else 1 if value >= 2 else 2}f} {self.unit}".rstrip()
        return f"{value:.1f}×" if self.over_peer is not None else f"{value:.0%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A target, what was measured, and whether that is enough."""

    target: Target
    value: float

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.target.is_met_by(self.value)


TARGETS = (
    Target(workload="W1", label="one worker process", figure="steps_per_second_1", at_least=12_000, unit="steps/s"),
    Target(
        workload="W1", label="one worker process, of the raw driver at the same batch", figure="steps_per_second_1",
        over="driver_default", at_least=0.75,
    ),
    Target(
        workload="W1", label="one worker process, against DBOS", figure="steps_per_second_1", over="steps_per_second_1",
        over_peer="dbos", at_least=10,
    ),
    Target(
        workload="W1", label="one worker process, against absurd", figure="steps_per_second_1", over="steps_per_second_1",
        over_peer="absurd", at_least=10,
    ),
    Target(workload="W1", label="two worker processes", figure="steps_per_second_2", at_least=15_000, unit="steps/s"),
    Target(
        workload="W1", label="batch 1 on one connection, of the raw driver at batch 1", figure="worker_batch_1",
        over="driver_batch_1", at_least=0.75,
    ),
    Target(
        workload="W1", label="starts one by one, of raw commits", figure="starts_per_second", over="commits_per_second_1",
        at_least=0.7,
    ),
    Target(workload="W1", label="start_many", figure="batch_starts_per_second", at_least=30_000, unit="runs/s"),
    Target(workload="W2", label="10,000 elements", figure="seconds_10000", at_most=1.2, unit="s"),
    Target(workload="W2", label="100,000 elements", figure="seconds_100000", at_most=14, unit="s"),
    Target(workload="W2", label="100,000 elements, worker's peak memory", figure="peak_100000", at_most=250, unit="MB"),
    Target(workload="W3", label="start to result, p50", figure="p50_ms", at_most=6, unit="ms"),
    Target(workload="W3", label="start to result, p99", figure="p99_ms", at_most=20, unit="ms"),
    Target(workload="W4", label="WAL per step", figure="wal_bytes_per_step", at_most=2_000, unit="bytes"),
    Target(workload="W4", label="client statements per step", figure="statements_per_step", at_most=0.1),
    *(
        Target(
            workload="W5", label=f"{label}, of the rate at 1,000", figure=f"steps_per_second_{key}",
            over=f"steps_per_second_queued_1000{'_cold' if key.endswith('_cold') else ''}", at_least=0.8,
        )
        for key, label in (
            ("queued_1000000", "1,000,000 runs queued"),
            ("queued_1000000_cold", "1,000,000 runs queued, cold statistics"),
            ("finished_1000000", "1,000,000 runs finished"),
            ("finished_1000000_cold", "1,000,000 runs finished, cold statistics"),
        )
    ),
    Target(
        workload="W6", label="last window below an old snapshot, of the whole run without one", figure="old_snapshot_last",
        over="free_rate", at_least=0.85, full_only=True,
    ),
    Target(
        workload="W7", label="worker's memory, last third of the first", figure="worker_last", over="worker_first",
        at_most=1.05, full_only=True,
    ),
    Target(
        workload="W7", label="largest size of the tables, last third of the middle one", figure="size_last",
        over="size_middle", at_most=1.2, full_only=True,
    ),
)  # fmt: skip


def verdicts(report: Report) -> Iterator[Verdict]:
    """Judge every target that was measured."""
    for target in TARGETS:
        value = target.value(report)
        if value is not None:
            yield Verdict(target=target, value=value)
