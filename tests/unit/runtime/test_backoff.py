from hypothesis import given
from hypothesis import strategies as st

from flowdsl.runtime.backoff import Backoff, delay, jittered

chances = st.floats(0, 1)


@given(failures=st.integers(1, 10**9), base=st.floats(0.001, 10), cap=st.floats(0.001, 100), chance=chances)
def test_a_delay_never_exceeds_its_cap_and_jitter(failures: int, base: float, cap: float, chance: float) -> None:
    assert 0 < delay(failures, base=base, cap=cap, chance=chance) <= cap * 1.25


@given(failures=st.integers(1, 100), chance=chances)
def test_delays_never_shrink_with_more_failures(failures: int, chance: float) -> None:
    one, next_one = (delay(n, base=0.1, cap=5, chance=chance) for n in (failures, failures + 1))
    assert next_one >= one


@given(seconds=st.floats(0, 10**6), chance=chances)
def test_jitter_stays_within_a_quarter(seconds: float, chance: float) -> None:
    assert seconds * 0.75 <= jittered(seconds, chance) <= seconds * 1.25


def test_a_success_starts_the_delays_over() -> None:
    backoff = Backoff(base=1.0, cap=100.0)
    waits = [backoff.next() for _ in range(5)]
    assert waits[4] > waits[0]
    backoff.reset()
    assert backoff.next() <= 1.25
