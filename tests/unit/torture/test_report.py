"""The sums of a report."""

from flowdsl.torture.report import Times, next_after


def test_times_are_summed_up_by_rank() -> None:
    times = Times.of([float(number) for number in range(100, 0, -1)])
    assert (times.count, times.p50, times.p95, times.max) == (100, 51.0, 96.0, 100.0)


def test_of_nothing_there_are_no_times() -> None:
    assert Times.of([]).json() == {"count": 0, "p50": None, "p95": None, "max": None}


def test_the_next_completion_after_a_blow_is_the_first_one_later_than_it() -> None:
    assert next_after([1.0, 2.0, 9.0], [0.5, 2.0, 3.5]) == [1.0, 1.5]
