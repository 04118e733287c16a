"""How long to wait before trying the database again: doubling, capped, spread by chance.

Pure arithmetic: the chance is an argument, so tests can prove the bounds.
"""

import random
from dataclasses import dataclass, field


def jittered(seconds: float, chance: float) -> float:
    """Spread a waiting time evenly over 75 % to 125 % of itself; `chance` is from 0 to 1.

    >>> jittered(8.0, 0.0), jittered(8.0, 0.5), jittered(8.0, 1.0)
    (6.0, 8.0, 10.0)
    """
    return seconds * (0.75 + chance / 2)


def delay(failures: int, *, base: float, cap: float, chance: float) -> float:
    """Return the seconds to wait after that many failures in a row (from 1).

    >>> [delay(n, base=0.1, cap=1.0, chance=0.5) for n in (1, 2, 3, 4, 5, 5000)]
    [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    """
    doublings = min(max(failures, 1) - 1, 60)
    return jittered(min(cap, base * 2.0**doublings), chance)


@dataclass(slots=True)
class Backoff:
    """Counts failures in a row and says how long to wait after each."""

    base: float = 0.1
    cap: float = 5.0
    failures: int = 0
    _random: random.Random = field(default_factory=random.Random)

    def next(self) -> float:
        """Note one more failure; return the seconds to wait."""
        self.failures += 1
        return delay(self.failures, base=self.base, cap=self.cap, chance=self._random.random())

    def reset(self) -> None:
        """Forget the failures: something went well."""
        self.failures = 0
