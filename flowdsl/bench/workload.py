"""What a workload is, and what it is given: sizes by scale, databases, a place for what it measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from flowdsl.bench.figures import Samples
from flowdsl.bench.stage import Stage


class Scale(StrEnum):
    """How much is measured."""

    TINY = "tiny"
    """A few runs, which shows that it works, and says nothing about speed."""

    QUICK = "quick"
    """Everything in less than two minutes."""

    FULL = "full"
    """As it is published."""


@dataclass(kw_only=True)
class Bench:
    """What a workload measures with, in one round after another."""

    stage: Stage
    scale: Scale
    rounds: int = 1
    """How many there are to be; a workload of one round may repeat within it."""
    round: int = 0
    """From 0."""
    samples: Samples = field(default_factory=Samples)
    say: Callable[[str], None] = lambda _: None
    soak_seconds: float | None = None
    """How long the soak takes, if somebody chose."""

    def size(self, sizes: Mapping[Scale, int]) -> int:
        """Return how much is to be measured."""
        return sizes[self.scale]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something to measure. `measure` does one round and adds a value to each of its figures."""

    key: str
    title: str
    description: str
    measure: Callable[[Bench], None]
    once: bool = False
    """A single round is enough, for it takes long and measures over and over by itself."""


def sizes(*, tiny: int, quick: int, full: int) -> dict[Scale, int]:
    """Return sizes by scale."""
    return {Scale.TINY: tiny, Scale.QUICK: quick, Scale.FULL: full}
