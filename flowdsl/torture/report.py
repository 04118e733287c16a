"""What a torture came to."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowdsl.torture.checks import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Some lengths of time, in seconds; all None when there was none."""

    count: int
    p50: float | None
    p95: float | None
    max: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Times":
        """Sum up."""
        if not seconds:
            return cls(count=0, p50=None, p95=None, max=None)
        ordered = sorted(seconds)

        def at(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

        return cls(count=len(ordered), p50=at(0.5), p95=at(0.95), max=round(ordered[-1], 3))

    def json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"count": self.count, "p50": self.p50, "p95": self.p95, "max": self.max}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was done, what came of it, and what held.

    `recovery` maps what was measured to its times; `runs` counts ended runs by status, `did` what users did.
    """

    seed: int
    seconds: float
    workers: int
    server: str
    blows: dict[str, int]
    did: dict[str, int]
    runs: dict[str, int]
    steps: int
    tasks: int
    handlers: int
    late_starts: int
    recovery: dict[str, Times]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether every claim held."""
        return all(claim.held for claim in self.claims)

    def json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "held": self.held,
            "seed": self.seed,
            "seconds": self.seconds,
            "workers": self.workers,
            "server": self.server,
            "kills": self.blows,
            "users": self.did,
            "runs": self.runs,
            "steps": self.steps,
            "tasks": self.tasks,
            "handlers_started": self.handlers,
            "late_starts": self.late_starts,
            "recovery_seconds": {name: times.json() for name, times in self.recovery.items()},
            "claims": [
                {"claim": claim.claim, "held": claim.held, "checked": claim.checked, "evidence": list(claim.evidence)}
                for claim in self.claims
            ],
            "notes": list(self.notes),
        }


def next_after(moments: Sequence[float], ordered: Sequence[float]) -> list[float]:
    """Return how long after each moment the next of `ordered` came; moments with none after them are left out."""
    found = []
    for moment in moments:
        index = bisect_right(ordered, moment)
        if index < len(ordered):
            found.append(ordered[index] - moment)
    return found
