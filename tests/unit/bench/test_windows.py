"""Rates by window, and how what goes on for long is summed up."""

import pytest

from flowdsl.bench.backlog import steady
from flowdsl.bench.old_snapshot import window_rates
from flowdsl.bench.soak import thirds


def test_each_window_has_the_rate_of_its_own_time() -> None:
    assert window_rates(0.0, [1.0, 1.0, 2.0, 2.0, 4.0, 4.0], 2) == [2.0, 2.0, 1.0]


def test_steps_beyond_the_last_whole_window_do_not_count() -> None:
    assert window_rates(10.0, [11.0, 12.0, 13.0, 99.0], 3) == [1.0]


def test_windows_within_one_batch_have_no_time_and_no_rate() -> None:
    assert window_rates(0.0, [2.0, 2.0, 2.0, 2.0, 4.0, 4.0], 2) == [1.0, 1.0]


def test_the_warm_up_does_not_count() -> None:
    assert thirds([1000.0] + [1.0] * 3 + [2.0] * 3 + [3.0] * 3) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("count", range(1, 12))
def test_any_number_of_looks_has_three_thirds(count: int) -> None:
    assert thirds([5.0] * count) == (5.0, 5.0, 5.0)


def test_the_first_steps_do_not_count_nor_does_the_rest_of_their_batch() -> None:
    found = steady([1.0, 1.0, 1.0, 2.0, 2.0, 3.0], 2)
    assert (found.steps, found.seconds) == (3, 2.0)


@pytest.mark.parametrize("ends", [[], [1.0], [1.0, 1.0]])
def test_there_is_no_stretch_after_the_last_step(ends: list[float]) -> None:
    assert steady(ends, 2).steps == 0


def test_a_single_batch_is_no_stretch() -> None:
    assert steady([1.0, 1.0, 1.0, 1.0], 2).steps == 0
