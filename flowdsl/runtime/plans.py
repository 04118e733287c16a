"""When to have a connection's plans made anew.

The core's functions pin what they can of their plans, yet a plan is made once per connection and kept, and what was right
for tables that were nearly empty, or had just been analysed so, may read a whole index later. So plans are thrown away after
1, 2, 4, … seconds, and then once a minute: soon after a start, when tables grow from nothing, and rarely enough to cost
nothing afterwards.
"""

from dataclasses import dataclass

FIRST_SECONDS = 1.0
LAST_SECONDS = 60.0


@dataclass(slots=True)
class PlanAge:
    """The age of one connection's plans; times are of any clock that only goes forward.

    >>> age = PlanAge(100.0)
    >>> [at for at in range(100, 200) if age.is_over(at)]
    [101, 103, 107, 115, 131, 163]
    """

    made_at: float
    _seconds: float = FIRST_SECONDS

    def is_over(self, now: float) -> bool:
        """Tell whether the plans are too old; they count as new afterwards."""
        if now - self.made_at < self._seconds:
            return False
        self.made_at = now
        self._seconds = min(self._seconds * 2, LAST_SECONDS)
        return True
