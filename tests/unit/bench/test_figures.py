"""Figures and how they are summed up."""

import pytest

from flowdsl.bench.figures import Figure, Samples, percentile, rounded, said


def figure(*values: float, key: str = "rate", unit: str = "steps/s") -> Figure:
    return Figure(key=key, label="the rate", unit=unit, values=values)


def test_a_figure_is_quoted_by_its_median_with_the_extremes_beside_it() -> None:
    found = figure(3.0, 1.0, 20.0)
    assert (found.median, found.low, found.high) == (3.0, 1.0, 20.0)


def test_the_median_of_an_even_number_of_rounds_lies_between_the_two_in_the_middle() -> None:
    assert figure(1.0, 2.0, 4.0, 9.0).median == 3.0


def test_a_figure_comes_back_from_json_as_it_was() -> None:
    found = figure(1.5, 2.5)
    assert found.json() == {
        "key": "rate",
        "label": "the rate",
        "unit": "steps/s",
        "values": [1.5, 2.5],
        "median": 2.0,
        "min": 1.5,
        "max": 2.5,
    }
    assert Figure.of_json(found.json()) == found


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.99, 4), (1.0, 4)]
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, expected: float) -> None:
    assert percentile([4, 2, 1, 3], share) == expected


def test_p99_of_two_hundred_is_the_second_largest_but_one() -> None:
    assert percentile(list(range(1, 201)), 0.99) == 198


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("value", "kept"), [(0.0, 0.0), (12345.6, 12346.0), (1234.56, 1235.0), (1.23456, 1.235), (0.00123456, 0.001235)]
)
def test_four_digits_are_kept(value: float, kept: float) -> None:
    assert rounded(value) == kept


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234567.8, "1,234,568"),
        (999.96, "1,000"),
        (5.0, "5"),
        (1.2, "1.2"),
        (0.0253, "0.0253"),
        (-2.5, "-2.5"),
    ],
)
def test_a_figure_is_said_with_the_digits_that_mean_something(value: float, text: str) -> None:
    assert said(value) == text


def test_samples_are_collected_over_the_rounds_in_the_order_they_were_first_measured() -> None:
    samples = Samples()
    samples.add("b", "the second letter", "s", 1.0)
    samples.add("a", "the first letter", "s", 2.0)
    samples.add("b", "the second letter", "s", 3.0)
    assert [(found.key, found.values) for found in samples] == [("b", (1.0, 3.0)), ("a", (2.0,))]


def test_a_note_is_kept_once() -> None:
    samples = Samples()
    samples.note("no pgbench")
    samples.note("no pgbench")
    assert samples.notes == ["no pgbench"]


def test_rows_of_a_table_are_the_medians_of_their_rounds() -> None:
    samples = Samples()
    for value in (1.0, 5.0, 2.0):
        samples.row("windows", "first", value)
    samples.row("windows", "last", 7.0)
    assert samples.tables == {"windows": {"first": 2.0, "last": 7.0}}
