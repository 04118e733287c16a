import itertools
from uuid import RFC_4122

from hypothesis import given
from hypothesis import strategies as st

from flowdsl.client.ids import RunIds


@given(st.lists(st.integers(0, 2**63), min_size=2, max_size=50))
def test_ids_grow_whatever_the_clock_does(instants: list[int]) -> None:
    clock = iter(instants)
    ids = RunIds(lambda: next(clock))
    made = [ids.next() for _ in instants]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_are_version_7_and_carry_the_time() -> None:
    made = RunIds(lambda: 1_700_000_000_123_456_789).next()
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123


def test_many_ids_of_one_instant_differ_and_keep_their_order() -> None:
    ids = RunIds(lambda: 1_700_000_000_000_000_000)
    made = [ids.next() for _ in range(10_000)]
    assert all(one < other for one, other in itertools.pairwise(made))
