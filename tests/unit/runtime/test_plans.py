"""How often plans are made anew."""

from hypothesis import given
from hypothesis import strategies as st

from flowdsl.runtime.plans import LAST_SECONDS, PlanAge


def test_plans_are_renewed_after_twice_the_time_and_at_last_once_a_minute() -> None:
    age = PlanAge(0.0)
    renewed = [at for at in range(300) if age.is_over(at)]
    assert renewed == [1, 3, 7, 15, 31, 63, 123, 183, 243]


@given(st.lists(st.floats(min_value=0.0, max_value=1000.0), max_size=50))
def test_no_two_renewals_are_closer_than_a_second_and_none_is_later_than_a_minute(pauses: list[float]) -> None:
    age, now, last = PlanAge(0.0), 0.0, 0.0
    for pause in pauses:
        now += pause
        over = age.is_over(now)
        assert not over or now - last >= 1.0
        assert over or now - last < LAST_SECONDS
        last = now if over else last
