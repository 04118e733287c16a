"""The pulse, whatever it is told: it keeps the lease of a silent worker as long as it may, and not a moment longer."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowdsl.gateway.pulse import Watch

LEASE = 30.0


@dataclass(frozen=True)
class Word:
    """Something the worker says, so many seconds after the word before."""

    after: float
    allow: float
    is_beat: bool

    def json(self) -> dict[str, Any]:
        return {"allow": self.allow} | ({"beat": "worker"} if self.is_beat else {})


seconds = st.floats(0.0, 200.0, allow_nan=False).map(lambda number: round(number, 2))
words = st.lists(st.builds(Word, after=seconds, allow=seconds, is_beat=st.booleans()), max_size=12)


@given(words)
def test_a_silent_worker_is_beaten_for_in_time_and_only_while_it_is_allowed(said: list[Word]) -> None:
    watch = Watch(LEASE)
    now, until, renewed_at, has_spoken = 0.0, -1.0, 0.0, False
    for word in [*said, None]:
        end = now + (word.after if word is not None else 500.0)
        while True:
            if watch.beat_for(now) is not None:
                assert has_spoken
                assert now <= until
                renewed_at = now
                watch.has_beaten(now)
            if has_spoken and now <= until:
                assert now - renewed_at <= LEASE / 2, "the lease is not kept"
            step = max(watch.wait(now), 0.001)
            if now + step >= end:
                break
            now += step
        now = end
        if word is None:
            return
        watch.hear(word.json(), now)
        until = now + word.allow if word.is_beat else max(until, now + word.allow)
        if word.is_beat:
            has_spoken, renewed_at = True, now
        elif now > renewed_at + LEASE / 2:
            # Beats were not allowed for a while, and are again: they begin at once.
            renewed_at = now
